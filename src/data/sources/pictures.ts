/**
 * Pictures without classes, for objectives that need none: all files of a folder, its subfolders, a tar,
 * or those that a pattern names. Each is scaled until it covers what the model takes, and its middle is
 * taken. Every fifth, by path, is for reporting; the others are to learn from.
 */

import { dirname } from "node:path";
import { reasonOf, SecateurError } from "../../errors.ts";
import { quoted } from "../../formats/bytes.ts";
import { type RunOptions, stopIfAsked } from "../../progress.ts";
import { basename } from "../../std.ts";
import { allocatePixels, type Dataset, type SkippedPicture } from "../dataset.ts";
import { PictureDecoder } from "../pictures/decode.ts";
import type { Extent, View } from "../pictures/geometry.ts";
import { viewOf } from "../pictures/resample.ts";
import { openStore } from "../stores/picture_store.ts";

export interface PicturesOptions extends RunOptions {
  /** What the model takes. */
  readonly extent: Extent;
  /** Only the first, by path. */
  readonly limit?: number;
  /** Refuse a file that cannot be read as a picture instead of leaving it out. */
  readonly strict?: boolean;
}

/** The only class of pictures that have none. */
const NO_CLASS = "pictures";

const PICTURE_NAME = /\.(jpe?g|png|webp)$/i;
const REPORTED = 5;

/** Whether pictures have classes. */
export const hasClasses = ({ classes }: Pick<Dataset, "classes">): boolean =>
  classes.length !== 1 || classes[0] !== NO_CLASS;

/** A path as a folder or tar, and which of the files in it are meant. */
function placeOf(path: string): { root: string; matches: (file: string) => boolean } {
  if (!/[*?]/.test(path)) return { root: path, matches: () => true };
  let root = dirname(path);
  while (/[*?]/.test(root)) root = dirname(root);
  const rest = path.slice(root === "." && !path.startsWith("./") ? 0 : root.length)
    .replace(/^\.?[/\\]/, "");
  const pattern = rest.replaceAll(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll(
      /\*\*\/?|\*|\?/g,
      (found) => found.startsWith("**") ? ".*" : found === "*" ? "[^/]*" : "[^/]",
    );
  const expression = new RegExp(`^${pattern}$`);
  return { root, matches: (file) => expression.test(file) };
}

/** The middle of a picture, scaled so that it covers an extent. */
export function coveringView(picture: Extent, { width, height }: Extent): View {
  const factor = Math.max(width / picture.width, height / picture.height);
  const scaled = {
    width: Math.max(width, Math.round(picture.width * factor)),
    height: Math.max(height, Math.round(picture.height * factor)),
  };
  return {
    part: { left: 0, top: 0, width: picture.width, height: picture.height },
    scaled,
    window: {
      left: Math.floor((scaled.width - width) / 2),
      top: Math.floor((scaled.height - height) / 2),
      width,
      height,
    },
    mirrored: false,
  };
}

/**
 * One part of the pictures, decoded, in order of path; all have the label 0 of one class that stands
 * for none.
 * @throws SecateurError what openStore throws; `data-empty` where nothing is a picture,
 * `image-unreadable` when `strict`, `option-invalid` where they do not fit in memory.
 */
export async function readPictures(
  path: string,
  split: "train" | "test",
  { extent, limit = Infinity, strict = false, signal, onProgress }: PicturesOptions,
): Promise<Dataset> {
  const { root, matches } = placeOf(path);
  const store = await openStore(root, signal ? { signal } : {});
  const all = store.files.filter((file) => PICTURE_NAME.test(file) && matches(file)).sort();
  const chosen = all.slice(0, limit).filter((_, index) =>
    (index % REPORTED === REPORTED - 1) === (split === "test")
  );
  const name = `${basename(path)} ${split}`;
  if (chosen.length === 0) {
    throw new SecateurError(
      "data-empty",
      `Expected at least ${REPORTED} pictures (JPEG, PNG or WebP) in ${quoted(path)}, but there ` +
        `${all.length === 1 ? "is" : "are"} ${all.length}; check the path.`,
    );
  }
  const { width, height } = extent, bytes = width * height * 3;
  const pixels = allocatePixels(chosen.length, height, width, name);
  const skipped: SkippedPicture[] = [];
  const decoder = new PictureDecoder();
  const files = await store.open();
  let count = 0;
  try {
    for (const [index, file] of chosen.entries()) {
      stopIfAsked(signal);
      try {
        const picture = await decoder.decode(await files.read(file));
        pixels.set(viewOf(picture, coveringView(picture, extent)), count * bytes);
        count += 1;
      } catch (thrown) {
        const reason = reasonOf(thrown);
        if (strict) {
          throw new SecateurError("image-unreadable", `Cannot read ${quoted(file)}: ${reason}.`);
        }
        skipped.push({ path: file, reason });
      }
      onProgress?.({
        stage: "reading pictures",
        done: index + 1,
        total: chosen.length,
        unit: "pictures",
      });
    }
  } finally {
    await files.close();
  }
  if (count === 0) {
    throw new SecateurError(
      "data-empty",
      `None of the ${chosen.length} files of ${quoted(path)} can be read as a picture: ${
        skipped[0].reason
      }.`,
    );
  }
  return {
    name,
    height,
    width,
    channels: 3,
    count,
    labels: new Int32Array(count),
    classes: [NO_CLASS],
    pixels: pixels.subarray(0, count * bytes),
    ...(skipped.length > 0 ? { skipped } : {}),
  };
}
