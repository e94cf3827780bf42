/** Picture files to RGB bytes. */
import sharp from "sharp";
import { reasonOf } from "../errors.ts";
import { SmallJpegDecoder } from "./jpeg.ts";

/** A decoded picture: `[height, width, 3]`, RGB. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint8Array;
}

/** Pictures of more pixels than this are refused before they are decoded. */
const MOST_PIXELS = 2 ** 26;

// One picture per thread of the pool is faster than several threads per picture, and nothing here
// is decoded twice.
sharp.concurrency(1);
sharp.cache(false);

/**
 * Decodes JPEG and PNG files as PIL's `convert("RGB")` does: embedded colour profiles and
 * orientation tags are ignored, transparency is dropped, grey becomes RGB.
 */
export class PictureDecoder {
  readonly #smallJpeg = new SmallJpegDecoder();

  /**
   * @param size if given, a picture of another size is scaled to cover `size` x `size` and its
   * middle is kept.
   * @throws Error saying why the file cannot be decoded.
   */
  async decode(bytes: Uint8Array, size?: number): Promise<Picture> {
    const small = await this.#smallJpeg.decode(bytes);
    if (small && (size === undefined || (small.width === size && small.height === size))) {
      return small;
    }
    if (bytes.length === 0) throw new Error("the file is empty");
    let image = sharp(bytes, {
      ignoreIcc: true,
      limitInputPixels: MOST_PIXELS,
      failOn: "truncated",
    });
    if (size !== undefined) image = image.resize(size, size, { fit: "cover" });
    try {
      const { data, info } = await image.toColourspace("srgb").removeAlpha().raw().toBuffer({
        resolveWithObject: true,
      });
      if (info.channels !== 3) throw new Error(`${info.channels} channels after conversion`);
      return { width: info.width, height: info.height, pixels: data };
    } catch (error) {
      throw new Error(reasonOf(error).split("\n")[0].trim(), { cause: error });
    }
  }
}
