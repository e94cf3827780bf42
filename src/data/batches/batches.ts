/**
 * Batches of network inputs. `BatchStream` renders them a few ahead of the training step; `batchOf`
 * and `readBatch` do it here and now, for evaluation and calibration.
 *
 * What a batch holds depends on seed, epoch and step alone. The order and the augmentation are
 * drawn on the main thread (a few microseconds a picture), the pixels are moved or decoded elsewhere.
 */
import { SecateurError } from "../../errors.ts";
import { RandomStream } from "../../random.ts";
import { type BatchRenderer, rendererOf } from "./renderer.ts";
import { inputChannels, type Normalisation, type PictureSet } from "../dataset.ts";

export { batchOf, readBatch } from "./renderer.ts";

/** One batch, ready for the network. Its memory is taken back when the next one is asked for. */
export interface Batch {
  /** `[n, height, width, channels]`, normalised. */
  readonly images: Float32Array<ArrayBuffer>;
  /** `[n]`. */
  readonly labels: Int32Array;
  /** `[n]`: positions in the data set. */
  readonly indices: Int32Array;
  /** Step within the epoch, from 0. */
  readonly step: number;
}

export interface BatchStreamOptions {
  readonly batchSize: number;
  readonly normalisation: Normalisation;
  /** Decides order and augmentation. */
  readonly seed: number;
  /** Another order every epoch (default), or the data set's own. */
  readonly shuffle?: boolean;
  /**
   * Change pictures at random: those in memory are shifted and mirrored (augment.ts), those in files
   * give a random part (geometry.ts). Off by default.
   */
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

/**
 * Renders the batches of one data set ahead. One epoch is read at a time; `close` ends a worker that
 * otherwise keeps the process alive.
 */
export class BatchStream {
  readonly stepsPerEpoch: number;
  readonly #dataset: PictureSet;
  readonly #options: BatchStreamOptions;
  readonly #depth: number;
  readonly #renderer: BatchRenderer;
  /** Buffers free for the next batches; at most prefetch + 1 exist. */
  readonly #buffers: ArrayBuffer[] = [];
  #reading = false;
  #closed = false;

  /** @throws SecateurError `option-invalid` when a size makes no batch. */
  constructor(dataset: PictureSet, options: BatchStreamOptions) {
    const { batchSize, normalisation } = options;
    const steps = dataset.count / batchSize;
    this.stepsPerEpoch = options.dropLast ? Math.floor(steps) : Math.ceil(steps);
    if (!Number.isInteger(batchSize) || batchSize < 1 || this.stepsPerEpoch < 1) {
      throw new SecateurError(
        "option-invalid",
        `Expected a batch size from 1 to the ${dataset.count} pictures of ${dataset.name}, ` +
          `got ${batchSize}; give another --batch.`,
      );
    }
    this.#dataset = dataset;
    this.#options = options;
    this.#depth = Math.max(1, options.prefetch ?? 3);
    this.#renderer = rendererOf(dataset, normalisation);
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
    this.#closed = true;
    this.#buffers.length = 0;
    await this.#renderer.close();
  }

  #request(order: Int32Array, epoch: number, step: number): Pending {
    const { batchSize, seed, augment = false } = this.#options;
    const indices = order.slice(step * batchSize, (step + 1) * batchSize);
    const buffer = this.#buffers.pop() ?? new ArrayBuffer(this.#values(batchSize) * 4);
    const rendered = this.#renderer.render({ indices, seed, epoch, augment, buffer });
    // Awaited later, in order; until then a failure must not count as unhandled.
    rendered.catch(() => {});
    return { indices, step, buffer: rendered };
  }

  #batch(pending: Pending, buffer: ArrayBuffer): Batch {
    const { indices, step } = pending;
    const { labels } = this.#dataset;
    return {
      images: new Float32Array(buffer, 0, this.#values(indices.length)),
      labels: indices.map((index) => labels[index]),
      indices,
      step,
    };
  }

  /** Numbers in the inputs of so many pictures. */
  #values(images: number): number {
    const { height, width } = this.#dataset;
    return images * height * width * inputChannels(this.#options.normalisation);
  }

  /** Takes a batch's memory back; what the reader still holds of it becomes empty. */
  #recycle(buffer: ArrayBuffer): void {
    if (!this.#closed && buffer.byteLength > 0) this.#buffers.push(buffer);
  }

  #throwIfCancelled(signal: AbortSignal | undefined): void {
    if (signal?.aborted) {
      throw new SecateurError("cancelled", "Stopped while preparing batches, as asked.");
    }
  }
}
