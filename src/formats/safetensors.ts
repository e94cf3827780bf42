/**
 * safetensors: an 8-byte little-endian header length, a JSON header
 * { name: { dtype, shape, data_offsets: [begin, end] }, "__metadata__"?: { string: string } },
 * then the row-major little-endian data, without holes or overlaps
 * (huggingface.co/docs/safetensors, "Format").
 */

import { Buffer } from "node:buffer";
import { reasonOf, SecateurError } from "../errors.ts";
import { elementCount, type StateDict, type Tensor } from "../tensor.ts";
import { writeFileAtomic } from "./atomic.ts";
import { ByteReader, corrupt, quoted } from "./bytes.ts";
import { bytesPerElement, type DType, toFloat32 } from "./dtype.ts";
import { readFileBytes } from "./file.ts";

/** What a safetensors file holds. */
export interface SafetensorsContent {
  readonly tensors: StateDict;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Bounds what parsing the header may cost; room for more than 100,000 tensors. */
const LONGEST_HEADER = 16 * 2 ** 20;
const HIGHEST_RANK = 64;
const METADATA = "__metadata__";

const DTYPES: Readonly<Record<string, DType>> = {
  F64: "f64",
  F32: "f32",
  F16: "f16",
  BF16: "bf16",
  I64: "i64",
  I32: "i32",
  I16: "i16",
  I8: "i8",
  U64: "u64",
  U32: "u32",
  U16: "u16",
  U8: "u8",
  BOOL: "bool",
};

interface Entry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: number[];
  readonly begin: number;
  readonly end: number;
}

/** Whether bytes begin like a safetensors file, complete or not. */
export function looksLikeSafetensors(bytes: Uint8Array): boolean {
  if (bytes.length < 9 || bytes[8] !== 0x7b) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return view.getBigUint64(0, true) <= BigInt(LONGEST_HEADER);
}

/**
 * Reads a safetensors file; see parseSafetensors.
 * @throws SecateurError also `file-missing`, `file-unreadable`.
 */
export async function readSafetensors(path: string): Promise<SafetensorsContent> {
  return parseSafetensors(await readFileBytes(path, "a safetensors file"), path);
}

/**
 * Parses safetensors bytes; tensors come in the order of their data, converted to f32 (integers
 * beyond 2^24 are rounded). `source` names the bytes in errors.
 * @throws SecateurError `format-corrupt` for anything the format forbids, `format-unknown` for
 * element types this program does not read.
 */
export function parseSafetensors(bytes: Uint8Array, source: string): SafetensorsContent {
  const reader = new ByteReader(bytes, source);
  const length = reader.uint64("the header length");
  if (length > LONGEST_HEADER) {
    throw corrupt(source, `its header claims ${length} bytes where ${LONGEST_HEADER} are the most`);
  }
  const header = parseHeader(reader.take(length, "the header"), source);
  const data = reader.take(reader.remaining, "the data");
  const entries: Entry[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(header)) {
    if (name === METADATA) metadata = parseMetadata(value, source);
    else entries.push(parseEntry(name, value, source));
  }
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkCoverage(entries, data.length, source);
  const tensors = new Map<string, Tensor>();
  for (const { name, dtype, shape, begin, end } of entries) {
    tensors.set(name, { shape, data: toFloat32(data.subarray(begin, end), dtype) });
  }
  return { tensors, metadata };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parseHeader(bytes: Uint8Array, source: string): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (thrown) {
    throw corrupt(source, `its header is not JSON (${quoted(reasonOf(thrown))})`);
  }
  if (!isRecord(header)) throw corrupt(source, "its header is not a JSON object");
  return header;
}

function parseMetadata(value: unknown, source: string): Record<string, string> {
  if (!isRecord(value)) throw corrupt(source, "its metadata is not a JSON object");
  const metadata: [string, string][] = [];
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string") {
      throw corrupt(source, `its metadata ${quoted(key)} is not a string`);
    }
    metadata.push([key, text]);
  }
  return Object.fromEntries(metadata);
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function parseEntry(name: string, value: unknown, source: string): Entry {
  const what = `tensor ${quoted(name)}`;
  if (!isRecord(value)) throw corrupt(source, `the header of ${what} is not a JSON object`);
  const { dtype: code, shape, data_offsets: offsets } = value;
  if (typeof code !== "string") throw corrupt(source, `${what} has no dtype`);
  if (!Object.hasOwn(DTYPES, code)) {
    throw new SecateurError(
      "format-unknown",
      `${source}: expected ${what} to be one of ${Object.keys(DTYPES).join(", ")}, but it is ` +
        `${quoted(code)}; convert it before writing the file.`,
    );
  }
  if (!Array.isArray(shape) || shape.length > HIGHEST_RANK || !shape.every(isCount)) {
    throw corrupt(source, `the shape of ${what} is not a list of counts`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw corrupt(source, `the data offsets of ${what} are not two counts`);
  }
  const dtype = DTYPES[code];
  const [begin, end]: number[] = offsets;
  const expected = elementCount(shape) * bytesPerElement(dtype);
  if (end - begin !== expected) {
    throw corrupt(
      source,
      `${what} of shape [${shape}] needs ${expected} bytes but has ${end - begin}`,
    );
  }
  return { name, dtype, shape, begin, end };
}

/** Entries sorted by offset must tile the data exactly. */
function checkCoverage(entries: readonly Entry[], length: number, source: string): void {
  let position = 0;
  for (const { name, begin, end } of entries) {
    if (begin !== position || end > length) {
      throw corrupt(
        source,
        `tensor ${quoted(name)} lies at bytes ${begin} to ${end} of the data, where byte ` +
          `${position} to at most ${length} was expected`,
      );
    }
    position = end;
  }
  if (position !== length) {
    throw corrupt(source, `its tensors end at byte ${position} of ${length} bytes of data`);
  }
}

/**
 * The bytes of a safetensors file with f32 tensors in the order given. Equal input gives equal
 * bytes.
 * @throws SecateurError `format-corrupt` when a tensor's data does not fit its shape.
 */
export function encodeSafetensors(
  tensors: StateDict,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const header: [string, unknown][] = [];
  if (Object.keys(metadata).length > 0) header.push([METADATA, metadata]);
  let offset = 0;
  for (const [name, { shape, data }] of tensors) {
    if (name === METADATA || data.length !== elementCount(shape)) {
      throw new SecateurError(
        "format-corrupt",
        `cannot write tensor ${quoted(name)}: its ${data.length} values do not fit its shape ` +
          `[${shape}], or its name is reserved; this is a fault of the program that made it.`,
      );
    }
    const end = offset + data.length * 4;
    header.push([name, { dtype: "F32", shape, data_offsets: [offset, end] }]);
    offset = end;
  }
  // Joined by hand: an object would move names such as "0" to the front.
  const members = header.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
  let json = Buffer.from(`{${members.join(",")}}`);
  const padding = (8 - (json.length % 8)) % 8; // so that the data is aligned, as readers like it
  json = Buffer.concat([json, Buffer.alloc(padding, " ")]);
  const bytes = new Uint8Array(8 + json.length + offset);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  let position = 8 + json.length;
  for (const { data } of tensors.values()) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), position);
    position += data.byteLength;
  }
  return bytes;
}

/**
 * Writes a safetensors file atomically.
 * @throws SecateurError `file-unwritable`, and what encodeSafetensors throws.
 */
export async function writeSafetensors(
  path: string,
  tensors: StateDict,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  await writeFileAtomic(path, encodeSafetensors(tensors, metadata));
}
