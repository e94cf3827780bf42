/** Which weights of a training run are kept. */

import type { BestWeights, Score } from "./checkpoint_position.ts";

/**
 * One standard error of an accuracy counted on so many pictures (binomial): what chance alone makes of
 * the choice of pictures.
 */
export function countingError(accuracy: number, pictures: number): number {
  return Math.sqrt(accuracy * (1 - accuracy) / pictures);
}

/**
 * Whether a challenger takes the champion's place. `highest` is the best top-1 so far, the challenger's
 * included; undefined where there are no classes, and the lower loss decides. Accuracies within one standard error of it count as equal, and the lower loss decides
 * (the one-standard-error rule of Breiman et al., Classification and Regression Trees, 1984): on a few
 * hundred pictures the highest count is as much luck as merit. Of equals the earlier stays.
 */
export function isBetter(
  challenger: Score,
  champion: BestWeights,
  highest: number | undefined,
  pictures: number,
): boolean {
  if (highest === undefined) return challenger.loss < champion.loss;
  const least = highest - countingError(highest, pictures);
  const topOf = ({ top1 = 0 }: Score) => top1;
  const abreast = (score: Score) => topOf(score) >= least;
  if (abreast(challenger) !== abreast(champion)) return abreast(challenger);
  if (!abreast(challenger)) return topOf(challenger) > topOf(champion);
  return challenger.loss < champion.loss ||
    (challenger.loss === champion.loss && topOf(challenger) > topOf(champion));
}
