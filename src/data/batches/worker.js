// @ts-check
/**
 * The thread that renders batches ahead of the training step (see batches.ts and, for why this is
 * JavaScript, render.js). It holds no state but the data set it was started with: the main thread
 * says which pictures, how augmented, and into which buffer.
 */
import { parentPort, workerData } from "node:worker_threads";
import { renderBatch } from "./render.js";

/**
 * @typedef {object} Start
 * @property {ArrayBufferLike} memory shared; the pixels `[count, height, width, 3]` are
 * @property {number} offset where in it they begin
 * @property {number} height
 * @property {number} width
 * @property {Float32Array} table of normalisationTable
 * @property {"rgb" | "bgr" | "grey"} order of the inputs' colours
 */
/**
 * @typedef {object} Request
 * @property {number} ticket
 * @property {Int32Array} indices
 * @property {Int8Array | undefined} augmentation
 * @property {ArrayBuffer} buffer at least n * height * width * channels floats; handed back in the
 *   reply
 */

const { memory, offset, height, width, table, order } = /** @type {Start} */ (workerData);
const pixels = new Uint8Array(memory, offset);
const size = height * width * (order === "grey" ? 1 : 3);

parentPort?.on("message", (/** @type {Request} */ request) => {
  const { ticket, indices, augmentation, buffer } = request;
  try {
    const images = new Float32Array(buffer, 0, indices.length * size);
    renderBatch(pixels, height, width, indices, table, order, augmentation, images);
    parentPort?.postMessage({ ticket, buffer }, [buffer]);
  } catch (error) {
    parentPort?.postMessage({ ticket, failure: String(error) });
  }
});
