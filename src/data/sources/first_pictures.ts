/** Which files of the class folders are to be read. */
import { reasonOf } from "../../errors.ts";
import type { SkippedPicture } from "../dataset.ts";
import { foreignReason, HEAD_BYTES, kindOf } from "../pictures/kind.ts";
import type { OpenStore, PictureStore } from "../stores/store.ts";
import type { LabelledPath } from "./class_folders.ts";

/** Names of files that are looked into only when they are read. */
const PICTURE_NAME = /\.(jpe?g|png|webp)$/i;

/** Files to be read as pictures, and those already known to be none. */
export interface Chosen {
  readonly pictures: readonly LabelledPath[];
  readonly leftOut: readonly SkippedPicture[];
}

/** Why a file is no picture, by its first bytes; undefined where it may be one. */
async function reasonAgainst(files: OpenStore, path: string): Promise<string | undefined> {
  try {
    const head = await files.head(path, HEAD_BYTES);
    return kindOf(head) === undefined ? foreignReason(head) : undefined;
  } catch (error) {
    return reasonOf(error);
  }
}

/**
 * Leaves out what cannot be opened and, where `limit` is given, all but the first pictures of each
 * class: files with other names than pictures have count only where their first bytes are a
 * picture's.
 */
export async function firstOfEachClass(
  store: PictureStore,
  paths: readonly LabelledPath[],
  limit = Infinity,
): Promise<Chosen> {
  const pictures: LabelledPath[] = [];
  const leftOut: SkippedPicture[] = [];
  const counts = new Map<number, number>();
  const files = await store.open();
  try {
    for (const labelled of paths) {
      const { path, label } = labelled;
      const count = counts.get(label) ?? 0;
      if (count >= limit) continue;
      let reason = store.unreadable.get(path);
      if (reason === undefined && limit < Infinity && !PICTURE_NAME.test(path)) {
        reason = await reasonAgainst(files, path);
      }
      if (reason !== undefined) {
        leftOut.push({ path, reason });
      } else {
        counts.set(label, count + 1);
        pictures.push(labelled);
      }
    }
  } finally {
    await files.close();
  }
  return { pictures, leftOut };
}
