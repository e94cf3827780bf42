/** What folding one node takes and gives, and the budget it shares with all others of a file. */

import { elementCount } from "../../../tensor.ts";
import type { DType } from "../../dtype.ts";
import type { TensorProto } from "../proto/onnx_pb.ts";
import { emptyArray, HIGHEST_RANK, type HostArray, Refusal, shown } from "../read/array.ts";
import type { OnnxNode } from "../read/reader.ts";

/** Makes an array of zeros, or refuses when folding has made too many elements already. */
export type Allocate = (dtype: DType, shape: readonly number[]) => HostArray;

/** One node to fold. Inputs left out are undefined; the first is always there. */
export interface Folding {
  readonly node: OnnxNode;
  readonly inputs: readonly HostArray[];
  readonly opset: number;
  readonly allocate: Allocate;
  readonly decode: (tensor: TensorProto) => HostArray;
}

/** Computes the outputs of a node; throws a Refusal for what it does not do. */
export type Fold = (folding: Folding) => HostArray[];

/** Hands out arrays until `elements` are used up: a small file must not fill the memory. */
export function allocator(elements: number): Allocate {
  let left = elements;
  return (dtype, shape) => {
    const sensible = shape.length <= HIGHEST_RANK &&
      shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0);
    const count = elementCount(shape);
    if (!sensible || count > left) {
      throw new Refusal(`makes a constant of the excessive shape ${shown(shape)}`);
    }
    left -= count;
    return emptyArray(dtype, shape);
  };
}
