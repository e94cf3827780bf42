/** Pictures of an image folder decoded each time they are needed, so that any number will do. */
import { createHash } from "node:crypto";
import { reasonOf, SecateurError } from "../../errors.ts";
import { quotedPath } from "../../formats/bytes.ts";
import { type FolderPictures, stopped } from "./folder_reading.ts";
import type { Draw, PictureSource } from "../dataset.ts";
import { PictureDecoder } from "../pictures/decode.ts";
import { centredView, type Extent, randomView, type View } from "../pictures/geometry.ts";
import type { OpenStore } from "../stores/store.ts";
import { viewOf } from "../pictures/resample.ts";

/** Pictures decoded at once: sharp's threads stay busy, and no more pictures lie in memory whole. */
const CONCURRENT = 8;

/**
 * A source that decodes the folder's pictures. `stamp` changes when any does, `extents` [count, 2]
 * holds width and height of each, `size` is what all have after scaling and cropping.
 */
export function streamFolder(
  folder: FolderPictures,
  stamp: string,
  extents: Int32Array,
  size: Extent,
): PictureSource {
  const { store, paths, framing } = folder;
  const decoder = new PictureDecoder();
  const identity = createHash("sha256")
    .update(JSON.stringify([store.identity, stamp, framing, paths.length])).digest("hex");

  const viewAt = (position: number, draw: Draw | undefined, index: number): View => {
    const extent = { width: extents[position * 2], height: extents[position * 2 + 1] };
    return draw === undefined
      ? centredView(extent, framing)!
      : randomView(extent, size, draw.seed, draw.epoch, index);
  };

  const readOne = async (files: OpenStore, position: number, draw: Draw | undefined, i: number) => {
    const { path } = paths[position];
    try {
      const picture = await decoder.decode(await files.read(path));
      const view = viewAt(position, draw, draw?.indices[i] ?? 0);
      if (picture.width !== extents[position * 2] || picture.height !== extents[position * 2 + 1]) {
        throw new Error("it has another size");
      }
      return viewOf(picture, view);
    } catch (error) {
      throw new SecateurError(
        "image-unreadable",
        `Cannot read ${quotedPath(path)} of ${store.name}: ${
          reasonOf(error)
        }, though it could be ` +
          `read when the folder was opened; start again to go on without it.`,
        { cause: error },
      );
    }
  };

  return {
    identity,
    async read(positions, draw, signal) {
      const bytes = size.width * size.height * 3;
      const out = new Uint8Array(positions.length * bytes);
      const files = await store.open();
      let next = 0;
      const work = async (): Promise<void> => {
        while (next < positions.length) {
          const i = next++;
          if (signal?.aborted) throw stopped(store);
          out.set(await readOne(files, positions[i], draw, i), i * bytes);
        }
      };
      const ends = await Promise.allSettled(
        Array.from({ length: CONCURRENT }, () =>
          work().catch((error) => {
            next = positions.length;
            throw error;
          })),
      );
      await files.close();
      for (const end of ends) if (end.status === "rejected") throw end.reason;
      return out;
    },
  };
}
