/**
 * Locks on files: the kernel's, so that one ends with its process however that ends and a lock file
 * that a killed process left behind holds nobody up.
 */

import { unlink } from "node:fs/promises";

/** A lock that is held; its file goes with it. */
export class FileLock implements AsyncDisposable {
  readonly #path: string;
  readonly #file: Deno.FsFile;

  private constructor(path: string, file: Deno.FsFile) {
    this.#path = path;
    this.#file = file;
  }

  /** The lock, or undefined where another process has it. Throws what the system throws. */
  static async take(path: string): Promise<FileLock | undefined> {
    for (;;) {
      const file = await Deno.open(path, { read: true, write: true, create: true });
      try {
        if (!await free(file)) {
          file.close();
          return undefined;
        }
        // The file may have been another's, removed by it between opening and locking.
        const [held, named] = [await file.stat(), await Deno.stat(path).catch(() => undefined)];
        if (named?.ino === held.ino) return new FileLock(path, file);
      } catch (thrown) {
        file.close();
        throw thrown;
      }
      file.close();
    }
  }

  /** Leaves a mark in the file for whoever finds it locked. */
  async mark(text: string): Promise<void> {
    await this.#file.truncate();
    await this.#file.write(new TextEncoder().encode(text));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Before it is unlocked: whoever waits for this file must not find it in place.
    await unlink(this.#path).catch(() => undefined);
    this.#file.close();
  }
}

/** Whether the lock was free; file systems that know no locks cannot refuse any. */
async function free(file: Deno.FsFile): Promise<boolean> {
  try {
    return await file.tryLock(true);
  } catch {
    return true;
  }
}
