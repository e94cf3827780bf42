/**
 * Reading tar archives: what is in them and where, without unpacking. Understands ustar names with
 * a prefix, GNU long names and pax paths and sizes (POSIX.1-2001, "pax interchange format").
 * Symbolic links, devices and sparse files are passed over.
 */
import { Buffer } from "node:buffer";
import type { FileHandle } from "node:fs/promises";
import { SecateurError } from "../../errors.ts";

/** A file or folder in an archive. */
export interface TarEntry {
  /** As stored, without a leading "./" and without a trailing "/". */
  readonly path: string;
  readonly kind: "file" | "folder";
  /** Where the file's bytes start. */
  readonly offset: number;
  readonly size: number;
}

const BLOCK = 512;
const WINDOW = 2 ** 20;
/** Longer names and pax records than this are damage or malice. */
const LARGEST_RECORD = 2 ** 20;
const MOST_ENTRIES = 10_000_000;

/** Headers read through a window, since most lie close together. */
class HeaderWindow {
  readonly #file: FileHandle;
  readonly #bytes = Buffer.alloc(WINDOW);
  #start = 0;
  #length = 0;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  /** `length` bytes at `offset`, or fewer at the end of the file; valid until the next call. */
  async at(offset: number, length: number): Promise<Buffer> {
    const inside = offset >= this.#start && offset + length <= this.#start + this.#length;
    if (!inside) {
      this.#start = offset;
      this.#length = 0;
      while (this.#length < WINDOW) {
        const { bytesRead } = await this.#file.read(
          this.#bytes,
          this.#length,
          WINDOW - this.#length,
          offset + this.#length,
        );
        if (bytesRead === 0) break;
        this.#length += bytesRead;
      }
    }
    const from = offset - this.#start;
    return this.#bytes.subarray(from, Math.min(from + length, this.#length));
  }
}

function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return Buffer.from(bytes.subarray(0, end < 0 ? bytes.length : end)).toString();
}

/** Octal text, or GNU's big-endian base 256 when the top bit is set; NaN when it is neither. */
function numberOf(field: Uint8Array): number {
  if (field[0] & 0x80) {
    return field.reduce((value, byte, i) => value * 256 + (i === 0 ? byte & 0x7f : byte), 0);
  }
  const text = textOf(field).trim();
  return /^[0-7]*$/.test(text) ? parseInt(text || "0", 8) : NaN;
}

/** Whether the header's own checksum holds (the field itself counts as spaces). */
function isHeader(header: Uint8Array): boolean {
  let sum = 0;
  for (let i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? 32 : header[i];
  return sum === numberOf(header.subarray(148, 156));
}

/** The records of a pax header, "length key=value\n" each. */
function paxRecords(bytes: Buffer): Map<string, string> {
  const records = new Map<string, string>();
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(32, at);
    const length = space < 0 ? NaN : Number(bytes.subarray(at, space).toString());
    if (!Number.isInteger(length) || length <= space - at || at + length > bytes.length) break;
    const [key, ...value] = bytes.subarray(space + 1, at + length - 1).toString().split("=");
    records.set(key, value.join("="));
    at += length;
  }
  return records;
}

function ustarPath(header: Buffer): string {
  const name = textOf(header.subarray(0, 100));
  const prefix = textOf(header.subarray(257, 263)) === "ustar"
    ? textOf(header.subarray(345, 500))
    : "";
  return prefix ? `${prefix}/${name}` : name;
}

function damaged(archive: string, where: number, what: string): SecateurError {
  return new SecateurError(
    "format-corrupt",
    `Expected a whole tar archive in ${archive}, but ${what} at byte ${where}; ` +
      `copy or unpack it again.`,
  );
}

/**
 * Every file and folder of the archive, in its order. `archive` is its name for messages.
 * @throws SecateurError `format-corrupt` when it is no tar or ends inside an entry.
 */
export async function indexTar(file: FileHandle, archive: string): Promise<TarEntry[]> {
  const { size: total } = await file.stat();
  const window = new HeaderWindow(file);
  const entries: TarEntry[] = [];
  let longName: string | undefined;
  let longSize: number | undefined;
  for (let at = 0;;) {
    const header = await window.at(at, BLOCK);
    // Two blocks of zeros end an archive, but some writers leave them out.
    if (header.length === 0 || (header.length === BLOCK && header[0] === 0)) break;
    if (header.length < BLOCK) throw damaged(archive, at, "it ends inside a header");
    if (!isHeader(header)) throw damaged(archive, at, "there is no valid header");
    const type = String.fromCharCode(header[156] || 48);
    const isRecord = type === "L" || type === "x";
    const path = longName ?? ustarPath(header);
    const ownSize = numberOf(header.subarray(124, 136));
    const size = isRecord ? ownSize : longSize ?? ownSize;
    if (!Number.isSafeInteger(size) || size < 0) {
      throw damaged(archive, at, "an entry has no valid size");
    }
    if (at + BLOCK + size > total) throw damaged(archive, at, `the archive ends inside "${path}"`);
    if (isRecord) {
      if (size > LARGEST_RECORD) throw damaged(archive, at, "a name is absurdly long");
      const record = await window.at(at + BLOCK, size);
      const pax = type === "x" ? paxRecords(record) : undefined;
      longName = pax ? pax.get("path") ?? longName : textOf(record);
      if (pax?.has("size")) longSize = Number(pax.get("size"));
    } else {
      if (type === "0" || type === "7" || type === "5") {
        entries.push({
          path: path.replace(/^(\.\/)+/, "").replace(/\/+$/, ""),
          kind: type === "5" ? "folder" : "file",
          offset: at + BLOCK,
          size,
        });
      }
      longName = longSize = undefined;
    }
    if (entries.length > MOST_ENTRIES) throw damaged(archive, at, "it has too many entries");
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  if (entries.length === 0) throw damaged(archive, 0, "it has no entries");
  return entries;
}
