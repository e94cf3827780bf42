/** The frame, tables and scans of a JPEG file, held against what libjpeg accepts of them. */
import type { Buffer } from "node:buffer";
import type { Extent } from "./geometry.ts";

interface Component {
  readonly id: number;
  /** Blocks of it in a unit of an interleaved scan. */
  readonly blocks: number;
  readonly quantisation: number;
}

/** What a start-of-frame segment says. */
export interface JpegFrame extends Extent {
  readonly progressive: boolean;
  readonly precision: number;
  readonly components: readonly Component[];
}

/** More blocks in an interleaved unit are refused (T.81, B.2.3). */
const MOST_BLOCKS = 10;
const LAST_COEFFICIENT = 63;
const MOST_SHIFT = 13;

export class JpegTables {
  /** The last frame header that could be read. */
  frame: JpegFrame | undefined;
  #frames = 0;
  #isComplete = true;
  readonly #quantisation = new Set<number>();
  /** Class (0 DC, 1 AC) times 16 plus number. */
  readonly #huffman = new Set<number>();

  /** Whether there was one frame, before every scan. */
  get isComplete(): boolean {
    return this.#isComplete && this.#frames === 1;
  }

  /** False unless it is an 8-bit baseline, extended or progressive Huffman frame. */
  readFrame(marker: number, body: Buffer): boolean {
    this.#frames++;
    if (body.length < 6 || body.length < 6 + 3 * body[5]) return false;
    const [precision, count] = [body[0], body[5]];
    const components = Array.from({ length: count }, (_, i): Component => {
      const [id, sampling, quantisation] = body.subarray(6 + 3 * i);
      return { id, blocks: (sampling >> 4) * (sampling & 15), quantisation };
    });
    const samplings = components.map((_, i) => body[7 + 3 * i]);
    const [height, width] = [body.readUInt16BE(1), body.readUInt16BE(3)];
    this.frame = { width, height, precision, components, progressive: marker === 0xc2 };
    const sampled = samplings.every((both) =>
      [both >> 4, both & 15].every((factor) => factor >= 1 && factor <= 4)
    );
    return marker <= 0xc2 && precision === 8 && width > 0 && height > 0 && sampled &&
      [1, 3, 4].includes(count) && body.length === 6 + 3 * count &&
      new Set(components.map(({ id }) => id)).size === count;
  }

  readQuantisation(body: Buffer): boolean {
    let at = 0;
    while (at < body.length) {
      const [wide, number] = [body[at] >> 4, body[at] & 15];
      if (wide > 1 || number > 3) return false;
      this.#quantisation.add(number);
      at += 1 + 64 * (1 + wide);
    }
    return at === body.length;
  }

  readHuffman(body: Buffer): boolean {
    let at = 0;
    while (at + 17 <= body.length) {
      const [kind, number] = [body[at] >> 4, body[at] & 15];
      const counts = body.subarray(at + 1, at + 17);
      const total = counts.reduce((sum, count) => sum + count, 0);
      const symbols = body.subarray(at + 17, at + 17 + total);
      if (kind > 1 || number > 3 || total > 256 || symbols.length < total) return false;
      if (!isCode(counts) || (kind === 0 && symbols.some((symbol) => symbol > 15))) return false;
      this.#huffman.add(kind * 16 + number);
      at += 17 + total;
    }
    return at === body.length;
  }

  readScan(body: Buffer): boolean {
    const { frame } = this;
    if (frame === undefined) this.#isComplete = false;
    const count = body[0];
    if (frame === undefined || !(count >= 1 && count <= 4) || body.length !== 4 + 2 * count) {
      return false;
    }
    const [first, last, shifts] = body.subarray(1 + 2 * count);
    let blocks = 0;
    const ids = new Set<number>();
    for (let i = 0; i < count; i++) {
      const [id, numbers] = body.subarray(1 + 2 * i);
      const component = frame.components.find((known) => known.id === id);
      if (component === undefined || !this.#quantisation.has(component.quantisation)) return false;
      ids.add(id);
      blocks += component.blocks;
      const [dc, ac] = [numbers >> 4, 16 + (numbers & 15)];
      const needed = frame.progressive
        ? first > 0 ? [ac] : (shifts >> 4) === 0 ? [dc] : []
        : [dc, ac];
      if (!needed.every((table) => this.#huffman.has(table))) return false;
    }
    if (ids.size < count || (count > 1 && blocks > MOST_BLOCKS)) return false;
    return !frame.progressive || isProgression(count, first, last, shifts);
  }
}

/** Whether so many codes of 1 to 16 bits can be told apart; all ones is no code (T.81, C.2). */
function isCode(counts: Uint8Array): boolean {
  let code = 0;
  for (let bits = 1; bits <= 16; bits++) {
    code += counts[bits - 1];
    if (code >= 2 ** bits) return false;
    code *= 2;
  }
  return true;
}

/** Whether a scan's coefficients and bit planes are ones that a progressive scan may have (G.1.1). */
function isProgression(count: number, first: number, last: number, shifts: number): boolean {
  const [high, low] = [shifts >> 4, shifts & 15];
  const range = first === 0 ? last === 0 : count === 1 && first <= last && last <= LAST_COEFFICIENT;
  return range && low <= MOST_SHIFT && (high === 0 || low === high - 1);
}
