/** What became of fine-tuning, in sentences. */

import type { BestWeights, EpochRecord, Score } from "../training/checkpoint_position.ts";
import type { TrainingOutcome } from "../training/options.ts";
import { rateText } from "../training/schedule.ts";
import { percent } from "./columns.ts";

/** "top-1 91.20%, loss 0.3012"; of a model that is no classifier, its loss alone. */
export function scored({ top1, loss }: Score): string {
  const text = `loss ${loss < 1e4 ? loss.toFixed(4) : loss.toExponential(1)}`;
  return top1 === undefined ? text : `top-1 ${percent(top1)}, ${text}`;
}

/** Held-out losses that much above the first one are the rate's doing, not overfitting's. */
const RUINED = 1.5;

function advice(
  history: readonly EpochRecord[],
  { start, learningRate, diverged }: TrainingOutcome,
) {
  const last = history.at(-1)?.validation;
  const ruined = diverged !== undefined ||
    (last !== undefined && start !== undefined && last.loss > RUINED * start.loss &&
      !((last.top1 ?? 0) > 0 && last.top1! >= (start.top1 ?? 0)));
  return ruined
    ? `a learning rate of ${rateText(learningRate)} is too high for this network, so try --lr ` +
      `${rateText(learningRate / 4)}`
    : `the network has little to gain from these pictures at a learning rate of ` +
      `${rateText(learningRate)}, so try another --lr or more --epochs`;
}

/**
 * What people should know of a training run beside its figures: a rate that was lowered, a loss that was
 * no longer finite, epochs that were all worse than the start. Empty where all went as asked.
 */
export function trainingSentences(
  history: readonly EpochRecord[],
  outcome: TrainingOutcome | undefined,
): string[] {
  if (outcome === undefined) return [];
  const { start, best, askedRate, learningRate, diverged } = outcome;
  const sentences: string[] = [];
  if (learningRate < askedRate) {
    sentences.push(
      `A learning rate of ${
        rateText(askedRate)
      } ruined the network within a few steps, so it was ` +
        `trained at ${rateText(learningRate)}.`,
    );
  }
  if (diverged !== undefined) {
    const { epoch, step } = diverged;
    const where = step > 0 ? `in epoch ${epoch}, step ${step}` : `after epoch ${epoch}`;
    sentences.push(`Training ended ${where}, where its loss was no longer finite.`);
  }
  if (best?.epoch === 0) {
    const last = history.at(-1)?.validation;
    sentences.push(
      `Fine-tuning did not help: the weights before it (${
        scored(start!)
      } on held-out pictures) were ` +
        `better than those of every epoch${
          last === undefined ? "" : ` (at last ${scored(last)})`
        } ` +
        `and are kept; ${advice(history, outcome)}.`,
    );
  }
  return sentences;
}

/** "epoch 3 of 20", "the moving average at epoch 3 of 20". */
export function epochName(
  { epoch, averaged }: Pick<BestWeights, "epoch" | "averaged">,
  of: number,
) {
  return `${averaged ? "the moving average at " : ""}epoch ${epoch} of ${of}`;
}

/** How an epoch went: "training loss 1.2043; held-out top-1 61.20%, loss 1.1032; learning rate 0.02". */
export function epochText({ loss, validation, averaged, learningRate }: EpochRecord): string {
  return [
    `training loss ${loss.toFixed(4)}`,
    ...(validation ? [`held-out ${scored(validation)}`] : []),
    ...(averaged ? [`moving average ${scored(averaged)}`] : []),
    `learning rate ${rateText(learningRate)}`,
  ].join("; ");
}
