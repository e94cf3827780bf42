/** What a training run is asked for and what it gives back. */

import type { Normalisation, PictureSet } from "../data/dataset.ts";
import type { Graph } from "../graph/graph.ts";
import type { ComputeOptions } from "../native/loaded_model.ts";
import type { RunOptions } from "../progress.ts";
import type { Matching } from "../objectives/matching.ts";
import type { Mixing } from "./mix.ts";
import type { BestWeights, Divergence, EpochRecord, Score } from "./checkpoint_position.ts";

/** Nesterov momentum as in PyTorch, or AdamW; decay spares batch norm and biases by default. */
export interface Optimizer {
  readonly kind: "sgd" | "adamw";
  readonly weightDecay: number;
  readonly decayNormAndBias?: boolean;
  /** SGD only; default 0.9. */
  readonly momentum?: number;
}

/** Distillation from a teacher's logits (Hinton et al., arXiv 1503.02531). */
export interface Distillation {
  readonly teacher: Graph;
  /** Share of the loss that is the teacher's, in [0, 1]. */
  readonly share: number;
  readonly temperature: number;
}

export interface TrainOptions extends RunOptions, ComputeOptions {
  readonly data: PictureSet;
  /** Evaluated before training and after every epoch; decides which weights are best. */
  readonly validation?: PictureSet;
  readonly normalisation: Normalisation;
  readonly epochs: number;
  /** Images per step; the last batch of an epoch may have fewer. */
  readonly batch: number;
  readonly optimizer: Optimizer;
  /** Peak learning rate: linear warm-up, then cosine decay to zero. */
  readonly learningRate: number;
  readonly warmupEpochs?: number;
  /** Largest norm of a step's gradients; longer ones are shortened to it. Left out or 0, none are. */
  readonly clip?: number;
  /** Try the peak rate on the first steps, and lower it while it ruins the network (probe.ts). */
  readonly probe?: boolean;
  /** Decay of a moving average of the weights that competes with them; in (0, 1). */
  readonly average?: number;
  readonly smoothing?: number;
  /** Train on pictures mixed of two (mix.ts). */
  readonly mixing?: Mixing;
  readonly distillation?: Distillation;
  /** Match the outputs of an original in place of labels; then nothing is mixed, smoothed or distilled. */
  readonly matching?: Matching;
  /** Crop and mirror. */
  readonly augment?: boolean;
  /** Another order every epoch (default), or the data set's own. */
  readonly shuffle?: boolean;
  readonly seed: number;
  /** File to keep the state in: written after every epoch and when cancelled. */
  readonly checkpoint?: string;
  /** Go on from the checkpoint if there is one. */
  readonly resume?: boolean;
  /** Name of the stage in progress reports; default "train". */
  readonly stage?: string;
  /** Told, in a sentence each, what people should know before the end. */
  readonly onNote?: (sentence: string) => void;
  /** Told how the starting weights do on the validation pictures. */
  readonly onStart?: (score: Score) => void;
  /** Told of every epoch as it ends. */
  readonly onEpoch?: (record: EpochRecord) => void;
}

/** What a run started from and ended with, and what went otherwise than asked. */
export interface TrainingOutcome {
  /** On the validation pictures, before the first step; absent without any, as the next. */
  readonly start?: Score;
  readonly best?: BestWeights;
  /** Peak rates: as asked, and as trained with, which is what the probe left of it. */
  readonly askedRate: number;
  readonly learningRate: number;
  /** Where the loss stopped being finite and training with it. */
  readonly diverged?: Divergence;
}

export interface TrainResult {
  /** Weights after the last epoch; the best ones where training diverged. */
  readonly last: Graph;
  /** The best weights on the validation pictures (best.ts); the last ones without any. */
  readonly best: Graph;
  /** Their epoch; 0 where no epoch was better than the start. */
  readonly bestEpoch: number;
  readonly history: readonly EpochRecord[];
  readonly outcome: TrainingOutcome;
}
