/** Element types of files and their conversion to f32, the only type of host tensors. */

/** Element types that checkpoints may hold. */
export type DType =
  | "f64"
  | "f32"
  | "f16"
  | "bf16"
  | "i64"
  | "i32"
  | "i16"
  | "i8"
  | "u64"
  | "u32"
  | "u16"
  | "u8"
  | "bool";

interface Element {
  readonly bytes: number;
  /** The element at a byte offset, as a number; 64-bit integers are rounded. */
  read(view: DataView, at: number, littleEndian: boolean): number;
}

const ELEMENTS: Readonly<Record<DType, Element>> = {
  f64: { bytes: 8, read: (view, at, little) => view.getFloat64(at, little) },
  f32: { bytes: 4, read: (view, at, little) => view.getFloat32(at, little) },
  f16: { bytes: 2, read: (view, at, little) => fromHalf(view.getUint16(at, little)) },
  bf16: { bytes: 2, read: (view, at, little) => fromBrainFloat(view.getUint16(at, little)) },
  i64: { bytes: 8, read: (view, at, little) => Number(view.getBigInt64(at, little)) },
  i32: { bytes: 4, read: (view, at, little) => view.getInt32(at, little) },
  i16: { bytes: 2, read: (view, at, little) => view.getInt16(at, little) },
  i8: { bytes: 1, read: (view, at) => view.getInt8(at) },
  u64: { bytes: 8, read: (view, at, little) => Number(view.getBigUint64(at, little)) },
  u32: { bytes: 4, read: (view, at, little) => view.getUint32(at, little) },
  u16: { bytes: 2, read: (view, at, little) => view.getUint16(at, little) },
  u8: { bytes: 1, read: (view, at) => view.getUint8(at) },
  bool: { bytes: 1, read: (view, at) => (view.getUint8(at) === 0 ? 0 : 1) },
};

/** Bytes of one element. */
export function bytesPerElement(dtype: DType): number {
  return ELEMENTS[dtype].bytes;
}

/** The bits of the nearest IEEE 754 binary16, of two equally near ones the even. */
export function toHalf(value: number): number {
  scratch.setFloat32(0, value);
  const sign = scratch.getUint32(0) >>> 16 & 0x8000;
  const size = Math.abs(Math.fround(value));
  if (Number.isNaN(size)) return sign | 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  // Steps between neighbours; below 2^-14 they are all 2^-24.
  const exponent = Math.max(-14, Math.floor(Math.log2(size || 1)));
  const steps = size / 2 ** (exponent - 10);
  const below = Math.floor(steps), over = steps - below;
  const rounded = below + (over > 0.5 || (over === 0.5 && below % 2 === 1) ? 1 : 0);
  // Steps from 1024 on carry into the exponent by themselves.
  return sign | (size < 2 ** -14 ? rounded : (exponent + 14) * 1024 + rounded);
}

/** A number from the bits of an IEEE 754 binary16. */
export function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const scratch = new DataView(new ArrayBuffer(4));

/** bfloat16 is the upper half of an f32. */
function fromBrainFloat(bits: number): number {
  scratch.setUint32(0, bits * 0x10000);
  return scratch.getFloat32(0);
}

/** Contiguous elements to f32; `bytes.length` must be a multiple of the element size. */
export function toFloat32(bytes: Uint8Array, dtype: DType, littleEndian = true): Float32Array {
  const { bytes: size, read } = ELEMENTS[dtype];
  const out = new Float32Array(bytes.length / size);
  if (dtype === "f32" && littleEndian) {
    // Copied as bytes: keeps NaN payloads, and the source need not be aligned.
    new Uint8Array(out.buffer).set(bytes);
    return out;
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; i < out.length; i++) out[i] = read(view, i * size, littleEndian);
  return out;
}

/**
 * Elements at any strides to row-major f32. The caller has checked that every index
 * offset + sum(i_d * strides_d), in elements, lies within `bytes`.
 */
export function gatherFloat32(
  bytes: Uint8Array,
  dtype: DType,
  littleEndian: boolean,
  { offset, shape, strides }: { offset: number; shape: number[]; strides: number[] },
): Float32Array {
  const { bytes: size, read } = ELEMENTS[dtype];
  const out = new Float32Array(shape.reduce((product, extent) => product * extent, 1));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const index = shape.map(() => 0);
  let at = offset;
  for (let i = 0; i < out.length; i++) {
    out[i] = read(view, at * size, littleEndian);
    for (let d = shape.length - 1; d >= 0; d--) {
      at += strides[d];
      if (++index[d] < shape[d]) break;
      at -= strides[d] * shape[d];
      index[d] = 0;
    }
  }
  return out;
}
