/** Going through an image folder's files: many at once, with what cannot be read set aside. */
import { setImmediate } from "node:timers/promises";
import { reasonOf, SecateurError } from "../../errors.ts";
import { quotedPath } from "../../formats/bytes.ts";
import type { RunOptions } from "../../progress.ts";
import type { SkippedPicture } from "../dataset.ts";
import { centredView, type Extent, type Framing, scaledExtent } from "../pictures/geometry.ts";
import type { PictureStore } from "../stores/store.ts";
import { emptyClass, type LabelledPath } from "./class_folders.ts";

/** The pictures of one part of an image folder, before any is read. */
export interface FolderPictures {
  readonly store: PictureStore;
  readonly paths: readonly LabelledPath[];
  readonly classes: readonly string[];
  /** For people. */
  readonly name: string;
  readonly framing: Framing;
  /** Files of the class folders that are known not to be pictures. */
  readonly leftOut: readonly SkippedPicture[];
}

/** Files read and decoded at once: enough to keep the disk and sharp's threads busy. */
const CONCURRENT = 16;

/** Which pictures, and how to tell about them. */
export interface Reading extends RunOptions {
  /** Refuse a file that cannot be read instead of leaving it out. */
  readonly strict?: boolean;
  readonly stage: string;
  /** Those of which this byte is set are passed over; of none by default. */
  readonly known?: Uint8Array;
}

/** The error for a folder that is read no further, as the signal asks. */
export function stopped({ name }: PictureStore): SecateurError {
  return new SecateurError("cancelled", `Stopped while reading ${name}, as asked.`);
}

/**
 * Does something with every picture, many at once. What it throws that is no SecateurError is a
 * reason to leave the picture out, or to refuse it when `strict`.
 * @throws SecateurError `image-unreadable`, `cancelled`, and what `each` throws.
 */
export async function forEachPicture(
  { store, paths }: FolderPictures,
  options: Reading,
  each: (bytes: Uint8Array, index: number) => Promise<void>,
): Promise<SkippedPicture[]> {
  const known = options.known ?? new Uint8Array(paths.length);
  const skipped = new Map<number, string>();
  const files = await store.open();
  let next = 0, done = known.reduce((sum, is) => sum + is, 0);
  const work = async (): Promise<void> => {
    while (next < paths.length) {
      const index = next++;
      if (known[index]) continue;
      if (options.signal?.aborted) throw stopped(store);
      try {
        await each(await files.read(paths[index].path), index);
      } catch (error) {
        if (error instanceof SecateurError) throw error;
        skipped.set(index, reasonOf(error));
        if (options.strict) throw unreadable(store, skippedAt(paths, index, skipped));
      }
      if (++done % 256 === 0) {
        const { stage } = options;
        options.onProgress?.({ stage, done, total: paths.length, unit: "pictures" });
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
  await files.close();
  for (const end of ends) if (end.status === "rejected") throw end.reason;
  return [...skipped.keys()].sort((a, b) => a - b)
    .map((index) => skippedAt(paths, index, skipped));
}

const skippedAt = (
  paths: readonly LabelledPath[],
  index: number,
  reasons: ReadonlyMap<number, string>,
): SkippedPicture => ({ path: paths[index].path, reason: reasons.get(index)! });

/** The error for a file that is refused where others would be left out. */
export function unreadable({ name }: PictureStore, { path, reason }: SkippedPicture) {
  return new SecateurError(
    "image-unreadable",
    `Cannot read ${quotedPath(path)} of ${name}: ${reason}. Repair or remove it, or leave out ` +
      `--strict, which refuses what would else be left out and counted.`,
  );
}

/** Sizes of the pictures after scaling and cropping, which must agree. */
export class CommonSize {
  readonly #folder: FolderPictures;
  #first: { readonly index: number; readonly size: Extent } | undefined;

  constructor(folder: FolderPictures) {
    this.#folder = folder;
  }

  get size(): Extent | undefined {
    return this.#first?.size;
  }

  /** @throws SecateurError `data-mismatch` when a picture's size is not that of the others. */
  require(index: number, picture: Extent): void {
    const { paths, store, framing } = this.#folder;
    const view = centredView(picture, framing);
    if (view === undefined) {
      const { width, height } = scaledExtent(picture, framing.resize);
      throw new SecateurError(
        "data-mismatch",
        `Expected pictures of at least ${framing.crop}x${framing.crop} to crop in ${store.name}, ` +
          `but ${quotedPath(paths[index].path)} is ${width}x${height}; give --resize ` +
          `${framing.crop} to scale them, or a smaller --crop.`,
      );
    }
    const { width, height } = view.window;
    this.#first ??= { index, size: { width, height } };
    const { size, index: first } = this.#first;
    if (width === size.width && height === size.height) return;
    throw new SecateurError(
      "data-mismatch",
      `Expected pictures of one size in ${store.name}, but ${quotedPath(paths[first].path)} is ` +
        `${size.width}x${size.height} and ${
          quotedPath(paths[index].path)
        } is ${width}x${height}; ` +
        `give --resize and --crop, both the side that the model takes, to bring them to one.`,
    );
  }
}

/** Throws "image-unreadable" when nothing is left of a folder's pictures. */
export function requireAny(
  { name, leftOut }: FolderPictures,
  size: Extent | undefined,
  unread: readonly SkippedPicture[],
): asserts size is Extent {
  if (size !== undefined) return;
  const all = [...unread, ...leftOut];
  const [{ path, reason }] = all;
  throw new SecateurError(
    "image-unreadable",
    `Expected pictures in ${name}, but none of its ${all.length} files can be read as one; the ` +
      `first is ${quotedPath(path)}: ${reason}.`,
  );
}

/**
 * Labels and classes of the pictures that were not left out.
 * @throws SecateurError `data-empty` for a class of which none is left.
 */
export function remaining(folder: FolderPictures, unread: readonly SkippedPicture[]) {
  const { paths, classes, leftOut, store } = folder;
  const gone = new Set(unread.map(({ path }) => path));
  const left = paths.map((_, index) => index).filter((index) => !gone.has(paths[index].path));
  const counts = new Int32Array(classes.length);
  for (const index of left) counts[paths[index].label]++;
  const skipped = [...leftOut, ...unread].sort((a, b) => a.path < b.path ? -1 : 1);
  const empty = counts.indexOf(0);
  if (empty >= 0) {
    const first = skipped.find(({ path }) => path.split("/").includes(classes[empty]));
    const why = first === undefined ? "" : ` (${quotedPath(first.path)}: ${first.reason})`;
    throw emptyClass(store.name, classes[empty], `has none that can be read${why}`);
  }
  return {
    left,
    name: folder.name,
    channels: 3 as const,
    count: left.length,
    labels: Int32Array.from(left, (index) => paths[index].label),
    classes,
    ...(skipped.length > 0 ? { skipped } : {}),
  };
}
