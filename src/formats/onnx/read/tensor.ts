/** TensorProto to host arrays. */

import { elementCount } from "../../../tensor.ts";
import { corrupt, quoted } from "../../bytes.ts";
import { bytesPerElement, type DType, toFloat32 } from "../../dtype.ts";
import { dtypeOf, emptyArray, HIGHEST_RANK, type HostArray, isFloat, Refusal } from "./array.ts";
import type { TensorProto } from "../proto/onnx_pb.ts";

/** ONNX's number for data that lies in another file (TensorProto.DataLocation). */
export const EXTERNAL = 1;

/** Integers take several times their bytes here, and are no weights. */
const MOST_INTEGERS = 2 ** 22;

/** Whether a tensor's data lies in another file. */
export function isExternal(tensor: TensorProto): boolean {
  return tensor.dataLocation === EXTERNAL;
}

/** Type and shape of a tensor, checked for sense. */
export interface TensorHeader {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bytes: number;
}

/**
 * Type and shape of a tensor.
 * @throws SecateurError `format-corrupt` for negative or huge extents; Refusal for an element type
 * this program does not read.
 */
export function headerOf(tensor: TensorProto, source: string): TensorHeader {
  const dtype = dtypeOf(tensor.dataType);
  if (dtype === undefined) {
    throw new Refusal(`has ${quoted(tensor.name)} of the unknown element type ${tensor.dataType}`);
  }
  const shape = tensor.dims.map(Number);
  const bytes = elementCount(shape) * bytesPerElement(dtype);
  const sensible = shape.length <= HIGHEST_RANK && shape.every((extent) => extent >= 0) &&
    Number.isSafeInteger(bytes);
  if (!sensible) {
    throw corrupt(
      source,
      `tensor ${quoted(tensor.name)} has the impossible shape ${quoted(tensor.dims.join(", "))}`,
    );
  }
  return { dtype, shape, bytes };
}

/**
 * The array of a tensor; `external` is its data when that lies in another file.
 * @throws SecateurError `format-corrupt` when data and shape disagree; Refusal as headerOf.
 */
export function arrayOf(tensor: TensorProto, source: string, external?: Uint8Array): HostArray {
  const { dtype, shape, bytes } = headerOf(tensor, source);
  const raw = isExternal(tensor) ? external : tensor.rawData;
  const mismatch = (found: string) =>
    corrupt(
      source,
      `tensor ${quoted(tensor.name)} of shape [${shape}] needs ${bytes} bytes of ${dtype} but ` +
        `has ${found}`,
    );
  if (!isFloat(dtype) && elementCount(shape) > MOST_INTEGERS) {
    throw new Refusal(
      `has ${quoted(tensor.name)} of ${
        elementCount(shape)
      } ${dtype} numbers, more than any shape ` +
        "or list of channels has",
    );
  }
  if (raw === undefined) throw mismatch("none");
  if (raw.length > 0 || isExternal(tensor)) {
    if (raw.length !== bytes) throw mismatch(`${raw.length}`);
    return { dtype, shape, data: decodeRaw(raw, dtype) };
  }
  const list = listOf(tensor, dtype);
  const count = elementCount(shape);
  if (list.length !== count) throw mismatch(`${list.length} listed elements instead of ${count}`);
  const array = emptyArray(dtype, shape);
  for (let i = 0; i < count; i++) array.data[i] = Number(list[i]);
  if (dtype !== "f16" && dtype !== "bf16") return array;
  // Half floats are listed as their bits.
  const bits = Uint16Array.from(array.data);
  const data = new Uint8Array(bits.buffer);
  return { dtype, shape, data: toFloat32(data, dtype, littleEndianHere()) };
}

function littleEndianHere(): boolean {
  return new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
}

/** Where ONNX lists elements of a type that are not given as raw bytes. */
function listOf(tensor: TensorProto, dtype: DType): ArrayLike<number | bigint> {
  switch (dtype) {
    case "f32":
      return tensor.floatData;
    case "f64":
      return tensor.doubleData;
    case "i64":
      return tensor.int64Data;
    case "u32":
    case "u64":
      return tensor.uint64Data;
    default:
      return tensor.int32Data;
  }
}

function decodeRaw(bytes: Uint8Array, dtype: DType): Float32Array | Float64Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wide = (read: (at: number) => number) => {
    const size = bytesPerElement(dtype);
    return Float64Array.from({ length: bytes.length / size }, (_, i) => read(i * size));
  };
  switch (dtype) {
    case "f32":
    case "f16":
    case "bf16":
      return toFloat32(bytes, dtype);
    case "f64":
      return wide((at) => view.getFloat64(at, true));
    case "i64":
      return wide((at) => Number(view.getBigInt64(at, true)));
    case "u64":
      return wide((at) => Number(view.getBigUint64(at, true)));
    case "i32":
      return wide((at) => view.getInt32(at, true));
    case "u32":
      return wide((at) => view.getUint32(at, true));
    default:
      // Up to 16 bits are exact in f32.
      return Float64Array.from(toFloat32(bytes, dtype));
  }
}
