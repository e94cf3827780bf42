/** Where an image folder's files are: a directory, or a tar archive read without unpacking. */
import { stat } from "node:fs/promises";
import { reasonOf, SecateurError } from "../../errors.ts";
import type { RunOptions } from "../../progress.ts";
import { openFolderStore } from "./folder_store.ts";
import type { PictureStore } from "./store.ts";
import { openTarStore } from "./tar_store.ts";

/**
 * Opens a directory or a `.tar`.
 * @throws SecateurError `file-missing`, `file-unreadable`, `format-unknown`, `format-corrupt` or
 * `cancelled`.
 */
export async function openStore(
  path: string,
  options: RunOptions = {},
): Promise<PictureStore> {
  const status = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw error.code === "ENOENT" || error.code === "ENOTDIR"
      ? new SecateurError(
        "file-missing",
        `Expected an image folder (a directory or a .tar) at ${path}, but nothing is there; ` +
          `check the path.`,
      )
      : new SecateurError("file-unreadable", `Cannot read ${path}: ${reasonOf(error)}.`);
  });
  try {
    return status.isDirectory()
      ? await openFolderStore(path, options)
      : await openTarStore(path, status, options);
  } catch (error) {
    if (error instanceof SecateurError) throw error;
    throw new SecateurError("file-unreadable", `Cannot read ${path}: ${reasonOf(error)}.`);
  }
}
