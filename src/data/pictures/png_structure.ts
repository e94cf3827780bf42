/**
 * What a PNG file consists of (W3C, "Portable Network Graphics (PNG) Specification", third edition):
 * its size and kind of pixels, and the chunks that the pixels are in.
 */
import { Buffer } from "node:buffer";
import { crc32 } from "node:zlib";
import type { Extent } from "./geometry.ts";

export interface PngStructure extends Extent {
  /** Bits of a sample. */
  readonly depth: number;
  /** 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha. */
  readonly colour: number;
  /** The file with nothing in it but what decides its colours: no text, profiles or transparency. */
  readonly essence: Buffer;
}

const SIGNATURE = 8;
/** Length, type and checksum around a chunk's data. */
const AROUND = 12;
/** Of pixels: writers put some thousand bytes into each. */
const MOST_CHUNKS = 200_000;
const ESSENTIAL = ["IHDR", "PLTE", "IDAT", "IEND"];

/**
 * Reads the chunks of a PNG file and their checksums.
 * @throws Error saying how the file is damaged.
 */
export function readPngStructure(bytes: Uint8Array): PngStructure {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const kept = [file.subarray(0, SIGNATURE)];
  for (let at = SIGNATURE; at < file.length;) {
    if (at + AROUND > file.length) break;
    const length = file.readUInt32BE(at);
    const end = at + AROUND + length;
    if (end > file.length) break;
    if (crc32(file.subarray(at + 4, end - 4)) !== file.readUInt32BE(end - 4)) {
      throw new Error(`it is damaged: the checksum of the chunk at byte ${at} does not hold`);
    }
    const type = file.toString("latin1", at + 4, at + 8);
    if (ESSENTIAL.includes(type)) kept.push(file.subarray(at, end));
    if (kept.length > MOST_CHUNKS) throw new Error("it has more chunks than any picture needs");
    if (type === "IEND") return { ...headerOf(kept[1]), essence: Buffer.concat(kept) };
    at = end;
  }
  throw new Error("it is cut off: a PNG ends with an IEND chunk");
}

function headerOf(chunk: Buffer): Omit<PngStructure, "essence"> {
  if (chunk.toString("latin1", 4, 8) !== "IHDR" || chunk.length !== AROUND + 13) {
    throw new Error("it is damaged: a PNG begins with an IHDR chunk");
  }
  return {
    width: chunk.readUInt32BE(8),
    height: chunk.readUInt32BE(12),
    depth: chunk[16],
    colour: chunk[17],
  };
}
