/** The folder a command writes to, made sure of before any work starts. */

import { existsSync } from "node:fs";
import { mkdir, readFile, rmdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { setTimeout } from "node:timers/promises";
import { SecateurError } from "../../errors.ts";
import { sweepUnfinished, unwritable } from "../../formats/atomic.ts";
import { FileLock } from "../../formats/file_lock.ts";
import type { Console } from "./console.ts";

/** Names the process that writes to a folder, for as long as it does. */
const LOCK = ".secateur.lock";

/** Milliseconds between two looks whether another run has ended. */
const LOOK = 200;

/** Folders below that commands keep things in. */
const ROOMS = ["", "run"];

/**
 * An output folder that no other run writes to while this one does. The lock is the kernel's, so it
 * ends with its process however that ends: a lock file left by a killed run holds nobody up.
 */
export class OutputFolder implements AsyncDisposable {
  readonly #folder: string;
  /** The outermost folder that had to be made; undefined where all were there. */
  readonly #made: string | undefined;
  readonly #lock: FileLock;

  private constructor(folder: string, made: string | undefined, lock: FileLock) {
    this.#folder = folder;
    this.#made = made;
    this.#lock = lock;
  }

  /**
   * Makes the folder if need be, makes sure that it can be written to and that nobody else does, and
   * clears away what killed runs left unfinished. Another run is waited for up to `patience` seconds.
   * @throws SecateurError `file-unwritable`; another run's process and start are in the sentence.
   */
  static async claim(folder: string, patience = 0): Promise<OutputFolder> {
    let made: string | undefined;
    try {
      made = await mkdir(folder, { recursive: true });
      const lock = await lockIn(folder, performance.now() + 1000 * patience);
      for (const room of ROOMS) await sweepUnfinished(join(folder, room));
      return new OutputFolder(resolve(folder), made && resolve(made), lock);
    } catch (thrown) {
      if (made !== undefined) await removeEmpty(resolve(folder), resolve(made));
      if (thrown instanceof SecateurError) throw thrown;
      throw unwritable(folder, thrown);
    }
  }

  /**
   * Lets others write. A folder that was made and has stayed empty goes too, so that a command
   * refused after claiming it has written nothing.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lock[Symbol.asyncDispose]();
    if (this.#made !== undefined) await removeEmpty(this.#folder, this.#made);
  }
}

/**
 * Locks a folder, by `deadline` on the clock of `performance`. Throws "file-unwritable" where another
 * process has it still, and what the system throws.
 */
async function lockIn(folder: string, deadline: number): Promise<FileLock> {
  const path = join(folder, LOCK);
  let lock = await FileLock.take(path);
  while (lock === undefined && performance.now() < deadline) {
    await setTimeout(LOOK);
    lock = await FileLock.take(path);
  }
  if (lock === undefined) throw await taken(folder, path);
  const mark = { process: process.pid, started: new Date().toISOString() };
  await lock.mark(`${JSON.stringify(mark)}\n`);
  return lock;
}

async function taken(folder: string, path: string): Promise<SecateurError> {
  let who = "another run";
  try {
    const mark = JSON.parse(await readFile(path, "utf8"));
    who = `process ${Number(mark.process)}, which started at ${
      new Date(mark.started).toISOString()
    },`;
  } catch {
    // It has just begun, or just ended.
  }
  return new SecateurError(
    "file-unwritable",
    `${folder}: expected to be the only run that writes here, but ${who} does; wait for it, stop ` +
      `it, or choose another --out.`,
  );
}

/** Removes folders from the innermost up to the first that was made, as far as they are empty. */
async function removeEmpty(innermost: string, first: string): Promise<void> {
  for (let folder = innermost;; folder = dirname(folder)) {
    const removed = await rmdir(folder).then(() => true, () => false);
    if (!removed || folder === first) return;
  }
}

/** Says so where --resume finds no checkpoint: a mistyped folder would else start hours anew. */
export function warnOfNothing(checkpoint: string, console: Console): void {
  if (existsSync(checkpoint)) return;
  console.warn(`There is nothing to resume in ${dirname(checkpoint)}; the run starts anew.`);
}
