/** Reading whole files with errors a user can act on. */

import { readFile, stat } from "node:fs/promises";
import { reasonOf, SecateurError } from "../errors.ts";

/** What one read returns at most; larger single files are not what this program prunes. */
const LARGEST_FILE = 2 ** 31 - 1;

/** The system's code of a failed call ("ENOENT"), if it has one. */
export function systemCode(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || !("code" in thrown)) return undefined;
  return typeof thrown.code === "string" ? thrown.code : undefined;
}

/**
 * The bytes of a regular file. `what` names what was expected there, for the sentence of an error:
 * "a checkpoint", "a plan".
 * @throws SecateurError `file-missing`, or `file-unreadable` for a folder, a device, a file of 2 GiB
 * or more, or one that may not be read.
 */
export async function readFileBytes(path: string, what: string): Promise<Uint8Array> {
  try {
    const status = await stat(path);
    if (status.isDirectory()) {
      throw unreadable(path, `expected ${what}, but this is a folder; name a file in it`);
    }
    // A device or pipe has no size to check lengths against and may never end.
    if (!status.isFile()) {
      throw unreadable(path, `expected ${what}, but this is not a regular file; name one`);
    }
    if (status.size > LARGEST_FILE) {
      throw unreadable(
        path,
        `expected ${what} of less than 2 GiB, but this has ${status.size} bytes; split it`,
      );
    }
    return await readFile(path);
  } catch (thrown) {
    if (thrown instanceof SecateurError) throw thrown;
    const code = systemCode(thrown);
    if (code === "ENOENT" || code === "ENOTDIR") {
      throw new SecateurError(
        "file-missing",
        `${path}: expected ${what}, but there is no such file; check the path.`,
        { cause: thrown },
      );
    }
    throw unreadable(path, `expected ${what}, but it cannot be read (${reasonOf(thrown)})`, thrown);
  }
}

function unreadable(path: string, finding: string, cause?: unknown): SecateurError {
  return new SecateurError("file-unreadable", `${path}: ${finding}.`, { cause });
}
