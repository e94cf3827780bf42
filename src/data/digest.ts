import { createHash } from "node:crypto";
import { contentOf, type PictureSet } from "./dataset.ts";

const known = new WeakMap<PictureSet, string>();

/** A digest of pictures, labels and classes, 64 hexadecimal digits; taken once a set. */
export function digestOfPictures(pictures: PictureSet): string {
  const before = known.get(pictures);
  if (before !== undefined) return before;
  const { name, count, height, width, classes, labels } = pictures;
  const digest = createHash("sha256").update(JSON.stringify([name, count, height, width, classes]))
    .update(contentOf(pictures)).update(labels).digest("hex");
  known.set(pictures, digest);
  return digest;
}
