/**
 * Values put off while a model is imported: exporters write one layer as several nodes, and what the
 * first of them are for shows only later.
 */

import type { ConstantValue, FeatureValue } from "./features.ts";
import type { OnnxNode } from "../read/reader.ts";

interface PutOff {
  readonly kind: "pending";
  /** The node that computes it. */
  readonly node: OnnxNode;
  /** The one value of the graph that it is computed from. */
  readonly base: FeatureValue;
  /** As the file has it, the batch included. */
  readonly shape: readonly number[];
}

/** scale * base + offset, each one number or one for every channel. */
export interface Affine {
  readonly scale: Float64Array;
  readonly offset: Float64Array;
  /** The constants that scale and offset are, where they are one unchanged. */
  readonly scaleFrom?: ConstantValue;
  readonly offsetFrom?: ConstantValue;
  /** Whether nothing else reads the base or what lies between. */
  readonly alone: boolean;
}

/** A function of each element of the base by itself. */
export interface Expression extends PutOff {
  readonly form: "expression";
  /** Nodes between the base and this, along the longest way. */
  readonly depth: number;
  /** Its values at POINTS, unless it differs between channels. */
  readonly samples?: Float64Array;
  readonly affine?: Affine;
}

/**
 * Steps of a layer norm over the channels of the base: their mean, what deviates from it, its
 * squares, their mean (the variance, with epsilon once that is added), its root, one over that.
 */
export type MomentStep = "mean" | "centred" | "squares" | "variance" | "deviation" | "inverse";

export interface Moment extends PutOff {
  readonly form: "moment";
  readonly step: MomentStep;
  readonly epsilon: number;
}

export type PendingValue = Expression | Moment;
