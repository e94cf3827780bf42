/**
 * Reading tar archives: what is in them and where, without unpacking. Understands ustar names with
 * a prefix, GNU long names and pax paths and sizes (POSIX.1-2001, "pax interchange format").
 */
import { Buffer } from "node:buffer";
import type { FileHandle } from "node:fs/promises";
import { SecateurError } from "../../errors.ts";
import { quoted } from "../../formats/bytes.ts";
import { type RunOptions, stopIfAsked } from "../../progress.ts";

/** What an archive holds under a path. */
export interface TarEntry {
  /** As stored, without leading, doubled and closing slashes and ".". */
  readonly path: string;
  /** Other: a device, a sparse file, or a hard link to what the archive does not hold. */
  readonly kind: "file" | "folder" | "link" | "other";
  /** Where the file's bytes start. */
  readonly offset: number;
  readonly size: number;
  /** What a symbolic link says, from the folder that it lies in. */
  readonly target?: string;
}

const BLOCK = 512;
const WINDOW = 2 ** 20;
/** Headers farther apart than this are read one by one. */
const FAR = 2 ** 16;
const NARROW = 2 ** 12;
/** Headers between reports: some milliseconds of work. */
const REPORTED = 4096;
/** Longer names and pax records than this are damage or malice. */
const LARGEST_RECORD = 2 ** 20;
/** As Linux has it. */
const LONGEST_PATH = 4096;
const MOST_ENTRIES = 10_000_000;

/** Headers read through a window, which is wide where they lie close together. */
class HeaderWindow {
  readonly #file: FileHandle;
  readonly #bytes = Buffer.alloc(WINDOW);
  #start = 0;
  #length = 0;
  /** Where the last look was. */
  #last = 0;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  /** `length` bytes at `offset`, or fewer at the end of the file; valid until the next call. */
  async at(offset: number, length: number): Promise<Buffer> {
    const inside = offset >= this.#start && offset + length <= this.#start + this.#length;
    if (!inside) await this.#fill(offset, Math.max(length, this.#widthAt(offset)));
    this.#last = offset;
    const from = offset - this.#start;
    return this.#bytes.subarray(from, Math.min(from + length, this.#length));
  }

  /** How much to read at once, by how far the last header lies behind. */
  #widthAt(offset: number): number {
    return offset - this.#last > FAR ? NARROW : WINDOW;
  }

  async #fill(offset: number, width: number): Promise<void> {
    this.#start = offset;
    this.#length = 0;
    while (this.#length < width) {
      const { bytesRead } = await this.#file.read(
        this.#bytes,
        this.#length,
        width - this.#length,
        offset + this.#length,
      );
      if (bytesRead === 0) break;
      this.#length += bytesRead;
    }
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

/** Whether entries of a type have data behind their header, as Python and GNU tar read them. */
const hasData = (type: string): boolean => !"12345".includes(type) && type !== "6";

/** What long names and pax records say of the entry that follows them. */
interface Announced {
  path?: string;
  target?: string;
  size?: number;
}

/** Takes in a record; those of kinds that say nothing of an entry leave it as it was. */
function announce(known: Announced, type: string, record: Buffer): void {
  if (type === "L") known.path = textOf(record);
  if (type === "K") known.target = textOf(record);
  if (type !== "x") return;
  const pax = paxRecords(record);
  known.path = pax.get("path") ?? known.path;
  known.target = pax.get("linkpath") ?? known.target;
  if (pax.has("size")) known.size = Number(pax.get("size"));
}

/** Without "." and doubled or closing slashes. */
function plainPath(path: string): string {
  return path.split("/").filter((name) => name !== "" && name !== ".").join("/");
}

/** Reads an archive's headers one after another. */
class TarIndex {
  readonly #file: FileHandle;
  readonly #archive: string;
  readonly #window: HeaderWindow;
  readonly #entries: TarEntry[] = [];
  readonly #files = new Map<string, TarEntry>();

  constructor(file: FileHandle, archive: string) {
    this.#file = file;
    this.#archive = archive;
    this.#window = new HeaderWindow(file);
  }

  async read({ signal, onProgress }: RunOptions): Promise<TarEntry[]> {
    const { size: total } = await this.#file.stat();
    let known: Announced = {};
    let headers = 0;
    for (let at = 0;;) {
      if (++headers % REPORTED === 0) {
        stopIfAsked(signal);
        onProgress?.({ stage: "listing files", done: at, total, unit: "bytes" });
      }
      // Kept beyond the next look through the window.
      const header = Buffer.from(await this.#window.at(at, BLOCK));
      // Two blocks of zeros end an archive, but some writers leave them out.
      if (header.length === 0 || (header.length === BLOCK && header[0] === 0)) break;
      if (header.length < BLOCK) throw this.#damaged(at, "it ends inside a header");
      if (!isHeader(header)) throw this.#damaged(at, "there is no valid header");
      const type = String.fromCharCode(header[156] || 48);
      const isRecord = "LKxg".includes(type);
      const path = known.path ?? ustarPath(header);
      const size = await this.#sizeOf(header, type, at, isRecord ? undefined : known.size);
      const start = type === "S" ? await this.#endOfSparseHeaders(header, at) : at + BLOCK;
      if (start + size > total) {
        throw this.#damaged(at, `the archive ends inside ${quoted(path)}`);
      }
      if (isRecord) {
        if (size > LARGEST_RECORD) throw this.#damaged(at, "a name is absurdly long");
        announce(known, type, await this.#window.at(start, size));
      } else {
        if (path.length > LONGEST_PATH) throw this.#damaged(at, "a name is absurdly long");
        this.#take(type, path, known.target ?? textOf(header.subarray(157, 257)), start, size);
        known = {};
      }
      if (this.#entries.length > MOST_ENTRIES) throw this.#damaged(at, "it has too many entries");
      at = start + Math.ceil(size / BLOCK) * BLOCK;
    }
    if (this.#entries.length === 0) throw this.#damaged(0, "it has no entries");
    return this.#entries;
  }

  #damaged(where: number, what: string): SecateurError {
    return damaged(this.#archive, where, what);
  }

  /** Bytes behind a header. */
  async #sizeOf(
    header: Buffer,
    type: string,
    at: number,
    announced: number | undefined,
  ): Promise<number> {
    const size = announced ?? numberOf(header.subarray(124, 136));
    if (!Number.isSafeInteger(size) || size < 0) {
      throw this.#damaged(at, "an entry has no valid size");
    }
    if (hasData(type) || size === 0) return size;
    // A hard link's size is that of its file; its bytes are there only in some pax archives.
    const next = await this.#window.at(at + BLOCK, BLOCK);
    const bare = type !== "1" || next.length < BLOCK || next[0] === 0 || isHeader(next);
    return bare ? 0 : size;
  }

  /** GNU's sparse files may need more headers than one. */
  async #endOfSparseHeaders(header: Buffer, at: number): Promise<number> {
    let isExtended = header[482] !== 0;
    let start = at + BLOCK;
    for (; isExtended; start += BLOCK) {
      const next = await this.#window.at(start, BLOCK);
      if (next.length < BLOCK) throw this.#damaged(start, "it ends inside a header");
      isExtended = next[504] !== 0;
    }
    return start;
  }

  #take(type: string, name: string, target: string, offset: number, size: number): void {
    const path = plainPath(name);
    const isFile = type === "0" || type === "7";
    if (type === "5" || (isFile && name.endsWith("/"))) {
      this.#entries.push({ path, kind: "folder", offset, size: 0 });
    } else if (type === "2") {
      this.#entries.push({ path, kind: "link", offset, size: 0, target });
    } else if (isFile || (type === "1" && size > 0)) {
      const entry: TarEntry = { path, kind: "file", offset, size };
      this.#files.set(path, entry);
      this.#entries.push(entry);
    } else if (type === "1") {
      const file = this.#files.get(plainPath(target));
      const entry: TarEntry = file === undefined
        ? { path, kind: "other", offset, size }
        : { ...file, path };
      if (file !== undefined) this.#files.set(path, entry);
      this.#entries.push(entry);
    } else if ("346S".includes(type)) {
      this.#entries.push({ path, kind: "other", offset, size });
    }
  }
}

/**
 * Every file, folder and link of the archive, in its order; hard links are files of their own.
 * `archive` is its name for messages.
 * @throws SecateurError `format-corrupt` when it is no tar or ends inside an entry; `cancelled`.
 */
export async function indexTar(
  file: FileHandle,
  archive: string,
  options: RunOptions = {},
): Promise<TarEntry[]> {
  return await new TarIndex(file, archive).read(options);
}
