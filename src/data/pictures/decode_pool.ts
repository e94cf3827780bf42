/** Decoding many small JPEG files on all processors, whole requests of files at a time. */
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { Extent } from "./geometry.ts";
import { decoderModule } from "./jpeg.js";
import type { PicturePlace } from "../stores/store.ts";

/** Pictures in one request: decoding them takes some milliseconds, far longer than a message. */
const REQUEST = 128;
/** Requests given to a worker ahead, so that it never waits for the main thread. */
const AHEAD = 2;
/** Fewer pictures are decoded before workers have started. */
const WORTH_WORKERS = 1024;
/** The disk and the main thread limit what more would bring. */
const MOST_WORKERS = 16;

/** A reply of decode_worker.js. */
interface Reply {
  readonly first: number;
  readonly decoded: Uint8Array;
}

/** Where decoded pictures go. */
export interface DecodeTarget {
  /** Of every picture that is decoded; those of another are left out. */
  readonly size: Extent;
  /** `[count, height, width, 3]`, RGB, in shared memory. */
  readonly pixels: Uint8Array<SharedArrayBuffer>;
}

/** Whether workers would be done sooner than the main thread. */
export function worthWorkers(count: number): boolean {
  return count >= WORTH_WORKERS && availableParallelism() > 1;
}

/**
 * Decodes the small, plain JPEG files among `places` into their places in `target`, and returns one
 * byte for each: 1 where that was done. The others are left to PictureDecoder, whatever the reason.
 * Ends early when `signal` fires; `onDone` hears how many were looked at.
 */
export async function decodeSmall(
  places: readonly PicturePlace[],
  { size, pixels }: DecodeTarget,
  { signal, onDone }: { readonly signal?: AbortSignal; onDone(count: number): void },
): Promise<Uint8Array> {
  const decoded = new Uint8Array(places.length);
  let next = 0, done = 0;
  const serve = (worker: Worker) =>
    new Promise<void>((resolve) => {
      let waiting = 0;
      const ask = (): void => {
        while (waiting < AHEAD && next < places.length && !signal?.aborted) {
          worker.postMessage({ first: next, places: places.slice(next, next + REQUEST) });
          next += REQUEST;
          waiting++;
        }
        if (waiting === 0) resolve();
      };
      worker.on("message", (reply: Reply) => {
        decoded.set(reply.decoded, reply.first);
        done += reply.decoded.length;
        onDone(done);
        waiting--;
        ask();
      });
      // A worker that fails leaves its pictures to the main thread.
      worker.on("error", () => resolve());
      worker.on("exit", () => resolve());
      ask();
    });
  const count = Math.min(availableParallelism(), MOST_WORKERS, Math.ceil(places.length / REQUEST));
  const module = decoderModule();
  const workers = Array.from(
    { length: count },
    () =>
      new Worker(new URL("./decode_worker.js", import.meta.url), {
        workerData: { memory: pixels.buffer, ...size, module },
      }),
  );
  try {
    await Promise.all(workers.map(serve));
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
  return decoded;
}
