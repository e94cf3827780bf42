/**
 * Decoded pictures kept for the next run, in a folder of our own and never beside the source:
 * `SECATEUR_CACHE`, else `$XDG_CACHE_HOME/secateur`, else `~/.cache/secateur`.
 *
 * One file per source and way of reading it; a source that changed replaces its file. Every file
 * carries a stamp of its source and a checksum of its content: one that fails either is ignored.
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { makeFolder, sweepUnfinished, writeFileAtomic } from "../../formats/atomic.ts";
import { allocatePixels, type Dataset, type SkippedPicture } from "../dataset.ts";

/** Which decoded data set is meant. */
export interface CacheKey {
  /** What is read and how: source, split, size. Names the file. */
  readonly source: string;
  /** Changes whenever the source does: sizes, times and number of its files. */
  readonly stamp: string;
}

/** First line of a cache file, as JSON; pixels and then labels follow. */
interface Header {
  readonly format: 2;
  readonly source: string;
  readonly stamp: string;
  readonly sha256: string;
  readonly name: string;
  readonly count: number;
  readonly height: number;
  readonly width: number;
  readonly classes: string[];
  readonly skipped: SkippedPicture[];
}

const LARGEST_HEADER = 16 * 2 ** 20;

/** The folder caches live in. */
export function cacheFolder(): string {
  const named = process.env.SECATEUR_CACHE;
  if (named) return named;
  return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "secateur");
}

function pathOf(source: string): string {
  const digest = createHash("sha256").update(source).digest("hex").slice(0, 32);
  return join(cacheFolder(), "pictures", `${digest}.bin`);
}

function bytesOf(array: Uint8Array | Int32Array): Buffer {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength);
}

function checksum(pixels: Uint8Array, labels: Int32Array): string {
  return createHash("sha256").update(bytesOf(pixels)).update(bytesOf(labels)).digest("hex");
}

/** What is kept of a source: current if the source still has this stamp. */
export interface Cached extends Pick<CacheKey, "stamp"> {
  readonly dataset: Dataset;
}

/** The data set kept of a source, or undefined when there is none that is whole. */
export async function readCached(source: string): Promise<Cached | undefined> {
  try {
    const file = await open(pathOf(source), "r");
    try {
      const lead = Buffer.alloc(8);
      await file.read(lead, 0, 8, 0);
      const length = Number(lead.readBigUInt64LE());
      if (length > LARGEST_HEADER) return undefined;
      const text = Buffer.alloc(length);
      await file.read(text, 0, length, 8);
      const header = JSON.parse(text.toString()) as Header;
      if (header.format !== 2 || header.source !== source) return undefined;
      const { stamp, name, count, height, width, classes, skipped } = header;
      const expected = 8 + length + count * (height * width * 3 + 4);
      if ((await file.stat()).size !== expected) return undefined;
      const pixels = allocatePixels(count, height, width, name);
      const labels = new Int32Array(count);
      await readFully(file, bytesOf(pixels), 8 + length);
      await readFully(file, bytesOf(labels), 8 + length + pixels.length);
      if (checksum(pixels, labels) !== header.sha256) return undefined;
      const whole = { name, height, width, channels: 3, count, pixels, labels, classes } as const;
      return { stamp, dataset: skipped.length > 0 ? { ...whole, skipped } : whole };
    } finally {
      await file.close();
    }
  } catch {
    // A cache that is missing, unreadable or damaged only costs decoding again.
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

/** Above this, decoding again costs less than the disk. */
const LARGEST_CACHED = 2 ** 30;

/** Milliseconds after which an unfinished file is nobody's: other runs write to this folder too. */
const ABANDONED = 3_600_000;

/** Keeps a decoded data set; true when it was written. Not being able to is no error. */
export async function writeCached(key: CacheKey, dataset: Dataset): Promise<boolean> {
  const { name, count, height, width, pixels, labels } = dataset;
  if (pixels.length > LARGEST_CACHED) return false;
  const header: Header = {
    format: 2,
    ...key,
    sha256: checksum(pixels, labels),
    name,
    count,
    height,
    width,
    classes: [...dataset.classes],
    skipped: [...dataset.skipped ?? []],
  };
  const text = Buffer.from(JSON.stringify(header));
  const lead = Buffer.alloc(8);
  lead.writeBigUInt64LE(BigInt(text.length));
  try {
    const path = pathOf(key.source);
    await makeFolder(dirname(path));
    await sweepUnfinished(dirname(path), ABANDONED);
    await writeFileAtomic(path, Buffer.concat([lead, text, bytesOf(pixels), bytesOf(labels)]));
    return true;
  } catch {
    return false;
  }
}
