/**
 * Writing files so that a reader sees the old content or the new, never a part: the new content
 * is written beside the target, flushed, and renamed over it.
 */

import { mkdir, open, readdir, realpath, rename, rm, stat, unlink } from "node:fs/promises";
import { randomUUID } from "node:crypto";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { reasonOf, SecateurError } from "../errors.ts";
import { systemCode } from "./file.ts";

/**
 * Writes a whole file, or nothing. The folder must exist (see makeFolder). A target that is a
 * symbolic link is followed; one that is a device or a pipe is written to directly.
 * @throws SecateurError `file-unwritable` when the folder is missing, permission is denied, or the
 * disk, quota or file-size limit is exceeded; what was written beside is removed again.
 */
export async function writeFileAtomic(path: string, content: Uint8Array | string): Promise<void> {
  outliveFileSizeLimit();
  try {
    const target = await writeTarget(path);
    if (target.special) return await writeWhole(target.path, content, "w");
    const beside = besideOf(target.path);
    try {
      await writeWhole(beside, content, "wx");
      await rename(beside, target.path);
    } catch (thrown) {
      await unlink(beside).catch(() => undefined); // not there when opening it is what failed
      throw thrown;
    }
  } catch (thrown) {
    throw unwritable(path, thrown);
  }
}

/** A path for what is not finished, in the folder of its target; `sweepUnfinished` knows its kind. */
export function besideOf(target: string): string {
  return join(dirname(target), `.${basename(target)}.${randomUUID()}.tmp`);
}

const UNFINISHED =
  /^\..+\.[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.tmp$/;

/**
 * Removes what writers that were killed left in a folder: files and folders named by `besideOf` that
 * were last written to at least `age` milliseconds ago. To be called with no age where nobody else
 * may be writing. What cannot be removed stays.
 */
export async function sweepUnfinished(folder: string, age = 0): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names.filter((each) => UNFINISHED.test(each))) {
    const path = join(folder, name);
    const status = await stat(path).catch(() => undefined);
    if (status === undefined || Date.now() - status.mtimeMs < age) continue;
    await rm(path, { recursive: true, force: true }).catch(() => undefined);
  }
}

/**
 * Creates a folder and the folders above it; one that exists is left as it is.
 * @throws SecateurError `file-unwritable`.
 */
export async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (thrown) {
    throw unwritable(path, thrown);
  }
}

/** Where the bytes really go, and whether that is a device or pipe, which has no "beside". */
async function writeTarget(path: string): Promise<{ path: string; special: boolean }> {
  let status;
  try {
    status = await stat(path);
  } catch (thrown) {
    if (systemCode(thrown) === "ENOENT") return { path, special: false };
    throw thrown;
  }
  if (status.isDirectory()) throw new Error("it is a folder");
  return status.isFile() ? { path: await realpath(path), special: false } : { path, special: true };
}

async function writeWhole(path: string, content: Uint8Array | string, flags: string) {
  const handle = await open(path, flags);
  try {
    await handle.writeFile(content);
    // A full disk may show only here. Devices and pipes cannot be flushed, and need not be.
    if (flags !== "w") await handle.sync();
  } finally {
    await handle.close();
  }
}

let outlives = false;

/**
 * A write past the file-size limit raises SIGXFSZ, which ends a process that does not handle it
 * before the error can be reported. From here on this process handles it; the CLI calls this
 * first, since the runtime writes caches of its own. The handler does not keep a process alive.
 */
export function outliveFileSizeLimit(): void {
  if (outlives) return;
  outlives = true;
  process.on("SIGXFSZ", () => undefined);
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: "permission is denied",
  EPERM: "permission is denied",
  EROFS: "the file system is read-only",
  ENOENT: "its folder does not exist",
  ENOTDIR: "a part of the path is not a folder",
  EEXIST: "a file of that name is in the way",
  EISDIR: "it is a folder",
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  EFBIG: "it would exceed the file-size limit",
  ENAMETOOLONG: "the name is too long",
};

const ADVICE = "nothing was kept, so make room or choose another place";

/** What a failed write became, in words. */
export function reasonInWords(thrown: unknown): string {
  return REASONS[systemCode(thrown) ?? ""] ?? reasonOf(thrown);
}

/** What a failed write to `path` becomes: one sentence with the reason in words. */
export function unwritable(path: string, thrown: unknown, advice: string = ADVICE): SecateurError {
  return new SecateurError(
    "file-unwritable",
    `${path}: expected to write here, but ${reasonInWords(thrown)}; ${advice}.`,
    { cause: thrown },
  );
}
