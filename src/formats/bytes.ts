/** A bounds-checked cursor over bytes that nobody vouches for. */

import { SecateurError } from "../errors.ts";

/** Little-endian reads that end in a coded error, never past the end. */
export class ByteReader {
  readonly bytes: Uint8Array;
  /** What the sentences of errors call these bytes: a path, or an entry of an archive. */
  readonly source: string;
  position: number;
  readonly #view: DataView;

  constructor(bytes: Uint8Array, source: string, position = 0) {
    this.bytes = bytes;
    this.source = source;
    this.position = position;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get remaining(): number {
    return this.bytes.length - this.position;
  }

  /**
   * The next `count` bytes, as a view and not a copy, so a length taken from the file is checked
   * against the file before anything is allocated for it.
   * @throws SecateurError `format-corrupt` when fewer are left.
   */
  take(count: number, what: string): Uint8Array {
    const start = this.#advance(count, what);
    return this.bytes.subarray(start, start + count);
  }

  uint8(what: string): number {
    return this.#view.getUint8(this.#advance(1, what));
  }

  uint16(what: string): number {
    return this.#view.getUint16(this.#advance(2, what), true);
  }

  uint32(what: string): number {
    return this.#view.getUint32(this.#advance(4, what), true);
  }

  int32(what: string): number {
    return this.#view.getInt32(this.#advance(4, what), true);
  }

  /** An unsigned 64-bit length or offset; beyond 2^53 it cannot be meant. */
  uint64(what: string): number {
    const value = this.#view.getBigUint64(this.#advance(8, what), true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw corrupt(this.source, `${what} is ${value}, more than any file can hold`);
    }
    return Number(value);
  }

  /** A big-endian double, as pickles store them. */
  float64BigEndian(what: string): number {
    return this.#view.getFloat64(this.#advance(8, what), false);
  }

  /** The text up to the next newline, without it. */
  line(what: string): string {
    const end = this.bytes.indexOf(10, this.position);
    if (end < 0) throw this.#truncated(`a line (${what})`);
    const line = this.take(end - this.position, what);
    this.position = end + 1;
    return new TextDecoder().decode(line);
  }

  /** Moves past `count` bytes and returns where they started. */
  #advance(count: number, what: string): number {
    if (!(count >= 0 && count <= this.remaining)) {
      throw this.#truncated(`${count} bytes of ${what}`);
    }
    const start = this.position;
    this.position += count;
    return start;
  }

  #truncated(expected: string): SecateurError {
    return corrupt(
      this.source,
      `expected ${expected} at byte ${this.position}, but only ${this.remaining} bytes follow`,
    );
  }
}

/** The error for a file of a known format whose content contradicts itself or ends early. */
export function corrupt(source: string, finding: string): SecateurError {
  return new SecateurError(
    "format-corrupt",
    `${source}: ${finding}; the file is truncated or damaged, so fetch or write it again.`,
  );
}

/** As `quoted`, without the quotation marks: for text that stands for itself. */
export function escaped(text: string): string {
  return quoted(text).slice(1, -1);
}

/** Text from a file made fit for a sentence: quoted, control characters escaped, cut short. */
export function quoted(text: string): string {
  return quotedUpTo(80, text);
}

/** As quoted, of a path, which is cut only where nobody would read it. */
export function quotedPath(path: string): string {
  return quotedUpTo(300, path);
}

function quotedUpTo(most: number, text: string): string {
  const short = text.length > most ? `${text.slice(0, most)}...` : text;
  return JSON.stringify(short).replace(/[\x7f-\x9f\u2028-\u202e\u2066-\u2069]/g, "?");
}
