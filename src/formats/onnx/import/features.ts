/** Values that need no more nodes: feature maps of the graph, and constants. */

import type { HostArray } from "../read/array.ts";

/**
 * How the file lays out a value that the graph has as [channels, height, width] or [features]:
 * channels_last [batch, height, width, channels]; flat_last, a picture flattened to [batch, height * width * channels], which the graph has with
 * channels outermost; reshaped, the same elements in the same order under a shape that differs in
 * extents of 1; merged, those of all images in one vector; rows [batch, groups, cells], all cells of
 * as many neighbouring channels in one row; expanded, one number a channel
 * repeated over the pixels of a picture; arranged, as the value's arrangement says.
 */
export type View =
  | "channels_last"
  | "flat_last"
  | "reshaped"
  | "merged"
  | "rows"
  | "arranged"
  | "expanded";

/** `extent` steps of `stride` along an axis of the graph's. */
export interface Part {
  readonly axis: number;
  readonly extent: number;
  readonly stride: number;
}

/** For every axis of the file, its parts, the outermost first; parts of one step are left out. */
export interface Arrangement {
  readonly axes: readonly (readonly Part[])[];
  /** Where the first element lies along the graph's axes. */
  readonly start: readonly number[];
}

/** A value computed from the model's input; `shape` is the file's and includes the batch. */
export interface FeatureValue {
  readonly kind: "feature";
  /** Its name in the graph. */
  readonly name: string;
  readonly shape: readonly number[];
  /** Undefined where the file's layout is the graph's. */
  readonly view?: View;
  /** Of flat_last: height * width. */
  readonly pixels?: number;
  /** Of arranged. */
  readonly arrangement?: Arrangement;
}

/** A value known while the model is read. */
export interface ConstantValue {
  readonly kind: "constant";
  readonly name: string;
  readonly array: HostArray;
}
