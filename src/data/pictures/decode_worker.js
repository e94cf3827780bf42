// @ts-check
/**
 * A thread that reads and decodes small JPEG files into shared memory (see decode_pool.ts and, for
 * why this is JavaScript, jpeg.js). What it leaves out, for whatever reason, is read by the main
 * thread, which also says what is wrong with it.
 */
import { Buffer } from "node:buffer";
import { closeSync, openSync, readSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { SmallJpegDecoder } from "./jpeg.js";

/**
 * @typedef {object} Start
 * @property {SharedArrayBuffer} memory the pixels `[count, height, width, 3]`
 * @property {number} height
 * @property {number} width
 * @property {WebAssembly.Module} module of decoderModule
 */
/**
 * Where a picture's bytes are: a whole file, or part of an archive.
 *
 * @typedef {object} Place
 * @property {string} path
 * @property {number} offset
 * @property {number | undefined} size undefined up to the file's end
 */
/**
 * @typedef {object} Request
 * @property {number} first index of the first picture
 * @property {Place[]} places of this picture and those that follow it
 */

/** Files of this size and more hold no small picture. */
const LARGEST_FILE = 2 ** 20;

const { memory, height, width, module } = /** @type {Start} */ (workerData);
const pixels = new Uint8Array(memory);
const bytes = Buffer.alloc(LARGEST_FILE);
const decoder = new SmallJpegDecoder(module);

/** The file opened last: of an archive, all pictures. */
let openPath = "";
let openFile = -1;

/** @param {string} path */
function fileOf(path) {
  if (path === openPath) return openFile;
  if (openFile >= 0) closeSync(openFile);
  openPath = "";
  openFile = -1;
  openFile = openSync(path, "r");
  openPath = path;
  return openFile;
}

/**
 * Whether the picture was read and decoded.
 *
 * @param {Place} place
 * @param {number} index
 */
async function decodeInto({ path, offset, size }, index) {
  const wanted = size ?? LARGEST_FILE;
  if (wanted > LARGEST_FILE) return false;
  const read = readSync(fileOf(path), bytes, 0, wanted, offset);
  if (size === undefined ? read === LARGEST_FILE : read < size) return false;
  const picture = await decoder.decode(bytes.subarray(0, read));
  if (picture?.width !== width || picture.height !== height) return false;
  pixels.set(picture.pixels, index * width * height * 3);
  return true;
}

/** @param {Request} request */
async function answer({ first, places }) {
  const decoded = new Uint8Array(places.length);
  for (let i = 0; i < places.length; i++) {
    decoded[i] = Number(await decodeInto(places[i], first + i).catch(() => false));
  }
  parentPort?.postMessage({ first, decoded });
}

/** Requests one after another: they share buffer and decoder. */
let turn = Promise.resolve();
parentPort?.on("message", (/** @type {Request} */ request) => {
  turn = turn.then(() => answer(request));
});
