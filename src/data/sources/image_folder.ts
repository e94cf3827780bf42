/** Image folders: `train/<class>/*.jpg` and `test/` or `val/`, as a directory or a tar. */
import { setImmediate } from "node:timers/promises";
import { reasonOf, SecateurError } from "../../errors.ts";
import type { RunOptions } from "../../progress.ts";
import { readCached, writeCached } from "../pictures/cache.ts";
import { type FolderPart, type LabelledPath, labelledPaths } from "./class_folders.ts";
import { allocatePixels, type Dataset, type PictureSet, type SkippedPicture } from "../dataset.ts";
import { PictureDecoder } from "../pictures/decode.ts";
import { decodeSmall, worthWorkers } from "../pictures/decode_pool.ts";
import {
  centredView,
  type Extent,
  type Framing,
  scaledExtent,
  type View,
} from "../pictures/geometry.ts";
import { openStore, type PictureStore } from "../pictures/picture_store.ts";
import { viewOf } from "../pictures/resample.ts";
import { type FolderPictures, streamFolder } from "./streamed_folder.ts";

export interface ImageFolderOptions extends RunOptions, Framing {
  /** Refuse an unreadable picture instead of skipping and counting it. */
  readonly strict?: boolean;
  /** Only the first pictures of each class, by path. */
  readonly limitPerClass?: number;
  /** The classes' labels come from elsewhere, so that splits may have different ones. */
  readonly labelled?: boolean;
  /** Called with the classes before any picture is read; what it throws ends the reading. */
  readonly accept?: (found: Pick<PictureSet, "name" | "classes">) => void;
  /** Keep the decoded pictures for the next time (cache.ts); on by default. */
  readonly cache?: boolean;
}

/** Files read and decoded at once: enough to keep the disk and sharp's threads busy. */
const CONCURRENT = 16;

/** Pictures of at least this side are read when needed: few would fit in memory. */
export const STREAMED_SIDE = 64;

/** Which pictures, and how to tell about them. */
interface Reading extends ImageFolderOptions {
  readonly stage: string;
  /** Those of which this byte is set are passed over; of none by default. */
  readonly known?: Uint8Array;
}

function stopped({ name }: PictureStore): SecateurError {
  return new SecateurError("cancelled", `Stopped while reading ${name}, as asked.`);
}

/**
 * Does something with every picture, many at once. What it throws that is no SecateurError is a
 * reason to skip the picture, or to refuse it when `strict`.
 * @throws SecateurError `image-unreadable`, `cancelled`, and what `each` throws.
 */
async function forEachPicture(
  folder: FolderPictures,
  options: Reading,
  each: (bytes: Uint8Array, index: number) => Promise<void>,
): Promise<SkippedPicture[]> {
  const { store, paths } = folder;
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
        if (options.strict) throw unreadable(folder, index, reasonOf(error));
        skipped.set(index, reasonOf(error));
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
  return [...skipped].sort(([a], [b]) => a - b)
    .map(([index, reason]) => ({ path: paths[index].path, reason }));
}

function unreadable({ store, paths }: FolderPictures, index: number, reason: string) {
  return new SecateurError(
    "image-unreadable",
    `Cannot read the picture ${paths[index].path} of ${store.name}: ${reason}; repair or remove ` +
      `it, or let unreadable pictures be skipped.`,
  );
}

/** Sizes of the pictures after scaling and cropping, which must agree. */
class CommonSize {
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
          `but ${paths[index].path} is ${width}x${height}; give --resize to scale them, or a ` +
          `smaller --crop.`,
      );
    }
    const { width, height } = view.window;
    this.#first ??= { index, size: { width, height } };
    const { size, index: first } = this.#first;
    if (width === size.width && height === size.height) return;
    throw new SecateurError(
      "data-mismatch",
      `Expected pictures of one size in ${store.name}, but ${paths[first].path} is ` +
        `${size.width}x${size.height} and ${paths[index].path} is ${width}x${height}; give ` +
        `--resize and --crop to bring them to one.`,
    );
  }
}

/** Throws "image-unreadable" when nothing is left of a folder's pictures. */
function requireAny(
  { name, paths }: FolderPictures,
  size: Extent | undefined,
  skipped: readonly SkippedPicture[],
): asserts size is Extent {
  if (size !== undefined) return;
  throw new SecateurError(
    "image-unreadable",
    `None of the ${paths.length} pictures of ${name} can be read; the first, ` +
      `${skipped[0].path}: ${skipped[0].reason}.`,
  );
}

/** Labels and classes of the pictures that were not skipped. */
function remaining(folder: FolderPictures, skipped: readonly SkippedPicture[]) {
  const gone = new Set(skipped.map(({ path }) => path));
  const left = folder.paths.map((_, index) => index)
    .filter((index) => !gone.has(folder.paths[index].path));
  return {
    left,
    name: folder.name,
    channels: 3 as const,
    count: left.length,
    labels: Int32Array.from(left, (index) => folder.paths[index].label),
    classes: folder.classes,
    ...(skipped.length > 0 ? { skipped } : {}),
  };
}

/** Pictures that are decoded already; `known` has a byte for each, set where that is so. */
interface Decoded {
  readonly pixels: Uint8Array<SharedArrayBuffer>;
  readonly known: Uint8Array;
}

/**
 * Decodes what workers can: many small, plain JPEG files of the size of `first`, which is taken as
 * it is.
 */
async function decodeAhead(
  folder: FolderPictures,
  first: Extent | undefined,
  { signal, onProgress }: Reading,
): Promise<Decoded | undefined> {
  const { store, paths, framing, name } = folder;
  if (first === undefined || !worthWorkers(paths.length)) return undefined;
  if (!isUnchanged(first, centredView(first, framing))) return undefined;
  const { width, height } = first;
  const pixels = allocatePixels(paths.length, height, width, name);
  const known = await decodeSmall(paths.map(({ path }) => store.locate(path)), {
    size: first,
    pixels,
  }, {
    signal,
    onDone: (done) =>
      onProgress?.({ stage: "reading pictures", done, total: paths.length, unit: "pictures" }),
  });
  if (signal?.aborted) throw stopped(store);
  return { pixels, known };
}

/** Whether a view shows the whole picture as it is. */
function isUnchanged({ width, height }: Extent, view: View | undefined): boolean {
  if (view === undefined) return false;
  return [view.scaled, view.window].every((box) => box.width === width && box.height === height);
}

/** All pictures decoded; `first` is the size of one of them. */
async function loadFolder(
  folder: FolderPictures,
  first: Extent | undefined,
  options: ImageFolderOptions,
): Promise<Dataset> {
  const decoder = new PictureDecoder();
  const common = new CommonSize(folder);
  const run: Reading = { ...options, stage: "reading pictures" };
  const ahead = await decodeAhead(folder, first, run);
  let pixels: Uint8Array = ahead?.pixels ?? new Uint8Array(0);
  const firstKnown = ahead?.known.indexOf(1) ?? -1;
  if (first && firstKnown >= 0) common.require(firstKnown, first);
  const skipped = await forEachPicture(
    folder,
    { ...run, known: ahead?.known },
    async (bytes, index) => {
      const picture = await decoder.decode(bytes);
      common.require(index, picture);
      const { width, height } = common.size!;
      if (pixels.length === 0) {
        pixels = allocatePixels(folder.paths.length, height, width, folder.name);
      }
      pixels.set(
        viewOf(picture, centredView(picture, folder.framing)!),
        index * width * height * 3,
      );
    },
  );
  const { size } = common;
  requireAny(folder, size, skipped);
  const bytes = size.width * size.height * 3;
  const { left, ...known } = remaining(folder, skipped);
  left.forEach((index, place) => {
    if (place < index) pixels.copyWithin(place * bytes, index * bytes, (index + 1) * bytes);
  });
  return { ...known, ...size, pixels: pixels.subarray(0, left.length * bytes) };
}

/** All pictures measured, to be decoded when they are needed. */
async function measureFolder(
  folder: FolderPictures,
  stamp: string,
  options: ImageFolderOptions,
): Promise<PictureSet> {
  const decoder = new PictureDecoder();
  const common = new CommonSize(folder);
  const extents = new Int32Array(folder.paths.length * 2);
  const run = { ...options, stage: "checking pictures" };
  const skipped = await forEachPicture(folder, run, async (bytes, index) => {
    const extent = await decoder.measure(bytes);
    common.require(index, extent);
    extents.set([extent.width, extent.height], index * 2);
  });
  const { size } = common;
  requireAny(folder, size, skipped);
  const { left, ...known } = remaining(folder, skipped);
  return {
    ...known,
    ...size,
    source: streamFolder(folder, stamp, extents, size),
    positions: Int32Array.from(left),
  };
}

/** The size of the first picture that can be read. */
async function firstExtent({ store, paths }: FolderPictures): Promise<Extent | undefined> {
  const files = await store.open();
  const decoder = new PictureDecoder();
  try {
    for (const { path } of paths) {
      const size = await files.read(path).then((bytes) => decoder.glance(bytes))
        .catch(() => undefined);
      if (size !== undefined) return size;
    }
    return undefined;
  } finally {
    await files.close();
  }
}

/** Whether pictures are large once they are scaled and cropped, given the size of one of them. */
function areLarge({ framing }: FolderPictures, first: Extent | undefined): boolean {
  if (framing.crop !== undefined) return framing.crop >= STREAMED_SIDE;
  if (first === undefined) return false;
  const { width, height } = scaledExtent(first, framing.resize);
  return Math.min(width, height) >= STREAMED_SIDE;
}

/**
 * Opens a part of an image folder, in order of path; labels count the class folders by name. Pictures
 * are scaled so that their shorter side is `resize` and the middle `crop` x `crop` of them is taken,
 * as torchvision does. Small ones are held decoded; those of 64 pixels and more are decoded whenever
 * they are needed. Pictures that cannot be read are left out and listed in `skipped`, or refused when
 * `strict`.
 *
 * @throws SecateurError `file-missing`, `file-unreadable`, `format-unknown`, `format-corrupt`,
 * `data-empty`, `data-mismatch`, `image-unreadable` or `cancelled`.
 */
export async function readImageFolder(
  path: string,
  part: FolderPart["part"],
  options: ImageFolderOptions = {},
): Promise<PictureSet> {
  const folder = await openFolder(path, part, options);
  const { resize, crop, limitPerClass } = options;
  const way = `${part}/${resize ?? "as is"}/${crop ?? "whole"}/${limitPerClass ?? "all"}`;
  const source = `${folder.store.identity}\0${way}`;
  const cached = options.cache !== false;
  // Together, since one waits for the disk.
  const [kept, stamp] = cached
    ? await Promise.all([readCached(source), stampOf(folder)])
    : [undefined, undefined];
  if (kept && kept.stamp === stamp && !(options.strict && kept.dataset.skipped)) {
    return kept.dataset;
  }
  const first = await firstExtent(folder);
  if (areLarge(folder, first)) {
    return await measureFolder(folder, stamp ?? await stampOf(folder), options);
  }
  const dataset = await loadFolder(folder, first, options);
  if (stamp !== undefined) await writeCached({ source, stamp }, dataset);
  return dataset;
}

/** Taken before pictures are read, so that one that changes meanwhile is noticed the next time. */
function stampOf({ store, paths }: FolderPictures): Promise<string> {
  return store.stamp(paths.map(({ path }) => path));
}

async function openFolder(
  path: string,
  part: FolderPart["part"],
  { resize, crop, ...options }: ImageFolderOptions,
): Promise<FolderPictures> {
  const store: PictureStore = await openStore(path);
  const found: { paths: LabelledPath[]; classes: string[] } = labelledPaths(store, {
    part,
    ...options,
  });
  const title = path.replace(/\/+$/, "").split("/").at(-1)?.replace(/\.tar$/, "") || path;
  const name = part === "whole" ? title : `${title} ${part}`;
  options.accept?.({ name, classes: found.classes });
  return {
    store,
    ...found,
    name,
    framing: {
      ...(resize === undefined ? {} : { resize }),
      ...(crop === undefined ? {} : { crop }),
    },
  };
}
