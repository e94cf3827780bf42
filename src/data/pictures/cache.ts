/**
 * What was found in pictures, kept for the next run in a folder of our own and never beside the
 * source: `SECATEUR_CACHE`, else `$XDG_CACHE_HOME/secateur`, else `~/.cache/secateur`.
 *
 * One file per source and way of reading it; a source that changed replaces its file. Every file
 * carries a stamp of its source and a checksum of its content: one that fails either is ignored.
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { makeFolder, writeFileAtomic } from "../../formats/atomic.ts";
import { allocatePixels, type Dataset, type SkippedPicture } from "../dataset.ts";
import type { Extent } from "./geometry.ts";

/** Which pictures are meant. */
export interface CacheKey {
  /** What is read and how: source, split, size. Names the file. */
  readonly source: string;
  /** Changes whenever the source does: sizes, times and number of its files. */
  readonly stamp: string;
}

/** First line of a cache file, as JSON, beside what the content is; the content follows. */
interface Header extends CacheKey {
  readonly format: 3;
  readonly sha256: string;
}

type Part = Uint8Array | Int32Array;

const LARGEST_HEADER = 16 * 2 ** 20;

/** The folder caches live in. Of the environment alone: asking the system takes a permission more. */
export function cacheFolder(): string {
  const { SECATEUR_CACHE, XDG_CACHE_HOME, HOME } = process.env;
  if (SECATEUR_CACHE) return SECATEUR_CACHE;
  return join(XDG_CACHE_HOME || join(HOME || tmpdir(), ".cache"), "secateur");
}

function pathOf(source: string): string {
  const digest = createHash("sha256").update(source).digest("hex").slice(0, 32);
  return join(cacheFolder(), "pictures", `${digest}.bin`);
}

function bytesOf(array: Part): Buffer {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength);
}

function checksum(description: string, parts: readonly Part[]): string {
  const hash = createHash("sha256").update(description);
  for (const part of parts) hash.update(bytesOf(part));
  return hash.digest("hex");
}

/** Something kept of a source: current if the source still has this stamp. */
interface Kept<Description> extends Pick<CacheKey, "stamp"> {
  readonly description: Description;
  readonly parts: readonly Part[];
}

/**
 * What is kept of a source, or undefined when there is nothing that is whole. `allocate` makes room
 * for content of a description.
 */
async function readKept<Description>(
  source: string,
  allocate: (description: Description) => readonly Part[],
): Promise<Kept<Description> | undefined> {
  try {
    const file = await open(pathOf(source), "r");
    try {
      const lead = Buffer.alloc(8);
      await file.read(lead, 0, 8, 0);
      const length = Number(lead.readBigUInt64LE());
      if (length > LARGEST_HEADER) return undefined;
      const text = Buffer.alloc(length);
      await file.read(text, 0, length, 8);
      const { description, ...header } = JSON.parse(text.toString()) as
        & Header
        & { readonly description: Description };
      if (header.format !== 3 || header.source !== source) return undefined;
      const parts = allocate(description);
      let at = 8 + length;
      if ((await file.stat()).size !== parts.reduce((sum, part) => sum + part.byteLength, at)) {
        return undefined;
      }
      for (const part of parts) {
        await readFully(file, bytesOf(part), at);
        at += part.byteLength;
      }
      if (checksum(JSON.stringify(description), parts) !== header.sha256) return undefined;
      return { stamp: header.stamp, description, parts };
    } finally {
      await file.close();
    }
  } catch {
    // A cache that is missing, unreadable or damaged only costs reading the pictures again.
    return undefined;
  }
}

async function readFully(file: FileHandle, into: Buffer, at: number): Promise<void> {
  for (let done = 0; done < into.length;) {
    const length = Math.min(into.length - done, 2 ** 26);
    const { bytesRead } = await file.read(into, done, length, at + done);
    if (bytesRead === 0) throw new Error("the cache file ends early");
    done += bytesRead;
  }
}

/** Keeps something of a source. Not being able to is no error. */
async function writeKept(
  key: CacheKey,
  description: unknown,
  parts: readonly Part[],
): Promise<boolean> {
  const header: Header = {
    format: 3,
    ...key,
    sha256: checksum(JSON.stringify(description), parts),
  };
  const text = Buffer.from(JSON.stringify({ ...header, description }));
  const lead = Buffer.alloc(8);
  lead.writeBigUInt64LE(BigInt(text.length));
  try {
    const path = pathOf(key.source);
    await makeFolder(dirname(path));
    await writeFileAtomic(path, Buffer.concat([lead, text, ...parts.map(bytesOf)]));
    return true;
  } catch {
    return false;
  }
}

/** What is known of decoded pictures beside their bytes. */
type DatasetDescription = Pick<Dataset, "name" | "count" | "height" | "width"> & {
  readonly classes: string[];
  readonly skipped: SkippedPicture[];
};

/** A decoded data set that was kept. */
export interface Cached extends Pick<CacheKey, "stamp"> {
  readonly dataset: Dataset;
}

/** The data set kept of a source, or undefined when there is none that is whole. */
export async function readCached(source: string): Promise<Cached | undefined> {
  const kept = await readKept<DatasetDescription>(
    source,
    ({ count, height, width, name }) => [
      allocatePixels(count, height, width, name),
      new Int32Array(count),
    ],
  );
  if (kept === undefined) return undefined;
  const { skipped, ...description } = kept.description;
  const [pixels, labels] = kept.parts as [Uint8Array, Int32Array];
  const whole = { ...description, channels: 3, pixels, labels } as const;
  return { stamp: kept.stamp, dataset: skipped.length > 0 ? { ...whole, skipped } : whole };
}

/** Above this, decoding again costs less than the disk. */
const LARGEST_CACHED = 2 ** 30;

/** Keeps a decoded data set; true when it was written. Not being able to is no error. */
export async function writeCached(key: CacheKey, dataset: Dataset): Promise<boolean> {
  const { name, count, height, width, pixels, labels } = dataset;
  if (pixels.length > LARGEST_CACHED) return false;
  const description: DatasetDescription = {
    name,
    count,
    height,
    width,
    classes: [...dataset.classes],
    skipped: [...dataset.skipped ?? []],
  };
  return await writeKept(key, description, [pixels, labels]);
}

/** What is known of pictures that are decoded when they are needed. */
export interface Measures {
  /** Of all after scaling and cropping. */
  readonly size: Extent;
  /** `[count, 2]`: width and height of each as it is. */
  readonly extents: Int32Array;
  /** Those that cannot be read. */
  readonly unread: readonly SkippedPicture[];
}

/** Measures of a source and files of so many pictures that are kept under its stamp. */
export async function readMeasures(
  { source, stamp }: CacheKey,
  count: number,
): Promise<Measures | undefined> {
  const kept = await readKept<Omit<Measures, "extents">>(
    `${source}\0measures`,
    () => [new Int32Array(count * 2)],
  );
  if (kept?.stamp !== stamp) return undefined;
  return { ...kept.description, extents: kept.parts[0] as Int32Array };
}

/** Keeps measures. Not being able to is no error. */
export async function writeMeasures(
  { source, stamp }: CacheKey,
  { extents, ...description }: Measures,
): Promise<void> {
  await writeKept({ source: `${source}\0measures`, stamp }, description, [extents]);
}
