/** Image folders: `train/<class>/*.jpg` and `test/` or `val/`, as a directory or a tar. */
import { basename } from "../../std.ts";
import type { RunOptions } from "../../progress.ts";
import {
  type CacheKey,
  type Measures,
  readCached,
  readMeasures,
  writeCached,
  writeMeasures,
} from "../pictures/cache.ts";
import { type FolderPart, labelledPaths } from "./class_folders.ts";
import { allocatePixels, type Dataset, type PictureSet } from "../dataset.ts";
import { PictureDecoder } from "../pictures/decode.ts";
import { decodeSmall, worthWorkers } from "../pictures/decode_pool.ts";
import {
  centredView,
  type Extent,
  type Framing,
  scaledExtent,
  STREAMED_SIDE,
  type View,
} from "../pictures/geometry.ts";
import { viewOf } from "../pictures/resample.ts";
import { openStore } from "../stores/picture_store.ts";
import { firstOfEachClass } from "./first_pictures.ts";
import {
  CommonSize,
  type FolderPictures,
  forEachPicture,
  type Reading,
  remaining,
  requireAny,
  stopped,
  unreadable,
} from "./folder_reading.ts";
import { streamFolder } from "./streamed_folder.ts";

export interface ImageFolderOptions extends RunOptions, Framing {
  /** Refuse a file that cannot be read as a picture instead of leaving it out and counting it. */
  readonly strict?: boolean;
  /** Only the first pictures of each class, by path. */
  readonly limitPerClass?: number;
  /** The classes' labels come from elsewhere, so that splits may have different ones. */
  readonly labelled?: boolean;
  /** Called with the classes before any picture is read; what it throws ends the reading. */
  readonly accept?: (found: Pick<PictureSet, "name" | "classes">) => void;
  /** Keep what was found in the pictures for the next time (cache.ts); on by default. */
  readonly cache?: boolean;
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

/** Looks at every picture: its size, and whether it can be decoded. */
async function measure(folder: FolderPictures, options: ImageFolderOptions): Promise<Measures> {
  const decoder = new PictureDecoder();
  const common = new CommonSize(folder);
  const extents = new Int32Array(folder.paths.length * 2);
  const run = { ...options, stage: "checking pictures" };
  const unread = await forEachPicture(folder, run, async (bytes, index) => {
    const extent = await decoder.measure(bytes);
    common.require(index, extent);
    extents.set([extent.width, extent.height], index * 2);
  });
  const { size } = common;
  requireAny(folder, size, unread);
  return { size, extents, unread };
}

/** All pictures measured, now or by an earlier run, to be decoded when they are needed. */
async function measuredFolder(
  folder: FolderPictures,
  key: CacheKey,
  options: ImageFolderOptions,
): Promise<PictureSet> {
  const { strict, cache = true } = options;
  const kept = cache ? await readMeasures(key, folder.paths.length) : undefined;
  const isKept = kept !== undefined && !(strict && kept.unread.length > 0);
  const measures = isKept ? kept : await measure(folder, options);
  if (cache && !isKept) await writeMeasures(key, measures);
  const { size, extents, unread } = measures;
  const { left, ...known } = remaining(folder, unread);
  return {
    ...known,
    ...size,
    source: streamFolder(folder, key.stamp, extents, size),
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
 * they are needed. What a file is, its first bytes say; files of the class folders that cannot be read
 * as pictures are left out and listed in `skipped`, or refused when `strict`.
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
    ? await Promise.all([readCached(source), stampOf(folder, options)])
    : [undefined, undefined];
  if (kept && kept.stamp === stamp && !(options.strict && kept.dataset.skipped)) {
    return kept.dataset;
  }
  const first = await firstExtent(folder);
  if (areLarge(folder, first)) {
    const key = { source, stamp: stamp ?? await stampOf(folder, options) };
    return await measuredFolder(folder, key, options);
  }
  const dataset = await loadFolder(folder, first, options);
  if (stamp !== undefined) await writeCached({ source, stamp }, dataset);
  return dataset;
}

/** Taken before pictures are read, so that one that changes meanwhile is noticed the next time. */
function stampOf(
  { store, paths, leftOut }: FolderPictures,
  options: RunOptions,
): Promise<string> {
  return store.stamp([...paths, ...leftOut].map(({ path }) => path), options);
}

async function openFolder(
  path: string,
  part: FolderPart["part"],
  options: ImageFolderOptions,
): Promise<FolderPictures> {
  const { resize, crop, strict, labelled, limitPerClass } = options;
  const store = await openStore(path, options);
  const { paths, classes } = labelledPaths(store, {
    part,
    ...(labelled === undefined ? {} : { labelled }),
  });
  const title = basename(path, ".tar") || path;
  const name = part === "whole" ? title : `${title} ${part}`;
  options.accept?.({ name, classes });
  const { pictures, leftOut } = await firstOfEachClass(store, paths, limitPerClass);
  if (strict && leftOut.length > 0) throw unreadable(store, leftOut[0]);
  return {
    store,
    paths: pictures,
    leftOut,
    classes,
    name,
    framing: {
      ...(resize === undefined ? {} : { resize }),
      ...(crop === undefined ? {} : { crop }),
    },
  };
}
