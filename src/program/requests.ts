/** What callers ask compile for, and where they find it in the program. */

import type { Constant } from "./draft.ts";
import type { GateSite } from "./passes/instrument.ts";
import type { OptimizerOptions } from "./passes/update.ts";
import type { Program } from "./program.ts";

/** Per-image softmax cross-entropy, with PyTorch's label smoothing. */
export interface LossOptions {
  readonly smoothing: number;
}

/** Loss of a training step, optionally distilled from a teacher's logits (arXiv 1503.02531). */
export interface StepLossOptions extends LossOptions {
  /** Weight of the teacher; 0 (default): no teacher feed. */
  readonly distill?: number;
  /** Each picture is a mixture of two: feeds for the second label and the first one's share. */
  readonly mixed?: boolean;
  readonly temperature?: number;
}

/** Squared errors of outputs against values that are fed, each by its own scale, summed. */
export interface MatchLossOptions {
  readonly scales: ReadonlyMap<string, number>;
}

/** Inference with running statistics. */
export interface ForwardRequest {
  readonly kind: "forward";
  readonly name: string;
  readonly images: number;
  /** Graph values readable after a run, besides the outputs. */
  readonly fetch?: readonly string[];
  /** Adds a labels feed and the loss of each image. */
  readonly loss?: LossOptions;
  /** Graph values whose channels' ranks, or means over height and width, are readable. */
  readonly ranks?: readonly string[];
  readonly means?: readonly string[];
  /** Masks channels, one row for the whole batch. Fetches and taps see values before the gate. */
  readonly gates?: readonly GateSite[];
}

/** One training step: forward, backward, update. The gradient is of the batch's mean loss. */
export interface StepRequest {
  readonly kind: "step";
  readonly name: string;
  readonly images: number;
  readonly loss: StepLossOptions | MatchLossOptions;
  readonly optimizer: OptimizerOptions;
  /** Keep a moving average of all parameters, running statistics included. */
  readonly average?: boolean;
  /** Parameters that are not updated. */
  readonly frozen?: ReadonlySet<string>;
  /**
   * Compute cheap activations again in the backward pass instead of keeping them; default true.
   * Results are the same to the bit.
   */
  readonly recompute?: boolean;
}

/**
 * Batch-norm re-estimation: forward with the batch's statistics, running ones updated with the
 * momentum fed in (1 / k at batch k makes the cumulative average).
 */
export interface StatisticsRequest {
  readonly kind: "statistics";
  readonly name: string;
  readonly images: number;
}

/**
 * Inference under many coalitions: entries `${name}/prefix`, and `${name}/suffix/${n}` for each n
 * of `coalitions`. Running another coalitions request's prefix voids what a prefix left; other
 * entries do not.
 */
export interface CoalitionsRequest {
  readonly kind: "coalitions";
  readonly name: string;
  /** Pictures per coalition. */
  readonly images: number;
  readonly coalitions: readonly number[];
  readonly gates: readonly GateSite[];
  readonly loss: LossOptions;
}

/**
 * Normal equations of one convolution or linear layer: its inputs against targets fed in, summed
 * over all runs since gram and cross were last written.
 */
export interface EquationsRequest {
  readonly kind: "equations";
  readonly name: string;
  readonly images: number;
  /** Name of the graph node. */
  readonly layer: string;
  /** A value of the output's shape that is added to the targets, channels times their stretch. */
  readonly beside?: { readonly value: string; readonly stretch: Float32Array };
}

/**
 * Second moments of everything that least squares of the named layers reads, and of the channels of
 * the named values with every cell a sample; summed over all runs since they were last written.
 */
export interface MomentsRequest {
  readonly kind: "moments";
  readonly name: string;
  readonly images: number;
  /** Convolutions and linear layers. */
  readonly layers: readonly string[];
  readonly values: readonly string[];
}

export type EntryRequest =
  | ForwardRequest
  | StepRequest
  | StatisticsRequest
  | CoalitionsRequest
  | EquationsRequest
  | MomentsRequest;

/** Names of the values an entry reads and leaves; absent where it has none. */
export interface CompiledEntry {
  readonly name: string;
  readonly images: number;
  /** Feeds, to be written before a run; all keep what they hold. */
  readonly feeds: {
    /** [height, width, channels] per image in the compiled dtype. */
    readonly images?: string;
    /** i32 [1] per image. */
    readonly labels?: string;
    /** f32 [classes] per image. */
    readonly teacher?: string;
    /** By graph output, f32 and laid out as that is: what the output is matched to. */
    readonly wanted?: ReadonlyMap<string, string>;
    /** i32 [1] and f32 [1] per image, of mixed pictures. */
    readonly otherLabels?: string;
    readonly labelShares?: string;
    /** f32, see OptimizerOptions; shared by all steps. */
    readonly hyper?: string;
    /** f32 [1]: share of the way that averages move towards the weights; shared by all steps. */
    readonly pace?: string;
    /** f32 [1]; shared by all statistics entries. */
    readonly momentum?: string;
    /** f32 [height, width, out] per image; shared by equations of one shape. */
    readonly target?: string;
    /** f32 [rows, channels] by GateSite.feed. */
    readonly gates: ReadonlyMap<string, string>;
  };
  /**
   * f32 values by graph output, [height, width, channels] per image or [features]; a flattened picture
   * lies as the picture does.
   */
  readonly outputs: ReadonlyMap<string, string>;
  /** f32 [classes] per image: the output of a graph that has one vector. */
  readonly logits?: string;
  /** f32 [1] per image. */
  readonly loss?: string;
  /** Fetched values by graph value, [height, width, channels] per image. */
  readonly values: ReadonlyMap<string, string>;
  /** f32 [channels] per image by graph value. */
  readonly ranks: ReadonlyMap<string, string>;
  readonly means: ReadonlyMap<string, string>;
  /** f64 [groups, n + 1, n + 1] and [groups, n + 1, out / groups], n = in / groups * kernel area. */
  readonly gram?: string;
  readonly cross?: string;
  /** As gram, by layer or value (whose n is its channels). */
  readonly moments?: ReadonlyMap<string, string>;
  /** Updated parameters and their optimizer state, which starts at zero. */
  readonly optimizerState: ReadonlyMap<string, readonly string[]>;
  /** Moving averages by parameter; they start at zero, so whoever averages writes them first. */
  readonly averages: ReadonlyMap<string, string>;
}

/** A program and where to find things in it. Graph parameters keep their names. */
export interface Compiled {
  readonly program: Program;
  /**
   * Entry to run after weights or running statistics were written or changed, before inference.
   * Steps and statistics entries need no such run.
   */
  readonly prepare: string;
  readonly entries: ReadonlyMap<string, CompiledEntry>;
  /** What a session must write once, before anything runs. */
  readonly constants: ReadonlyMap<string, Constant>;
}
