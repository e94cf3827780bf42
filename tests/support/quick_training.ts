/** A training run of seconds, for tests of what training does and of how it stops. */

import { normalisations } from "../../src/data/dataset.ts";
import type { TrainOptions, TrainResult } from "../../src/training/train.ts";
import { smallPictures } from "./pictures/small.ts";

export const SGD = { kind: "sgd", weightDecay: 1e-4 } as const;

/** A quick run on small pictures: 3 epochs of 5 steps, the last of them with 8 pictures. */
export const QUICK = {
  data: smallPictures(72),
  validation: smallPictures(24, 2),
  normalisation: normalisations.cifar,
  epochs: 3,
  batch: 16,
  optimizer: SGD,
  learningRate: 0.1,
  warmupEpochs: 1,
  smoothing: 0.1,
  augment: true,
  seed: 3,
  dtype: "f32",
  threads: 2,
} satisfies TrainOptions;

/** Weights, best weights and history, without the time it took. */
export function outcome({ last, best, bestEpoch, history }: TrainResult) {
  return {
    last: [...last.parameters],
    best: [...best.parameters],
    bestEpoch,
    history: history.map((record) => ({ ...record, seconds: 0 })),
  };
}
