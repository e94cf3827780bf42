/** What folding one node takes and gives, and the budget it shares with all others of a file. */

import { elementCount } from "../../../tensor.ts";
import type { DType } from "../../dtype.ts";
import type { TensorProto } from "../proto/onnx_pb.ts";
import {
  emptyArray,
  HIGHEST_RANK,
  type HostArray,
  isFloat,
  Refusal,
  shown,
} from "../read/array.ts";
import type { OnnxNode } from "../read/reader.ts";

/** Makes an array of zeros, or refuses when folding has made too many elements already. */
export type Allocate = (dtype: DType, shape: readonly number[]) => HostArray;

/** One node to fold. Inputs left out are undefined; the first is always there. */
export interface Folding {
  readonly node: OnnxNode;
  readonly inputs: readonly HostArray[];
  readonly opset: number;
  readonly allocate: Allocate;
  /** As allocate, for arrays of one number, which weights left out of a file are. */
  readonly fill: Allocate;
  /** Must be told of elements that are read for an answer much smaller; may refuse. */
  readonly spend: (elements: number) => void;
  readonly decode: (tensor: TensorProto) => HostArray;
}

/** Computes the outputs of a node; throws a Refusal for what it does not do. */
export type Fold = (folding: Folding) => HostArray[];

/** Elements that one file may have made of nothing, and those of them in one array. */
const MOST_FILLED = 2 ** 28;
const LARGEST_FILLED = 2 ** 27;

/** What an allocator gives to folding. */
export type Allocator = Pick<Folding, "allocate" | "fill" | "spend">;

/**
 * Hands out arrays until `elements` are used up: a small file must not fill the memory. Networks
 * that are shipped without their weights fill them with one number each, up to those of VGG-19;
 * `fill` hands these out, and what is computed of them gets as many elements again.
 */
export function allocator(elements: number): Allocator {
  let left = elements, filled = 0;
  const requireSensible = (shape: readonly number[], most: number) => {
    const sensible = shape.length <= HIGHEST_RANK &&
      shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0);
    if (sensible && elementCount(shape) <= most) return;
    throw new Refusal(`makes a constant of the excessive shape ${shown(shape)}`);
  };
  const allocate: Allocate = (dtype, shape) => {
    requireSensible(shape, left);
    left -= elementCount(shape);
    return emptyArray(dtype, shape);
  };
  return {
    allocate,
    fill(dtype, shape) {
      // Shapes and indices are small, and integers take twice the memory.
      if (!isFloat(dtype)) return allocate(dtype, shape);
      requireSensible(shape, Math.min(LARGEST_FILLED, MOST_FILLED - filled));
      const count = elementCount(shape);
      filled += count;
      left += count;
      return emptyArray(dtype, shape);
    },
    spend(count) {
      if (count > left) throw new Refusal("reads more numbers than any model needs");
      left -= count;
    },
  };
}
