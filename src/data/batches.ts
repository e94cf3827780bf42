/**
 * Batches of network inputs. `BatchStream` renders them on a thread of its own, a few ahead of the
 * training step; `batchOf` does it here and now, for evaluation and calibration.
 *
 * What a batch holds depends on seed, epoch and step alone. The order and the augmentation are
 * drawn on the main thread (a few microseconds a picture), the pixels are moved on the worker.
 */
import { Worker } from "node:worker_threads";
import { SecateurError } from "../errors.ts";
import { RandomStream } from "../random.ts";
import { drawAugmentation } from "./augment.ts";
import type { Dataset, Normalisation } from "./dataset.ts";
import { normalisationTable, renderBatch } from "./render.js";

/** One batch, ready for the network. Its memory is taken back when the next one is asked for. */
export interface Batch {
  /** `[n, height, width, 3]`, normalised. */
  readonly images: Float32Array<ArrayBuffer>;
  /** `[n]`. */
  readonly labels: Int32Array;
  /** `[n]`: positions in the data set. */
  readonly indices: Int32Array;
  /** Step within the epoch, from 0. */
  readonly step: number;
}

/** The pictures `indices` as inputs `[n, height, width, 3]`, not augmented. */
export function batchOf(
  dataset: Dataset,
  indices: Int32Array,
  normalisation: Normalisation,
): Float32Array<ArrayBuffer> {
  const { height, width } = dataset;
  for (const index of indices) {
    if (index < 0 || index >= dataset.count) {
      throw new RangeError(`picture ${index} of "${dataset.name}", which holds ${dataset.count}`);
    }
  }
  const out = new Float32Array(indices.length * height * width * 3);
  const table = normalisationTable(normalisation.mean, normalisation.std);
  renderBatch(dataset.pixels, height, width, indices, table, undefined, out);
  return out;
}

export interface BatchStreamOptions {
  readonly batchSize: number;
  readonly normalisation: Normalisation;
  /** Decides order and augmentation. */
  readonly seed: number;
  /** Another order every epoch (default), or the data set's own. */
  readonly shuffle?: boolean;
  /** Shift and mirror (augment.ts); off by default. */
  readonly augment?: boolean;
  /** Leave out a last batch that is not full; kept by default. */
  readonly dropLast?: boolean;
  /** Batches rendered ahead; 3 by default. */
  readonly prefetch?: number;
}

/** The order of an epoch: every position once. */
export function epochOrder(count: number, seed: number, epoch: number): Int32Array {
  return new RandomStream(seed, "shuffle", epoch).permutation(count);
}

/** A batch the worker is rendering. */
interface Pending {
  readonly indices: Int32Array;
  readonly step: number;
  readonly buffer: Promise<ArrayBuffer>;
}

/** A reply of batch_worker.js. */
interface Reply {
  readonly ticket: number;
  readonly buffer?: ArrayBuffer;
  readonly failure?: string;
}

interface Waiting {
  resolve(buffer: ArrayBuffer): void;
  reject(error: unknown): void;
}

/**
 * Renders the batches of one data set on a worker. One epoch is read at a time; `close` ends the
 * worker, which otherwise keeps the process alive.
 */
export class BatchStream {
  readonly stepsPerEpoch: number;
  readonly #dataset: Dataset;
  readonly #options: BatchStreamOptions;
  readonly #depth: number;
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  /** Buffers free for the next batches; at most prefetch + 1 exist. */
  readonly #buffers: ArrayBuffer[] = [];
  #ticket = 0;
  #reading = false;
  #failure: Error | undefined;

  /** @throws SecateurError `option-invalid` when a size makes no batch. */
  constructor(dataset: Dataset, options: BatchStreamOptions) {
    const { batchSize, normalisation } = options;
    const steps = dataset.count / batchSize;
    this.stepsPerEpoch = options.dropLast ? Math.floor(steps) : Math.ceil(steps);
    if (!Number.isInteger(batchSize) || batchSize < 1 || this.stepsPerEpoch < 1) {
      throw new SecateurError(
        "option-invalid",
        `Expected a batch size from 1 to the ${dataset.count} pictures of ${dataset.name}, ` +
          `got ${batchSize}.`,
      );
    }
    this.#dataset = dataset;
    this.#options = options;
    this.#depth = Math.max(1, options.prefetch ?? 3);
    this.#worker = new Worker(new URL("./batch_worker.js", import.meta.url), {
      workerData: {
        // As bare memory: Deno walks the elements of a typed array given to a worker, and gives up
        // on one of 100 MB.
        memory: dataset.pixels.buffer,
        offset: dataset.pixels.byteOffset,
        height: dataset.height,
        width: dataset.width,
        table: normalisationTable(normalisation.mean, normalisation.std),
      },
    });
    this.#worker.on("message", (reply: Reply) => this.#settle(reply));
    this.#worker.on("error", (error: Error) => this.#fail(error));
    this.#worker.on("exit", () => this.#fail(new Error("the batch worker has ended")));
  }

  /**
   * The batches of one epoch from `startStep` on: the same bytes as an uninterrupted epoch gives
   * from there. Ends early, without leaks, when the loop is left or `signal` fires.
   * @throws SecateurError `cancelled`; a plain Error when the worker fails or was closed.
   */
  async *epoch(
    epoch: number,
    options: { readonly startStep?: number; readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<Batch, void, void> {
    if (this.#reading) throw new Error("one epoch of a BatchStream is read at a time");
    this.#reading = true;
    const order = this.#options.shuffle === false
      ? Int32Array.from({ length: this.#dataset.count }, (_, i) => i)
      : epochOrder(this.#dataset.count, this.#options.seed, epoch);
    const queue: Pending[] = [];
    let next = options.startStep ?? 0;
    try {
      for (;;) {
        while (queue.length < this.#depth && next < this.stepsPerEpoch) {
          queue.push(this.#request(order, epoch, next++));
        }
        const pending = queue.shift();
        if (pending === undefined) return;
        const buffer = await pending.buffer;
        this.#throwIfCancelled(options.signal);
        try {
          yield this.#batch(pending, buffer);
        } finally {
          this.#recycle(buffer);
        }
      }
    } finally {
      // A loop left early waits for what is under way, so that the next epoch starts with a clean
      // worker and all its buffers.
      for (const left of await Promise.allSettled(queue.map((pending) => pending.buffer))) {
        if (left.status === "fulfilled") this.#recycle(left.value);
      }
      this.#reading = false;
    }
  }

  /** Ends the worker; batches still awaited reject. */
  async close(): Promise<void> {
    this.#fail(new Error("the batch stream is closed"));
    this.#buffers.length = 0;
    await this.#worker.terminate();
  }

  #request(order: Int32Array, epoch: number, step: number): Pending {
    const { batchSize, seed, augment } = this.#options;
    const indices = order.slice(step * batchSize, (step + 1) * batchSize);
    const augmentation = augment ? drawAugmentation(seed, epoch, indices) : undefined;
    const { height, width } = this.#dataset;
    const buffer = this.#buffers.pop() ?? new ArrayBuffer(batchSize * height * width * 3 * 4);
    const ticket = this.#ticket++;
    const rendered = new Promise<ArrayBuffer>((resolve, reject) => {
      if (this.#failure) return reject(this.#failure);
      this.#waiting.set(ticket, { resolve, reject });
      this.#worker.postMessage({ ticket, indices, augmentation, buffer }, [buffer]);
    });
    // Awaited later, in order; until then a failure must not count as unhandled.
    rendered.catch(() => {});
    return { indices, step, buffer: rendered };
  }

  #batch(pending: Pending, buffer: ArrayBuffer): Batch {
    const { indices, step } = pending;
    const { height, width, labels } = this.#dataset;
    return {
      images: new Float32Array(buffer, 0, indices.length * height * width * 3),
      labels: indices.map((index) => labels[index]),
      indices,
      step,
    };
  }

  /** Takes a batch's memory back; what the reader still holds of it becomes empty. */
  #recycle(buffer: ArrayBuffer): void {
    if (this.#failure === undefined && buffer.byteLength > 0) this.#buffers.push(buffer);
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

  #throwIfCancelled(signal: AbortSignal | undefined): void {
    if (signal?.aborted) {
      throw new SecateurError("cancelled", "Stopped while preparing batches, as asked.");
    }
  }
}

function workerFailure(reason: string): Error {
  return new Error(`preparing a batch failed: ${reason}`);
}
