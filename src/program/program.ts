/**
 * A compiled program: plain data that native code executes whole. Values live at fixed offsets of
 * a few arenas, instructions name operations of native/operations.def, entries are the ranges one
 * may run. Everything here prints, diffs and tests without native code.
 */

import type { OperationName } from "./operations.ts";

/** Storage types. "bytes" is opaque: packed weights whose form belongs to the backend. */
export type DType = "f32" | "bf16" | "i32" | "f64" | "bytes";

/** Bytes of one element. */
export const DTYPE_BYTES: Readonly<Record<DType, number>> = {
  f32: 4,
  bf16: 2,
  i32: 4,
  f64: 8,
  bytes: 1,
};

/**
 * weights: parameters and running statistics, what a checkpoint holds; state: optimizer state,
 * packed weights, saved statistics, gradients; feeds: written before a run; activations: one
 * region overlaid by all entries, holding whole batches; slice: one region a thread, holding one
 * slice of the batch at a time.
 */
export type Arena = "weights" | "state" | "feeds" | "activations" | "slice";

export const ARENAS: readonly Arena[] = ["weights", "state", "feeds", "activations", "slice"];

/**
 * A tensor at a place. Images are NHWC: shape is [height, width, channels], or [channels] for
 * height = width = 1, per image; `images` is the leading extent, 0 when the value does not belong
 * to images (weights, statistics, hyper-parameters). Convolution weights are f32
 * [out, in / groups, kernel height, kernel width]. In the slice arena `images` still says how many
 * images the entry has; only a slice of them is there at a time.
 */
export interface Value {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly images: number;
  readonly arena: Arena;
  /** Bytes from the arena's start, a multiple of 64. */
  readonly offset: number;
}

/** One native instruction. Inputs and outputs are indices into Program.values, -1 when absent. */
export interface Instruction {
  readonly op: OperationName;
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  /** Integer attributes in the order operations.def lists them. */
  readonly ints: readonly number[];
  /** Floating-point attributes in the order operations.def lists them. */
  readonly floats: readonly number[];
  /** The graph node this came from, for errors and profiles. */
  readonly layer: string;
}

/** A range of instructions that runs as one, over `images` images in slices of `slice`. */
export interface Entry {
  readonly name: string;
  readonly first: number;
  readonly count: number;
  /** 0 for entries that touch no images, such as "prepare". */
  readonly images: number;
  readonly slice: number;
}

export interface Program {
  readonly values: readonly Value[];
  /** Bytes of each arena; for slice, bytes per thread. */
  readonly arenas: Readonly<Record<Arena, number>>;
  readonly instructions: readonly Instruction[];
  readonly entries: readonly Entry[];
}

/** Elements of one image (or of the whole value when it has no images). */
export function elementsOf(value: Pick<Value, "shape">): number {
  return value.shape.reduce((product, extent) => product * extent, 1);
}

/** Bytes a value takes in its arena, given the slice size of its entry. */
export function bytesOf(value: Omit<Value, "offset">, slice: number): number {
  const images = value.images === 0 ? 1 : value.arena === "slice" ? slice : value.images;
  return elementsOf(value) * DTYPE_BYTES[value.dtype] * images;
}
