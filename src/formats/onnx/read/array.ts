/** Host arrays of ONNX tensors: what initializers hold and constant folding computes with. */

import { elementCount } from "../../../tensor.ts";
import type { DType } from "../../dtype.ts";

/**
 * A dense row-major array. Floats of up to 32 bits lie in a Float32Array, so that arithmetic rounds
 * as the model's does; everything else in a Float64Array, where integers are exact up to 2^53 and
 * the largest 64-bit ones, which only mean "to the end", are near enough.
 */
export interface HostArray {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Float32Array | Float64Array;
}

const NARROW_FLOATS: ReadonlySet<DType> = new Set(["f32", "f16", "bf16"]);
const FLOATS: ReadonlySet<DType> = new Set(["f64", "f32", "f16", "bf16"]);

/** Whether elements are floating-point numbers. */
export function isFloat(dtype: DType): boolean {
  return FLOATS.has(dtype);
}

/** More axes than any tensor of a model has. */
export const HIGHEST_RANK = 16;

/** A shape for a sentence, cut short when hostile. */
export function shown(shape: readonly number[]): string {
  const extents = shape.slice(0, HIGHEST_RANK).join(", ");
  return shape.length > HIGHEST_RANK ? `[${extents}, ...]` : `[${extents}]`;
}

/** An array of zeros; callers have bounded its size. */
export function emptyArray(dtype: DType, shape: readonly number[]): HostArray {
  const count = elementCount(shape);
  const data = NARROW_FLOATS.has(dtype) ? new Float32Array(count) : new Float64Array(count);
  return { dtype, shape, data };
}

/**
 * The numbers of an extent, axis or step each: at most two for an axis, so that many nodes reading
 * one long list cost no more than a few.
 */
export function listed({ data }: HostArray): number[] {
  if (data.length <= 2 * HIGHEST_RANK) return [...data];
  throw new Refusal(`reads a list of ${data.length} numbers, more than a tensor has axes`);
}

/** An i64 vector. */
export function integers(values: readonly number[]): HostArray {
  return { dtype: "i64", shape: [values.length], data: Float64Array.from(values) };
}

/** ONNX's numbers of element types (TensorProto.DataType) that this program reads. */
const DTYPES: readonly (DType | undefined)[] = [
  undefined,
  "f32",
  "u8",
  "i8",
  "u16",
  "i16",
  "i32",
  "i64",
  undefined, // strings
  "bool",
  "f16",
  "f64",
  "u32",
  "u64",
  undefined, // complex
  undefined,
  "bf16",
];

/** The element type of an ONNX number, or undefined for those not read. */
export function dtypeOf(code: number): DType | undefined {
  return DTYPES[code];
}

/** The ONNX number of an element type. */
export function codeOf(dtype: DType): number {
  return DTYPES.indexOf(dtype);
}

/**
 * What a node asks for and this program does not do, as a clause after the node's name; import
 * collects all of them into one error.
 */
export class Refusal extends Error {
  override readonly name = "Refusal";
  /** The node that asks, where it is not the one being imported. */
  readonly node: RefusedNode | undefined;

  constructor(message: string, node?: RefusedNode) {
    super(message);
    this.node = node;
  }

  /** The same refusal for a node, unless it names one already. */
  at(node: RefusedNode): Refusal {
    return this.node === undefined ? new Refusal(this.message, node) : this;
  }
}

/** What sentences say of a node. */
export interface RefusedNode {
  readonly name: string;
  readonly op: string;
}
