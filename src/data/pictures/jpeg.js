// @ts-check
/**
 * Decoding small JPEG files quickly: libjpeg compiled to WebAssembly (mozjpeg, which decodes as
 * libjpeg-turbo does), run in place. For 32x32 pictures it is several times faster than sharp,
 * whose cost lies in setting up a pipeline per picture, and gives the same bytes.
 *
 * Anything unusual is declined, and decode.ts asks sharp instead. JavaScript because decode_worker.js
 * must start on Node 20 too, which cannot run TypeScript in a worker.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import loadDecoder from "@jsquash/jpeg/codec/dec/mozjpeg_dec.js";

/**
 * The part of the package's Emscripten module that is used.
 *
 * @typedef {object} Decoder
 * @property {(data: Uint8Array, keepOrientation: boolean) =>
 *   { readonly width: number; readonly height: number; readonly data: Uint8Array } | null} decode
 */
/**
 * @typedef {(options: {
 *   instantiateWasm(
 *     imports: WebAssembly.Imports,
 *     done: (instance: WebAssembly.Instance) => void,
 *   ): WebAssembly.Exports;
 *   print(text: string): void;
 *   printErr(text: string): void;
 * }) => Promise<Decoder>} LoadDecoder
 */

/** Larger pictures gain nothing here, and sharp decodes them on several threads. */
const LARGEST_SIDE = 256;
/** Every scan of a progressive JPEG costs a pass over the picture; encoders write about ten. */
const MOST_SCANS = 64;

/** @type {WebAssembly.Module | undefined} */
let compiled;

/**
 * The decoder's code. Threads that are given it share what the runtime has compiled and optimised so
 * far, which takes it a fifth of a second, and so do those that come later.
 *
 * @returns {WebAssembly.Module}
 */
export function decoderModule() {
  return compiled ??= new WebAssembly.Module(
    readFileSync(
      createRequire(import.meta.url).resolve("@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm"),
    ),
  );
}

/**
 * @param {WebAssembly.Module} module
 * @returns {Promise<Decoder>}
 */
async function startDecoder(module) {
  const load = /** @type {LoadDecoder} */ (/** @type {unknown} */ (loadDecoder));
  return await load({
    instantiateWasm(imports, done) {
      const instance = new WebAssembly.Instance(module, imports);
      done(instance);
      return instance.exports;
    },
    print: () => {},
    printErr: () => {},
  });
}

/** Luma at each of these, times colour at 1 x 1: others (4:4:0) mozjpeg smooths differently. */
const PLAIN_SAMPLINGS = [0x11, 0x21, 0x22];

/**
 * Width and height if the bytes are a plain JPEG: 8 bits, three components of which colour may be
 * halved, baseline or progressive, ending with its end marker; undefined otherwise.
 *
 * @param {Uint8Array} bytes
 * @returns {{ width: number; height: number } | undefined}
 */
function plainSize(bytes) {
  const end = bytes.length;
  if (end < 4 || bytes[0] !== 0xff || bytes[1] !== 0xd8) return undefined;
  if (bytes[end - 2] !== 0xff || bytes[end - 1] !== 0xd9) return undefined;
  for (let at = 2; at + 17 < end && bytes[at] === 0xff;) {
    const marker = bytes[at + 1];
    const length = bytes[at + 2] * 256 + bytes[at + 3];
    // Start of frame, in the kinds that are decoded everywhere.
    if (marker >= 0xc0 && marker <= 0xc2) {
      const plain = bytes[at + 4] === 8 && bytes[at + 9] === 3 &&
        PLAIN_SAMPLINGS.includes(bytes[at + 11]) && bytes[at + 14] === 0x11 &&
        bytes[at + 17] === 0x11;
      const height = bytes[at + 5] * 256 + bytes[at + 6];
      const width = bytes[at + 7] * 256 + bytes[at + 8];
      return plain && width > 0 && height > 0 ? { width, height } : undefined;
    }
    // An Adobe segment may say that the three components are not YCbCr.
    if (marker === 0xee || marker === 0xda || length < 2) return undefined;
    at += 2 + length;
  }
  return undefined;
}

/**
 * Width and height of a plain JPEG that is small enough to be decoded here.
 *
 * @param {Uint8Array} bytes
 * @returns {{ width: number; height: number } | undefined}
 */
export function smallPlainSize(bytes) {
  const size = plainSize(bytes);
  return size && Math.max(size.width, size.height) <= LARGEST_SIDE ? size : undefined;
}

/**
 * Whether a JPEG has more scans than any encoder writes, which makes a small file slow.
 *
 * @param {Uint8Array} bytes
 * @returns {boolean}
 */
function hasManyScans(bytes) {
  let scans = 0;
  for (let at = 0; scans <= MOST_SCANS; at += 2, scans++) {
    do {
      at = bytes.indexOf(0xff, at) + 1;
      if (at === 0) return false;
    } while (bytes[at] !== 0xda);
  }
  return true;
}

/** Decodes small, plain JPEG files; one at a time. */
export class SmallJpegDecoder {
  /**
   * Started when first needed, and again after a file it could not digest.
   *
   * @type {Promise<Decoder> | undefined}
   */
  #decoder;
  /** @type {WebAssembly.Module | undefined} */
  #module;

  /** @param {WebAssembly.Module} [module] of decoderModule in another thread */
  constructor(module) {
    this.#module = module;
  }

  /**
   * RGB bytes `[height, width, 3]`, or undefined when this file is better left to sharp.
   *
   * @param {Uint8Array} bytes
   * @returns {Promise<{ width: number; height: number; pixels: Uint8Array } | undefined>}
   */
  async decode(bytes) {
    const size = smallPlainSize(bytes);
    if (size === undefined || hasManyScans(bytes)) return undefined;
    const picture = await this.decodeAny(bytes);
    return picture?.width === size.width && picture.height === size.height ? picture : undefined;
  }

  /**
   * As decode, of a JPEG of any size and kind that libjpeg makes RGB of.
   *
   * @param {Uint8Array} bytes
   * @returns {Promise<{ width: number; height: number; pixels: Uint8Array } | undefined>}
   */
  async decodeAny(bytes) {
    this.#decoder ??= startDecoder(this.#module ?? decoderModule());
    const decoder = await this.#decoder;
    try {
      const picture = decoder.decode(bytes, false);
      if (picture === null) return undefined;
      const { width, height, data } = picture;
      const pixels = new Uint8Array(width * height * 3);
      for (let i = 0, o = 0; o < pixels.length; i += 4, o += 3) {
        pixels[o] = data[i];
        pixels[o + 1] = data[i + 1];
        pixels[o + 2] = data[i + 2];
      }
      return { width, height, pixels };
    } catch {
      // libjpeg gave up and left its memory in disarray: the next file gets a new one.
      this.#decoder = undefined;
      return undefined;
    }
  }
}
