/** The serialised form of a program, which native/program/decode.h describes and native code loads. */

import { ARENAS, type DType, type Program } from "../program/program.ts";
import { SecateurError } from "../errors.ts";

const MAGIC = "SCTPROG1";
const DTYPES: readonly DType[] = ["f32", "bf16", "i32", "f64", "bytes"];

/** Appends little-endian fields to a buffer that grows. */
export class ByteWriter {
  #bytes = new Uint8Array(1 << 14);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  /** What was written so far, as a copy. */
  bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length);
  }

  raw(bytes: Uint8Array): void {
    // Growing replaces the buffer, so it comes first; likewise below.
    const start = this.#grow(bytes.length);
    this.#bytes.set(bytes, start);
  }

  u32(value: number): void {
    const start = this.#grow(4);
    this.#view.setUint32(start, requireInteger(value, 0, 2 ** 32 - 1), true);
  }

  i32(value: number): void {
    const start = this.#grow(4);
    this.#view.setInt32(start, requireInteger(value, -(2 ** 31), 2 ** 31 - 1), true);
  }

  i64(value: number): void {
    const whole = requireInteger(value, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
    const start = this.#grow(8);
    this.#view.setBigInt64(start, BigInt(whole), true);
  }

  f64(value: number): void {
    const start = this.#grow(8);
    this.#view.setFloat64(start, value, true);
  }

  string(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.u32(bytes.length);
    this.raw(bytes);
  }

  /** Items after their number. */
  list<T>(items: readonly T[], write: (item: T) => void): void {
    this.u32(items.length);
    for (const item of items) write(item);
  }

  /** Makes room for `length` bytes and returns where they start. */
  #grow(length: number): number {
    const start = this.#length;
    this.#length += length;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return start;
  }
}

/** The bytes of a program. Throws "program-invalid" for numbers that are not integers in range. */
export function encodeProgram(program: Program): Uint8Array<ArrayBuffer> {
  const writer = new ByteWriter();
  writer.raw(new TextEncoder().encode(MAGIC));
  for (const arena of ARENAS) writer.i64(program.arenas[arena]);
  writer.list(program.values, (value) => {
    writer.string(value.name);
    writer.u32(DTYPES.indexOf(value.dtype));
    writer.u32(ARENAS.indexOf(value.arena));
    writer.i64(value.images);
    writer.i64(value.offset);
    writer.list(value.shape, (extent) => writer.i64(extent));
  });
  writer.list(program.instructions, (instruction) => {
    writer.string(instruction.op);
    writer.string(instruction.layer);
    writer.list(instruction.inputs, (index) => writer.i32(index));
    writer.list(instruction.outputs, (index) => writer.i32(index));
    writer.list(instruction.ints, (int) => writer.i64(int));
    writer.list(instruction.floats, (float) => writer.f64(float));
  });
  writer.list(program.entries, (entry) => {
    writer.string(entry.name);
    writer.u32(entry.first);
    writer.u32(entry.count);
    writer.i64(entry.images);
    writer.i64(entry.slice);
  });
  return writer.bytes();
}

function requireInteger(value: number, least: number, most: number): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new SecateurError(
    "program-invalid",
    `Expected an integer from ${least} to ${most} in the program, found ${value}.`,
  );
}
