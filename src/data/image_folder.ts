/** Image folders: `train/<class>/*.jpg` and `test/` or `val/`, as a directory or a tar. */
import { setImmediate } from "node:timers/promises";
import { reasonOf, SecateurError } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import { type CacheKey, readCached, writeCached } from "./cache.ts";
import { type LabelledPath, labelledPaths } from "./class_folders.ts";
import { allocatePixels, type Dataset, type SkippedPicture } from "./dataset.ts";
import { type Picture, PictureDecoder } from "./decode.ts";
import { openStore, type PictureStore } from "./picture_store.ts";

export interface ImageFolderOptions extends RunOptions {
  /** Scale every picture to this height and width; without it all must agree. */
  readonly size?: number;
  /** Refuse an unreadable picture instead of skipping and counting it. */
  readonly strict?: boolean;
  /** Only the first pictures of each class, by path. */
  readonly limitPerClass?: number;
  /** Keep the decoded pictures for the next time (cache.ts); on by default. */
  readonly cache?: boolean;
}

/** Files read and decoded at once: enough to keep the disk and sharp's threads busy. */
const CONCURRENT = 16;

/** Collects pictures that must have one size. */
class Collector {
  readonly #store: PictureStore;
  readonly #paths: readonly LabelledPath[];
  readonly #strict: boolean;
  readonly #name: string;
  readonly #read: Uint8Array;
  readonly #reasons = new Map<number, string>();
  #first: { readonly index: number; readonly width: number; readonly height: number } | undefined;
  #pixels: Uint8Array | undefined;

  constructor(store: PictureStore, paths: readonly LabelledPath[], name: string, strict: boolean) {
    this.#store = store;
    this.#paths = paths;
    this.#name = name;
    this.#strict = strict;
    this.#read = new Uint8Array(paths.length);
  }

  /** @throws SecateurError `data-mismatch` when its size is not that of the others. */
  add(index: number, picture: Picture): void {
    const { width, height, pixels } = picture;
    if (this.#first === undefined) {
      this.#first = { index, width, height };
      this.#pixels = allocatePixels(this.#paths.length, height, width, this.#name);
    }
    const first = this.#first;
    if (width !== first.width || height !== first.height) {
      throw new SecateurError(
        "data-mismatch",
        `Expected pictures of one size in ${this.#store.name}, but ` +
          `${this.#paths[first.index].path} is ${first.width}x${first.height} and ` +
          `${this.#paths[index].path} is ${width}x${height}; give --size to scale them.`,
      );
    }
    this.#pixels!.set(pixels, index * pixels.length);
    this.#read[index] = 1;
  }

  /** @throws SecateurError `image-unreadable` when none may be skipped. */
  skip(index: number, reason: string): void {
    const { path } = this.#paths[index];
    if (this.#strict) {
      throw new SecateurError(
        "image-unreadable",
        `Cannot read the picture ${path} of ${this.#store.name}: ${reason}; repair or remove it, ` +
          `or let unreadable pictures be skipped.`,
      );
    }
    this.#reasons.set(index, reason);
  }

  /** The data set without the skipped pictures. */
  finish(classes: readonly string[]): Dataset {
    const skipped: SkippedPicture[] = [...this.#reasons].sort(([a], [b]) => a - b)
      .map(([index, reason]) => ({ path: this.#paths[index].path, reason }));
    if (this.#first === undefined || this.#pixels === undefined) {
      throw new SecateurError(
        "image-unreadable",
        `None of the ${this.#paths.length} pictures of ${this.#name} can be read; the first, ` +
          `${skipped[0].path}: ${skipped[0].reason}.`,
      );
    }
    const { width, height } = this.#first;
    const size = width * height * 3;
    const labels = new Int32Array(this.#paths.length - skipped.length);
    let count = 0;
    this.#paths.forEach(({ label }, index) => {
      if (this.#read[index] === 0) return;
      if (count < index) {
        this.#pixels!.copyWithin(count * size, index * size, (index + 1) * size);
      }
      labels[count++] = label;
    });
    const pixels = this.#pixels.subarray(0, count * size);
    const whole = { name: this.#name, width, height, channels: 3, count, pixels, labels, classes };
    return (skipped.length > 0 ? { ...whole, skipped } : whole) as Dataset;
  }
}

/** Reads, decodes and collects all pictures, many at once. */
async function decodeAll(
  store: PictureStore,
  paths: readonly LabelledPath[],
  collector: Collector,
  options: ImageFolderOptions,
): Promise<void> {
  const decoder = new PictureDecoder();
  let next = 0, done = 0;
  const work = async (): Promise<void> => {
    while (next < paths.length) {
      const index = next++;
      if (options.signal?.aborted) {
        throw new SecateurError("cancelled", `Stopped while reading ${store.name}, as asked.`);
      }
      let picture: Picture | undefined;
      try {
        picture = await decoder.decode(await store.read(paths[index].path), options.size);
      } catch (error) {
        collector.skip(index, reasonOf(error));
      }
      if (picture) collector.add(index, picture);
      if (++done % 256 === 0) {
        options.onProgress?.({
          stage: "reading pictures",
          done,
          total: paths.length,
          unit: "pictures",
        });
        // Small pictures decode without waiting for anything; let others have a turn.
        await setImmediate();
      }
    }
  };
  const stopOthers = (error: unknown): never => {
    next = paths.length;
    throw error;
  };
  // All must have ended before the store is closed, also when one fails.
  const ends = await Promise.allSettled(
    Array.from({ length: CONCURRENT }, () => work().catch(stopOthers)),
  );
  for (const end of ends) if (end.status === "rejected") throw end.reason;
}

/**
 * Reads one split of an image folder, in order of path; labels count the class folders by name.
 * Pictures that cannot be read are left out and listed in `skipped`, or refused when `strict`.
 *
 * @throws SecateurError `file-missing`, `file-unreadable`, `format-unknown`, `format-corrupt`,
 * `data-empty`, `data-mismatch`, `image-unreadable` or `cancelled`.
 */
export async function readImageFolder(
  path: string,
  split: "train" | "test",
  options: ImageFolderOptions = {},
): Promise<Dataset> {
  const store = await openStore(path);
  try {
    const { paths, classes } = labelledPaths(store, split, options.limitPerClass);
    const title = path.replace(/\/+$/, "").split("/").at(-1)?.replace(/\.tar$/, "") || path;
    const name = `${title} ${split}`;
    const way = `${split}/${options.size ?? "as is"}/${options.limitPerClass ?? "all"}`;
    const key: CacheKey | undefined = options.cache === false ? undefined : {
      source: `${store.identity}\0${way}`,
      stamp: await store.stamp(paths.map((picture) => picture.path)),
    };
    const known = key && await readCached(key);
    if (known && !(options.strict && known.skipped)) return known;
    const collector = new Collector(store, paths, name, options.strict ?? false);
    await decodeAll(store, paths, collector, options);
    const dataset = collector.finish(classes);
    if (key) await writeCached(key, dataset);
    return dataset;
  } finally {
    await store.close();
  }
}
