/** Picture files to RGB bytes. */
import { Buffer } from "node:buffer";
import type { Sharp } from "sharp";
import { reasonOf } from "../../errors.ts";
import type { Extent } from "./geometry.ts";
import { SmallJpegDecoder, smallPlainSize } from "./jpeg.js";

/** A decoded picture: `[height, width, 3]`, RGB. */
export interface Picture extends Extent {
  readonly pixels: Uint8Array;
}

/** Pictures of more pixels than this are refused before they are decoded. */
const MOST_PIXELS = 2 ** 26;

/** sharp, loaded when first needed: small JPEG files do without it. */
async function startSharp(): Promise<(bytes: Uint8Array) => Sharp> {
  const { default: sharp } = await import("sharp");
  // One picture per thread of the pool is faster than several threads per picture, and nothing here
  // is decoded twice.
  sharp.concurrency(1);
  sharp.cache(false);
  const options = { ignoreIcc: true, limitInputPixels: MOST_PIXELS, failOn: "truncated" } as const;
  return (bytes) => sharp(bytes, options);
}

let started: ReturnType<typeof startSharp> | undefined;

/** @throws Error for an empty file. */
async function opened(bytes: Uint8Array): Promise<Sharp> {
  if (bytes.length === 0) throw new Error("the file is empty");
  const open = await (started ??= startSharp());
  return open(bytes);
}

/**
 * Decodes JPEG and PNG files as PIL's `convert("RGB")` does: embedded colour profiles and
 * orientation tags are ignored, transparency is dropped, grey becomes RGB.
 */
export class PictureDecoder {
  readonly #smallJpeg = new SmallJpegDecoder();

  /** @throws Error saying why the file cannot be decoded. */
  async decode(bytes: Uint8Array): Promise<Picture> {
    const small = await this.#smallJpeg.decode(bytes);
    if (small) return small;
    try {
      const { data, info } = await (await opened(bytes)).toColourspace("srgb").removeAlpha().raw()
        .toBuffer({ resolveWithObject: true });
      if (info.channels !== 3) throw new Error(`${info.channels} channels after conversion`);
      return { width: info.width, height: info.height, pixels: data };
    } catch (error) {
      throw unreadable(error);
    }
  }

  /**
   * A picture's size as its header has it, which for a small JPEG is seen without sharp: to know what
   * kind of pictures a folder holds.
   * @throws Error saying why the file cannot be decoded.
   */
  async glance(bytes: Uint8Array): Promise<Extent> {
    return smallPlainSize(bytes) ?? await this.measure(bytes);
  }

  /**
   * A picture's size from its header, and that its file is whole; without decoding it where its
   * end can be seen.
   * @throws Error saying why the file cannot be decoded.
   */
  async measure(bytes: Uint8Array): Promise<Extent> {
    let size: Extent;
    try {
      size = await (await opened(bytes)).metadata();
    } catch (error) {
      throw unreadable(error);
    }
    const { width, height } = size;
    if (width * height > MOST_PIXELS) {
      throw new Error(`it has ${width}x${height} pixels, more than the ${MOST_PIXELS} accepted`);
    }
    if (!endsWhole(bytes)) await this.decode(bytes);
    return { width, height };
  }
}

/** The first line of what went wrong. */
const unreadable = (error: unknown): Error =>
  new Error(reasonOf(error).split("\n")[0].trim(), { cause: error });

/** Whether the last bytes hold a JPEG's end marker or a PNG's end chunk. */
function endsWhole(bytes: Uint8Array): boolean {
  const tail = Buffer.from(bytes.subarray(-1024));
  const isJpeg = bytes[0] === 0xff && bytes[1] === 0xd8;
  return isJpeg ? tail.includes(Buffer.of(0xff, 0xd9)) : tail.includes("IEND");
}
