/**
 * Decoding small JPEG files quickly: libjpeg compiled to WebAssembly (mozjpeg, which decodes as
 * libjpeg-turbo does), run in place. For 32x32 pictures it is several times faster than sharp,
 * whose cost lies in setting up a pipeline per picture, and gives the same bytes.
 *
 * Anything unusual is declined, and decode.ts asks sharp instead.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import loadDecoder from "@jsquash/jpeg/codec/dec/mozjpeg_dec.js";

/** The part of the package's Emscripten module that is used. */
interface Decoder {
  decode(
    data: Uint8Array,
    keepOrientation: boolean,
  ): { readonly width: number; readonly height: number; readonly data: Uint8Array } | null;
}
type LoadDecoder = (options: {
  instantiateWasm(
    imports: WebAssembly.Imports,
    done: (instance: WebAssembly.Instance) => void,
  ): WebAssembly.Exports;
  print(text: string): void;
  printErr(text: string): void;
}) => Promise<Decoder>;

/** Larger pictures gain nothing here, and sharp decodes them on several threads. */
const LARGEST_SIDE = 256;

let compiled: WebAssembly.Module | undefined;

async function startDecoder(): Promise<Decoder> {
  compiled ??= new WebAssembly.Module(
    readFileSync(
      createRequire(import.meta.url).resolve("@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm"),
    ),
  );
  const module = compiled;
  return await (loadDecoder as unknown as LoadDecoder)({
    instantiateWasm(imports, done) {
      const instance = new WebAssembly.Instance(module, imports);
      done(instance);
      return instance.exports;
    },
    print: () => {},
    printErr: () => {},
  });
}

/**
 * Width and height if the bytes are a plain JPEG: 8 bits, three components, baseline or
 * progressive, ending with its end marker; undefined otherwise.
 */
function plainSize(bytes: Uint8Array): { width: number; height: number } | undefined {
  const end = bytes.length;
  if (end < 4 || bytes[0] !== 0xff || bytes[1] !== 0xd8) return undefined;
  if (bytes[end - 2] !== 0xff || bytes[end - 1] !== 0xd9) return undefined;
  for (let at = 2; at + 10 < end && bytes[at] === 0xff;) {
    const marker = bytes[at + 1];
    const length = bytes[at + 2] * 256 + bytes[at + 3];
    // Start of frame, in the two kinds that are decoded everywhere.
    if (marker >= 0xc0 && marker <= 0xc2) {
      const plain = bytes[at + 4] === 8 && bytes[at + 9] === 3;
      const height = bytes[at + 5] * 256 + bytes[at + 6];
      const width = bytes[at + 7] * 256 + bytes[at + 8];
      return plain ? { width, height } : undefined;
    }
    // An Adobe segment may say that the three components are not YCbCr.
    if (marker === 0xee || marker === 0xda || length < 2) return undefined;
    at += 2 + length;
  }
  return undefined;
}

/** Decodes small, plain JPEG files; one at a time. */
export class SmallJpegDecoder {
  /** Started when first needed, and again after a file it could not digest. */
  #decoder: Promise<Decoder> | undefined;

  /** RGB bytes `[height, width, 3]`, or undefined when this file is better left to sharp. */
  async decode(
    bytes: Uint8Array,
  ): Promise<{ width: number; height: number; pixels: Uint8Array } | undefined> {
    const size = plainSize(bytes);
    if (size === undefined || Math.max(size.width, size.height) > LARGEST_SIDE) return undefined;
    this.#decoder ??= startDecoder();
    const decoder = await this.#decoder;
    try {
      const picture = decoder.decode(bytes, false);
      if (picture?.width !== size.width || picture.height !== size.height) return undefined;
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
