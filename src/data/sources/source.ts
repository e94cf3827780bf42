/** Naming a data set in one word: where it comes from, and which part. */
import { SecateurError } from "../../errors.ts";
import { readCifar10 } from "./cifar.ts";
import {
  type CifarDownloadOptions,
  defaultCifarFolder,
  downloadCifar10,
} from "./cifar_download.ts";
import { type Dataset, type PictureSet, subset } from "../dataset.ts";
import { framed } from "./framed.ts";
import { generateDataset } from "./generated.ts";
import type { Extent } from "../pictures/geometry.ts";
import { type ImageFolderOptions, readImageFolder } from "./image_folder.ts";
import { readPictures } from "./pictures.ts";

/** How each kind of data is named, for help and messages. */
export const DATA_SPECS = [
  "generated[:SEED]",
  "cifar10:FOLDER",
  "cifar10:download[:FOLDER]",
  "imagefolder:FOLDER_OR_TAR",
  "pictures:FOLDER_OR_TAR_OR_PATTERN",
] as const;

export interface OpenDatasetOptions extends ImageFolderOptions {
  /** Where CIFAR-10 is fetched from, when it is. */
  /** What the model takes, of pictures that are brought to it. */
  readonly extent?: Extent;
  readonly download?: Pick<CifarDownloadOptions, "url" | "md5">;
}

function unknownSpec(spec: string): SecateurError {
  const guess = /^[a-z0-9]+:/.test(spec) ? "" : ` (an image folder would be imagefolder:${spec})`;
  return new SecateurError(
    "option-invalid",
    `Expected data as one of ${DATA_SPECS.join(", ")}, got "${spec}"${guess}.`,
  );
}

function parseSeed(text: string, spec: string): number {
  const seed = Number(text);
  if (text === "" || !Number.isInteger(seed) || seed < 0 || seed > 0xffffffff) {
    throw new SecateurError(
      "option-invalid",
      `Expected a whole number from 0 to 4294967295 after "generated:", got "${spec}".`,
    );
  }
  return seed;
}

/** The first pictures of each class, in the data set's order. */
function firstPerClass(dataset: Dataset, limit: number): Dataset {
  const counts = new Int32Array(dataset.classes.length);
  const first = Int32Array.from(dataset.labels.keys()).filter((index) =>
    counts[dataset.labels[index]]++ < limit
  );
  return first.length === dataset.count ? dataset : subset(dataset, first, dataset.name);
}

/** Pictures that come in one size, limited, scaled and cropped as asked. */
function prepared(
  dataset: Dataset,
  { limitPerClass = Infinity, resize, crop }: OpenDatasetOptions,
): PictureSet {
  return framed(firstPerClass(dataset, limitPerClass), {
    ...(resize === undefined ? {} : { resize }),
    ...(crop === undefined ? {} : { crop }),
  });
}

/**
 * Opens one split of a data set named like `generated:1`, `cifar10:FOLDER` (official binary
 * files), `cifar10:download[:FOLDER]` (fetched first) or `imagefolder:FOLDER_OR_TAR`. Labels,
 * order and bytes are the same every time.
 *
 * `strict` and `cache` apply to image folders, of whose files those that cannot be read as pictures
 * are left out and listed in `skipped` unless `strict`.
 *
 * @throws SecateurError `option-invalid` for a spec it does not know; otherwise what readCifar10,
 * downloadCifar10 and readImageFolder throw.
 */
export async function openDataset(
  spec: string,
  split: "train" | "test",
  options: OpenDatasetOptions = {},
): Promise<PictureSet> {
  const colon = spec.indexOf(":");
  const kind = colon < 0 ? spec : spec.slice(0, colon);
  const rest = colon < 0 ? undefined : spec.slice(colon + 1);
  if (kind === "generated") {
    const seed = rest === undefined ? {} : { seed: parseSeed(rest, spec) };
    return prepared(generateDataset(split, seed), options);
  }
  if (rest === undefined || rest === "") throw unknownSpec(spec);
  if (kind === "pictures") {
    const { extent, limitPerClass: limit, ...others } = options;
    if (extent === undefined) {
      throw new SecateurError(
        "option-invalid",
        `Expected a model whose file says how large its pictures are beside --data ${spec}: give an ` +
          `ONNX file, or one that secateur wrote.`,
      );
    }
    return await readPictures(rest, split, {
      ...others,
      extent,
      ...(limit === undefined ? {} : { limit }),
    });
  }
  if (kind === "imagefolder") return await readImageFolder(rest, split, options);
  if (kind !== "cifar10") throw unknownSpec(spec);
  const download = rest === "download" || rest.startsWith("download:");
  const folder = download ? rest.slice("download:".length) || defaultCifarFolder() : rest;
  const { signal, onProgress } = options;
  if (download) await downloadCifar10(folder, { ...options.download, signal, onProgress });
  return prepared(await readCifar10(folder, split), options);
}
