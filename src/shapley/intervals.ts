/**
 * Intervals of Shapley values from few pairs of permutations. Contributions are often rare and
 * large (the first of a group to arrive brings nearly everything), so that some players' pairs have
 * not varied yet: their own spread is no evidence. Each player's variance is therefore moderated
 * towards what the group has shown (Smyth, "Linear models and empirical Bayes methods for assessing
 * differential expression", SAGMB 2004), as if further pairs had deviated as far as the farthest
 * pairs of the group's players do. A player varies only by interplay, which is mutual: what it has
 * not shown, those it interplays with have.
 *
 * How often they hold is measured in tests/shapley/intervals.test.ts.
 */

import jStat from "jstat";

/** Pairs added to each player's own, deviating as the group's farthest. */
const PSEUDO_PAIRS = 2;

/**
 * With fewer contributions seen, pairs times players, a group's farthest pairs tell too little:
 * 95% intervals of small games held in 82% of seeds (gloves, six players, four pairs).
 */
const LEAST_CONTRIBUTIONS = 40;

/** Pair means, and what independent error their corrections have left in each player's mean. */
export interface PairMeans {
  /** [pair][player]. */
  readonly pairs: readonly Float64Array[];
  /** Pairs in turn belong to these; they are independent within one. */
  readonly folds: number;
  /** Variance to add: [player]. */
  readonly variances?: Float64Array;
}

/** What pair means say of each player: [player]. */
export interface Spread {
  readonly values: Float64Array;
  /** Variance of each value from the player's own pairs. */
  readonly own: Float64Array;
  /** The same, moderated towards the group's farthest pairs. */
  readonly moderated: Float64Array;
  /** Degrees of freedom of the variances. */
  readonly degrees: number;
}

/** Sum of squared deviations of a player's pairs from their fold's mean, and the largest. */
function deviations({ pairs, folds }: PairMeans, player: number) {
  let squares = 0, farthest = 0;
  for (let fold = 0; fold < folds; fold++) {
    let sum = 0, count = 0;
    for (let pair = fold; pair < pairs.length; pair += folds, count++) sum += pairs[pair][player];
    for (let pair = fold; pair < pairs.length; pair += folds) {
      const square = (pairs[pair][player] - sum / count) ** 2;
      squares += square;
      farthest = Math.max(farthest, square);
    }
  }
  return { squares, farthest };
}

/** Mean of each player's figures over pairs and its variance. */
export function spreadOf(means: PairMeans, players: number): Spread {
  const { pairs, folds, variances } = means;
  const count = pairs.length;
  const degrees = count - folds;
  const values = new Float64Array(players);
  for (const pair of pairs) pair.forEach((value, player) => values[player] += value);
  const seen = Array.from({ length: players }, (_, player) => deviations(means, player));
  const prior = PSEUDO_PAIRS * seen.reduce((sum, { farthest }) => sum + farthest, 0) / players;
  const varianceOf = (squares: number, total: number, player: number) =>
    degrees < 1 ? Infinity : squares / total / count + (variances?.[player] ?? 0);
  return {
    values: values.map((sum) => sum / count),
    own: Float64Array.from(seen, ({ squares }, player) => varianceOf(squares, degrees, player)),
    moderated: Float64Array.from(
      seen,
      ({ squares }, player) => varianceOf(squares + prior, degrees + PSEUDO_PAIRS, player),
    ),
    degrees,
  };
}

/** Value, standard error and half widths of one player's intervals. */
export interface Interval {
  readonly value: number;
  /** Standard error over pairs, given the calibration images. */
  readonly error: number;
  /** Half width of the player's own interval. */
  readonly margin: number;
  /** Half width that holds for all players of the game at once. */
  readonly jointMargin: number;
}

/** Two-sided Student quantile. */
function studentQuantile(confidence: number, degrees: number): number {
  return degrees < 1 ? Infinity : jStat.studentt.inv((1 + confidence) / 2, degrees);
}

/** Every player's intervals at the confidence asked for. */
export function intervalsOf(spread: Spread, confidence: number): Interval[] {
  const { values, moderated, degrees } = spread;
  const own = studentQuantile(confidence, degrees);
  // Bonferroni: all intervals of the game hold together with the confidence asked for.
  const joint = studentQuantile(1 - (1 - confidence) / values.length, degrees);
  return Array.from(values, (value, player) => {
    const error = Math.sqrt(moderated[player]);
    return { value, error, margin: own * error, jointMargin: joint * error };
  });
}

/** Whether too little was seen for the intervals to hold as often as they say. */
export function areApproximate(pairs: number, players: number): boolean {
  return pairs * players < LEAST_CONTRIBUTIONS;
}

/** Players whose joint interval reaches over the middle between the last kept and the first cut. */
export function unsettledPlayers(players: readonly Interval[], keep = players.length): number[] {
  if (keep <= 0 || keep >= players.length) return [];
  const values = players.map((player) => player.value).sort((a, b) => b - a);
  const cut = (values[keep - 1] + values[keep]) / 2;
  return players.flatMap((player, index) =>
    Math.abs(player.value - cut) <= player.jointMargin ? [index] : []
  );
}
