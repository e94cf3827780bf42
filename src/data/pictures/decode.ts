/** Picture files to RGB bytes. */
import type { Sharp } from "sharp";
import { rgbOfCmyk } from "./cmyk.ts";
import type { Extent } from "./geometry.ts";
import { SmallJpegDecoder, smallPlainSize } from "./jpeg.js";
import { readJpegStructure } from "./jpeg_structure.ts";
import { foreignReason, kindOf } from "./kind.ts";
import { PixelBudget } from "./pixel_budget.ts";
import { readPngStructure } from "./png_structure.ts";

/** A decoded picture: `[height, width, 3]`, RGB. */
export interface Picture extends Extent {
  readonly pixels: Uint8Array;
}

/** Pictures of more pixels than this are refused before they are decoded. */
const MOST_PIXELS = 2 ** 26;
/** Every scan of a progressive JPEG is a pass over all its pixels: some seconds of work. */
const MOST_SCANNED_PIXELS = 2 ** 30;
/** Above this a JPEG is decoded to see that it can be. */
const MOST_TRUSTED_PIXELS = 2 ** 24;

/** What is known of a file before it is decoded. */
interface Opened extends Extent {
  /** What decides the colours, alone. */
  readonly essence: Uint8Array;
  /** A JPEG's components, 3 of other pictures. */
  readonly components: number;
  /** Whether it can be decoded, as far as that is seen without doing it. */
  readonly trusted: boolean;
}

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

const sharpOn = async (bytes: Uint8Array): Promise<Sharp> =>
  (await (started ??= startSharp()))(bytes);

/**
 * Decodes JPEG, PNG and WebP files as PIL's `convert("RGB")` does: embedded colour profiles and
 * orientation tags are ignored, transparency is dropped, grey becomes RGB, and so do the inks of
 * CMYK. Of several pictures in a file the first is taken.
 */
export class PictureDecoder {
  readonly #jpeg = new SmallJpegDecoder();
  readonly #budget = new PixelBudget(MOST_PIXELS);

  /** @throws Error saying why the file cannot be decoded. */
  async decode(bytes: Uint8Array): Promise<Picture> {
    const small = await this.#jpeg.decode(bytes);
    if (small) return small;
    const opened = await this.#open(bytes);
    return await this.#budget.spend(opened, () => this.#decodeLarge(opened));
  }

  async #decodeLarge(opened: Opened): Promise<Picture> {
    try {
      return await decodeBySharp(opened);
    } catch (cause) {
      // libvips gives up a JPEG after many warnings, where libjpeg and Pillow go on.
      const rescued = opened.trusted && await this.#jpeg.decodeAny(opened.essence);
      if (rescued) return rescued;
      // sharp's own message may belong to another picture that is decoded at the same time.
      throw new Error(`it is damaged: its pixels cannot be decoded`, { cause });
    }
  }

  /**
   * A picture's size as its header has it, which for a small JPEG is seen without sharp: to know what
   * kind of pictures a folder holds.
   * @throws Error saying why the file cannot be decoded.
   */
  async glance(bytes: Uint8Array): Promise<Extent> {
    return smallPlainSize(bytes) ?? await this.#open(bytes);
  }

  /**
   * A picture's size, and that it can be decoded: seen from the tables of a JPEG, tried with others.
   * @throws Error saying why the file cannot be decoded.
   */
  async measure(bytes: Uint8Array): Promise<Extent> {
    const { width, height, trusted } = await this.#open(bytes);
    if (!trusted) await this.decode(bytes);
    return { width, height };
  }

  async #open(bytes: Uint8Array): Promise<Opened> {
    const kind = kindOf(bytes);
    if (kind === undefined) throw new Error(foreignReason(bytes));
    const opened = kind === "JPEG"
      ? openJpeg(bytes)
      : kind === "PNG"
      ? openPng(bytes)
      : await openWebp(bytes);
    requirePixels(opened);
    return opened;
  }
}

function requirePixels({ width, height }: Extent): void {
  if (width === 0 || height === 0) throw new Error("it is damaged: it has no pixels");
  if (width * height > MOST_PIXELS) {
    throw new Error(`it has ${width}x${height} pixels, more than the ${MOST_PIXELS} accepted`);
  }
}

function openJpeg(bytes: Uint8Array): Opened {
  const { precision, components, scans, sound, ...rest } = readJpegStructure(bytes);
  const pixels = rest.width * rest.height;
  if (precision !== 8 || ![1, 3, 4].includes(components)) {
    throw new Error(
      `it is a JPEG of ${precision} bits and ${components} components, where 8 bits and 1, 3 or 4 ` +
        `components are read`,
    );
  }
  if (scans * pixels > MOST_SCANNED_PIXELS) {
    throw new Error(`it takes ${scans} passes over ${rest.width}x${rest.height} pixels, too many`);
  }
  const trusted = sound && components !== 4 && pixels <= MOST_TRUSTED_PIXELS;
  return { ...rest, components, trusted };
}

function openPng(bytes: Uint8Array): Opened {
  const { depth, colour, ...rest } = readPngStructure(bytes);
  if (depth === 16 && colour === 0) {
    throw new Error(
      'it is grey with 16 bits, which Pillow\'s convert("RGB") makes white; save it with 8 bits',
    );
  }
  return { ...rest, components: 3, trusted: false };
}

async function openWebp(bytes: Uint8Array): Promise<Opened> {
  const stated = bytes[4] + bytes[5] * 2 ** 8 + bytes[6] * 2 ** 16 + bytes[7] * 2 ** 24 + 8;
  if (stated > bytes.length) throw new Error("it is cut off: a WebP is as long as it says");
  try {
    const { width, height, pageHeight } = await (await sharpOn(bytes)).metadata();
    return {
      width,
      height: pageHeight ?? height,
      essence: bytes,
      components: 3,
      trusted: false,
    };
  } catch (cause) {
    throw new Error("it is damaged: a WebP that cannot be read", { cause });
  }
}

async function decodeBySharp({ essence, components, ...extent }: Opened): Promise<Picture> {
  const image = await sharpOn(essence);
  const converted = components === 4
    ? image.pipelineColourspace("cmyk").toColourspace("cmyk")
    : image.toColourspace("srgb").removeAlpha();
  const { data, info } = await converted.raw().toBuffer({ resolveWithObject: true });
  const { width, height, channels } = info;
  if (width !== extent.width || height !== extent.height || channels !== Math.max(3, components)) {
    throw new Error(`${width}x${height} and ${channels} channels after conversion`);
  }
  return { width, height, pixels: components === 4 ? rgbOfCmyk(data) : data };
}
