/** Who turns pictures into the inputs of a batch: a worker for pictures in memory, sharp for files. */
import { Worker } from "node:worker_threads";
import { drawAugmentation } from "./augment.ts";
import {
  type ChannelOrder,
  type Dataset,
  inputChannels,
  isLoaded,
  type Normalisation,
  type PictureSet,
  requireIndex,
  type StreamedDataset,
} from "../dataset.ts";
import { normalisationTable, renderBatch } from "./render.js";

/** The pictures `indices` as inputs `[n, height, width, channels]`, not augmented. */
export function batchOf(
  dataset: Dataset,
  indices: Int32Array,
  normalisation: Normalisation,
): Float32Array<ArrayBuffer> {
  for (const index of indices) requireIndex(dataset, index);
  return rendered(dataset, dataset.pixels, indices, normalisation);
}

/** As batchOf, of pictures that may have to be read first. Throws what reading them throws. */
export async function readBatch(
  dataset: PictureSet,
  indices: Int32Array,
  normalisation: Normalisation,
  signal?: AbortSignal,
): Promise<Float32Array<ArrayBuffer>> {
  if (isLoaded(dataset)) return batchOf(dataset, indices, normalisation);
  for (const index of indices) requireIndex(dataset, index);
  const positions = indices.map((index) => dataset.positions[index]);
  const pixels = await dataset.source.read(positions, undefined, signal);
  const all = Int32Array.from(indices, (_, i) => i);
  return rendered(dataset, pixels, all, normalisation);
}

function rendered(
  { height, width }: PictureSet,
  pixels: Uint8Array,
  indices: Int32Array,
  normalisation: Normalisation,
): Float32Array<ArrayBuffer> {
  const out = new Float32Array(indices.length * height * width * inputChannels(normalisation));
  const table = tableOf(normalisation);
  renderBatch(pixels, height, width, indices, table, orderOf(normalisation), undefined, out);
  return out;
}

const tableOf = ({ mean, std }: Normalisation) => normalisationTable(mean, std);
const orderOf = ({ channels = "rgb" }: Normalisation): ChannelOrder => channels;

/** Which batch, for training. */
export interface BatchRequest {
  readonly indices: Int32Array;
  readonly seed: number;
  readonly epoch: number;
  readonly augment: boolean;
  /** At least n * height * width * channels floats; handed back filled. */
  readonly buffer: ArrayBuffer;
}

/** Renders batches of one data set; several may be under way. */
export interface BatchRenderer {
  /** Rejects with a plain Error after `close` and when the worker fails. */
  render(request: BatchRequest): Promise<ArrayBuffer>;
  close(): Promise<void>;
}

export function rendererOf(dataset: PictureSet, normalisation: Normalisation): BatchRenderer {
  return isLoaded(dataset)
    ? new WorkerRenderer(dataset, normalisation)
    : new StreamRenderer(dataset, normalisation);
}

/** Reads and decodes pictures; the bytes become inputs here, which is little beside decoding. */
class StreamRenderer implements BatchRenderer {
  readonly #dataset: StreamedDataset;
  readonly #normalisation: Normalisation;
  readonly #table: Float32Array<ArrayBuffer>;
  readonly #closing = new AbortController();

  constructor(dataset: StreamedDataset, normalisation: Normalisation) {
    this.#dataset = dataset;
    this.#normalisation = normalisation;
    this.#table = tableOf(normalisation);
  }

  async render({ indices, seed, epoch, augment, buffer }: BatchRequest): Promise<ArrayBuffer> {
    const { source, positions, height, width } = this.#dataset;
    const places = indices.map((index) => positions[index]);
    const draw = augment ? { seed, epoch, indices } : undefined;
    const pixels = await source.read(places, draw, this.#closing.signal);
    const all = Int32Array.from(indices, (_, i) => i);
    const values = pixels.length / 3 * inputChannels(this.#normalisation);
    const images = new Float32Array(buffer, 0, values);
    const order = orderOf(this.#normalisation);
    renderBatch(pixels, height, width, all, this.#table, order, undefined, images);
    return buffer;
  }

  close(): Promise<void> {
    this.#closing.abort();
    return Promise.resolve();
  }
}

/** A reply of worker.js. */
interface Reply {
  readonly ticket: number;
  readonly buffer?: ArrayBuffer;
  readonly failure?: string;
}

interface Waiting {
  resolve(buffer: ArrayBuffer): void;
  reject(error: unknown): void;
}

/** Moves the pixels on a thread of its own, which keeps the process alive until it is closed. */
class WorkerRenderer implements BatchRenderer {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #ticket = 0;
  #failure: Error | undefined;

  constructor(dataset: Dataset, normalisation: Normalisation) {
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), {
      workerData: {
        // As bare memory: Deno walks the elements of a typed array given to a worker, and gives up
        // on one of 100 MB.
        memory: dataset.pixels.buffer,
        offset: dataset.pixels.byteOffset,
        height: dataset.height,
        width: dataset.width,
        table: tableOf(normalisation),
        order: orderOf(normalisation),
      },
    });
    this.#worker.on("message", (reply: Reply) => this.#settle(reply));
    this.#worker.on("error", (error: Error) => this.#fail(error));
    this.#worker.on("exit", () => this.#fail(new Error("the batch worker has ended")));
  }

  render({ indices, seed, epoch, augment, buffer }: BatchRequest): Promise<ArrayBuffer> {
    const augmentation = augment ? drawAugmentation(seed, epoch, indices) : undefined;
    const ticket = this.#ticket++;
    return new Promise<ArrayBuffer>((resolve, reject) => {
      if (this.#failure) return reject(this.#failure);
      this.#waiting.set(ticket, { resolve, reject });
      this.#worker.postMessage({ ticket, indices, augmentation, buffer }, [buffer]);
    });
  }

  async close(): Promise<void> {
    this.#fail(new Error("the batch stream is closed"));
    await this.#worker.terminate();
  }

  #settle(reply: Reply): void {
    const waiting = this.#waiting.get(reply.ticket);
    this.#waiting.delete(reply.ticket);
    if (reply.buffer) waiting?.resolve(reply.buffer);
    else waiting?.reject(workerFailure(reply.failure ?? "no reason was given"));
  }

  /** Every batch awaited now or later rejects; the first cause is kept. */
  #fail(error: Error): void {
    this.#failure ??= workerFailure(error.message);
    for (const waiting of this.#waiting.values()) waiting.reject(this.#failure);
    this.#waiting.clear();
  }
}

function workerFailure(reason: string): Error {
  return new Error(`preparing a batch failed: ${reason}`);
}
