/** The folder a command writes to, looked at before any work starts. */

import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, rmdir, unlink, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { unwritable } from "../../formats/atomic.ts";
import type { Console } from "./console.ts";

/**
 * Makes sure that files can be written to a folder, leaving nothing behind: a folder that was not
 * there is not there afterwards, so that a command refused later has written nothing.
 * @throws SecateurError `file-unwritable`.
 */
export async function requireWritable(folder: string): Promise<void> {
  try {
    const first = await mkdir(folder, { recursive: true });
    const probe = join(folder, `.${randomUUID()}.tmp`);
    try {
      await writeFile(probe, "", { flag: "wx" });
      await unlink(probe);
    } finally {
      if (first !== undefined) await removeFolders(resolve(folder), resolve(first));
    }
  } catch (thrown) {
    throw unwritable(folder, thrown);
  }
}

/** Removes empty folders from the innermost up to the first that was made. */
async function removeFolders(innermost: string, first: string): Promise<void> {
  for (let folder = innermost;; folder = dirname(folder)) {
    await rmdir(folder);
    if (folder === first) return;
  }
}

/** Says so where --resume finds no checkpoint: a mistyped folder would else start hours anew. */
export function warnOfNothing(checkpoint: string, console: Console): void {
  if (existsSync(checkpoint)) return;
  console.warn(`There is nothing to resume in ${dirname(checkpoint)}; the run starts anew.`);
}
