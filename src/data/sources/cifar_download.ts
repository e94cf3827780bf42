/** CIFAR-10 from its author's page, fetched only when asked for. */
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { reasonOf, SecateurError } from "../../errors.ts";
import {
  besideOf,
  makeFolder,
  outliveFileSizeLimit,
  sweepUnfinished,
  unwritable,
} from "../../formats/atomic.ts";
import type { RunOptions } from "../../progress.ts";
import { cacheFolder } from "../pictures/cache.ts";
import { download } from "./download.ts";
import { indexTar } from "../stores/tar.ts";

const ARCHIVE = "cifar-10-binary.tar.gz";
const FOLDER = "cifar-10-batches-bin";

export interface CifarDownloadOptions extends RunOptions {
  /** Where the archive is; SECATEUR_CIFAR10_URL, else the author's page. */
  readonly url?: string;
  /** The archive's MD5, as the author publishes it. */
  readonly md5?: string;
}

/** Where CIFAR-10 is kept unless a folder is named. */
export function defaultCifarFolder(): string {
  return join(cacheFolder(), "cifar10");
}

/** Milliseconds after which what was being unpacked is nobody's: others may be at it right now. */
const ABANDONED = 3_600_000;

/** Unpacks the batch files of the archive into `target`, which must not exist. */
async function unpack(archive: string, target: string): Promise<void> {
  const beside = besideOf(target), tar = besideOf(`${target}.tar`);
  outliveFileSizeLimit();
  await sweepUnfinished(dirname(target), ABANDONED);
  try {
    await pipeline(createReadStream(archive), createGunzip(), createWriteStream(tar));
    await mkdir(beside);
    const file = await open(tar, "r");
    try {
      for (const entry of await indexTar(file, archive)) {
        const name = /(?:^|\/)([a-z0-9_.]+\.(?:bin|txt))$/.exec(entry.path)?.[1];
        if (entry.kind !== "file" || name === undefined || entry.size === 0) continue;
        const { offset: start, size } = entry;
        await pipeline(
          createReadStream(tar, { start, end: start + size - 1 }),
          createWriteStream(join(beside, name)),
        );
      }
    } finally {
      await file.close();
    }
    await rename(beside, target);
  } catch (error) {
    if (error instanceof SecateurError) throw error;
    if ((error as NodeJS.ErrnoException).code?.startsWith("Z_")) {
      const sentence = `Expected a gzip archive in ${archive}, but ${reasonOf(error)}; remove it.`;
      throw new SecateurError("format-corrupt", sentence, { cause: error });
    }
    throw unwritable(target, error);
  } finally {
    await rm(tar, { force: true });
    await rm(beside, { recursive: true, force: true });
  }
}

/**
 * Makes sure that CIFAR-10's binary files are in `folder`: fetches the archive (170 MB, going on
 * where an earlier try stopped), checks it and unpacks it. Does nothing when they are there.
 * @throws SecateurError `network-failed`, `file-unwritable`, `format-corrupt` or `cancelled`.
 */
export async function downloadCifar10(
  folder: string,
  options: CifarDownloadOptions = {},
): Promise<void> {
  const target = join(folder, FOLDER);
  const present = await readdir(target).catch((): string[] => []);
  if (present.includes("test_batch.bin")) return;
  const url = options.url ?? process.env.SECATEUR_CIFAR10_URL ??
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz";
  await makeFolder(folder);
  const archive = join(folder, ARCHIVE);
  await download(url, archive, {
    md5: options.md5 ?? "c32a1d4ab5d03f1284b67883e8d87530",
    largest: 2 ** 28,
    signal: options.signal,
    onProgress: options.onProgress,
  });
  await unpack(archive, target);
  await rm(archive);
}
