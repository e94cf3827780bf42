/**
 * Reading zip archives of stored (uncompressed) entries, with zip64, as PyTorch writes them.
 * Layout: PKWARE APPNOTE.TXT 6.3.10, sections 4.3.7 to 4.3.16 and 4.5.3.
 */

import { SecateurError } from "../../errors.ts";
import { ByteReader, corrupt, quoted } from "../bytes.ts";

const LOCAL_HEADER = 0x04034b50;
const CENTRAL_HEADER = 0x02014b50;
const END_RECORD = 0x06054b50;
const ZIP64_LOCATOR = 0x07064b50;
const ZIP64_END_RECORD = 0x06064b50;
const END_RECORD_BYTES = 22;
const ZIP64_LOCATOR_BYTES = 20;
const LONGEST_COMMENT = 0xffff;
const ZIP64_EXTRA = 1;
const UNKNOWN_32 = 0xffffffff;

interface Entry {
  readonly name: string;
  readonly flags: number;
  readonly method: number;
  readonly crc: number;
  readonly stored: number;
  readonly size: number;
  readonly header: number;
}

/** The entries of an archive by name; contents are views into the archive's bytes. */
export class ZipArchive {
  readonly #bytes: Uint8Array;
  readonly #source: string;
  readonly #entries: ReadonlyMap<string, Entry>;
  readonly #checked = new Map<string, Uint8Array>();

  /** @throws SecateurError `format-corrupt` when the directory contradicts the file. */
  constructor(bytes: Uint8Array, source: string) {
    this.#bytes = bytes;
    this.#source = source;
    this.#entries = readDirectory(bytes, source);
  }

  get names(): string[] {
    return [...this.#entries.keys()];
  }

  /**
   * The content of an entry, undefined when there is none of that name.
   * @throws SecateurError `format-unknown` for a compressed or encrypted entry, `format-corrupt`
   * when it does not lie in the file or its checksum differs.
   */
  read(name: string): Uint8Array | undefined {
    const known = this.#checked.get(name);
    if (known) return known;
    const entry = this.#entries.get(name);
    if (!entry) return undefined;
    if (entry.method !== 0 || (entry.flags & 1) !== 0) {
      throw new SecateurError(
        "format-unknown",
        `${this.#source}: expected entries stored as they are, as torch.save writes them, but ` +
          `${quoted(name)} is ${entry.flags & 1 ? "encrypted" : "compressed"}; save the ` +
          "checkpoint again with torch.save.",
      );
    }
    const content = this.#locate(entry);
    this.#checked.set(name, content);
    return content;
  }

  #locate(entry: Entry): Uint8Array {
    const what = `entry ${quoted(entry.name)}`;
    if (entry.stored !== entry.size) {
      throw corrupt(
        this.#source,
        `${what} is stored in ${entry.stored} bytes but has ${entry.size}`,
      );
    }
    const reader = new ByteReader(this.#bytes, this.#source, entry.header);
    if (reader.uint32(`the header of ${what}`) !== LOCAL_HEADER) {
      throw corrupt(this.#source, `${what} has no header at byte ${entry.header}`);
    }
    reader.take(22, `the header of ${what}`);
    const nameLength = reader.uint16(`the header of ${what}`);
    const extraLength = reader.uint16(`the header of ${what}`);
    reader.take(nameLength + extraLength, `the header of ${what}`);
    const content = reader.take(entry.size, what);
    // PyTorch writes 0 when told not to compute checksums (set_crc32_options(False)).
    if (entry.crc !== 0 && crc32(content) !== entry.crc) {
      throw corrupt(this.#source, `the checksum of ${what} does not match its content`);
    }
    return content;
  }
}

/** Parses the central directory. */
function readDirectory(bytes: Uint8Array, source: string): Map<string, Entry> {
  const { start, size, count } = findDirectory(bytes, source);
  if (start + size > bytes.length) {
    throw corrupt(source, `its directory at byte ${start} reaches beyond its end`);
  }
  const reader = new ByteReader(bytes.subarray(0, start + size), source, start);
  const entries = new Map<string, Entry>();
  let stored = 0;
  while (reader.remaining > 0) {
    const entry = readEntry(reader);
    if (entries.has(entry.name)) {
      throw corrupt(source, `its directory names ${quoted(entry.name)} twice`);
    }
    if (entry.header >= start) {
      throw corrupt(source, `entry ${quoted(entry.name)} starts beyond the directory`);
    }
    entries.set(entry.name, entry);
    stored += entry.stored;
  }
  if (entries.size !== count) {
    throw corrupt(source, `its directory has ${entries.size} entries where ${count} are announced`);
  }
  // Entries that share bytes would make checksums cost the square of the file's size.
  if (stored > bytes.length) {
    throw corrupt(source, `its entries claim ${stored} bytes in a file of ${bytes.length}`);
  }
  return entries;
}

function readEntry(reader: ByteReader): Entry {
  const what = "its directory";
  if (reader.uint32(what) !== CENTRAL_HEADER) {
    throw corrupt(reader.source, `its directory is broken at byte ${reader.position - 4}`);
  }
  reader.take(4, what); // versions made by and needed
  const flags = reader.uint16(what);
  const method = reader.uint16(what);
  reader.take(4, what); // time and date
  const crc = reader.uint32(what);
  const stored = reader.uint32(what);
  const size = reader.uint32(what);
  const nameLength = reader.uint16(what);
  const extraLength = reader.uint16(what);
  const commentLength = reader.uint16(what);
  reader.take(8, what); // disk, internal and external attributes
  const header = reader.uint32(what);
  const name = new TextDecoder().decode(reader.take(nameLength, what));
  const extra = reader.take(extraLength, what);
  reader.take(commentLength, what);
  return { name, flags, method, crc, ...widen({ size, stored, header }, extra, reader.source) };
}

/** Replaces 32-bit fields that say "see zip64" by the 64-bit ones of the extra field. */
function widen(
  fields: { size: number; stored: number; header: number },
  extra: Uint8Array,
  source: string,
): { size: number; stored: number; header: number } {
  const wide = { ...fields };
  const reader = new ByteReader(extra, source);
  while (reader.remaining >= 4) {
    const id = reader.uint16("an extra field");
    const body = reader.take(reader.uint16("an extra field"), "an extra field");
    if (id !== ZIP64_EXTRA) continue;
    const values = new ByteReader(body, source);
    for (const field of ["size", "stored", "header"] as const) {
      if (wide[field] === UNKNOWN_32) wide[field] = values.uint64("a zip64 field");
    }
  }
  return wide;
}

/** Finds the directory through the end record, or the zip64 end record when there is one. */
function findDirectory(
  bytes: Uint8Array,
  source: string,
): { start: number; size: number; count: number } {
  const end = findEndRecord(bytes, source);
  const locator = end - ZIP64_LOCATOR_BYTES;
  if (locator >= 0) {
    const reader = new ByteReader(bytes, source, locator);
    if (reader.uint32("the zip64 locator") === ZIP64_LOCATOR) {
      reader.take(4, "the zip64 locator");
      return readZip64End(bytes, source, reader.uint64("the zip64 locator"));
    }
  }
  const reader = new ByteReader(bytes, source, end + 10);
  const count = reader.uint16("the end record");
  const size = reader.uint32("the end record");
  const start = reader.uint32("the end record");
  return { start, size, count };
}

function readZip64End(bytes: Uint8Array, source: string, position: number) {
  if (position > bytes.length) {
    throw corrupt(source, `its zip64 end record at byte ${position} lies beyond its end`);
  }
  const reader = new ByteReader(bytes, source, position);
  if (reader.uint32("the zip64 end record") !== ZIP64_END_RECORD) {
    throw corrupt(source, `there is no zip64 end record at byte ${position}`);
  }
  reader.take(28, "the zip64 end record");
  const count = reader.uint64("the zip64 end record");
  const size = reader.uint64("the zip64 end record");
  const start = reader.uint64("the zip64 end record");
  return { start, size, count };
}

function findEndRecord(bytes: Uint8Array, source: string): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const last = bytes.length - END_RECORD_BYTES;
  for (let at = last; at >= Math.max(0, last - LONGEST_COMMENT); at--) {
    if (view.getUint32(at, true) !== END_RECORD) continue;
    if (at + END_RECORD_BYTES + view.getUint16(at + 20, true) === bytes.length) return at;
  }
  throw corrupt(source, "this is the beginning of a zip archive, but its directory is missing");
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** CRC-32 (ISO 3309), by table. */
export function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) crc = CRC_TABLE[(crc ^ bytes[i]) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
