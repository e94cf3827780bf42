/** Labelled pictures, in memory or read when needed, and how their bytes become network inputs. */
import { SecateurError } from "../errors.ts";

/** A picture that could not be read, and why. */
export interface SkippedPicture {
  readonly path: string;
  readonly reason: string;
}

/** What is known of labelled pictures of one size, wherever their bytes are. */
interface LabelledPictures {
  /** What it is, for people: "cifar10-jpeg test". */
  readonly name: string;
  readonly height: number;
  readonly width: number;
  readonly channels: 3;
  readonly count: number;
  /** `[count]`, each an index into `classes`. */
  readonly labels: Int32Array;
  readonly classes: readonly string[];
  /** Pictures left out because they could not be read. */
  readonly skipped?: readonly SkippedPicture[];
}

/** Labelled pictures held decoded in memory. */
export interface Dataset extends LabelledPictures {
  /** `[count, height, width, 3]`, RGB; backed by a SharedArrayBuffer so that workers read it. */
  readonly pixels: Uint8Array;
}

/** Where a streamed data set's pictures come from. */
export interface PictureSource {
  /** Changes whenever the pictures do; for telling runs apart. */
  readonly identity: string;
  /**
   * Pictures by their place in the source, decoded and cut to size: `[n, height, width, 3]`, RGB.
   * With `draw`, another part of each, as training wants it.
   * @throws SecateurError `image-unreadable`, `file-unreadable`, `cancelled`.
   */
  read(positions: Int32Array, draw?: Draw, signal?: AbortSignal): Promise<Uint8Array>;
}

/** What decides the random part that training takes of a picture. */
export interface Draw {
  readonly seed: number;
  readonly epoch: number;
  /** `[n]`: what each picture's draw is named by. */
  readonly indices: Int32Array;
}

/** Labelled pictures in files, decoded each time they are needed, so that any number will do. */
export interface StreamedDataset extends LabelledPictures {
  readonly source: PictureSource;
  /** `[count]`: places in the source. */
  readonly positions: Int32Array;
}

/** Labelled pictures, wherever they are. */
export type PictureSet = Dataset | StreamedDataset;

export function isLoaded(dataset: PictureSet): dataset is Dataset {
  return "pixels" in dataset;
}

/** A figure for each colour, red, green and blue, or one for grey. */
export type PerColour = readonly [number, number, number] | readonly [number];

/**
 * Mean and standard deviation of pixels scaled to [0, 1]; the input is (x - mean) / std. Colours are
 * always listed red, green, blue; `channels` is the order in which a model takes them. One figure
 * each goes with grey alone.
 */
export interface Normalisation {
  readonly mean: PerColour;
  readonly std: PerColour;
  /** Default rgb. */
  readonly channels?: ChannelOrder;
}

/** Order of the colours in a model's input, or grey where it takes one channel. */
export type ChannelOrder = "rgb" | "bgr" | "grey";

/** How many channels inputs have. */
export function inputChannels({ channels }: Pick<Normalisation, "channels">): 1 | 3 {
  return channels === "grey" ? 1 : 3;
}

/**
 * Constants in common use. `imagenet` is also what the published CIFAR ResNets of
 * akamaster/pytorch_resnet_cifar10 were trained with; `cifar` holds CIFAR-10's own statistics; `grey`
 * takes pixels from -1 to 1.
 */
export const normalisations: Readonly<Record<"imagenet" | "cifar" | "grey", Normalisation>> = {
  imagenet: { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  cifar: { mean: [0.4914, 0.4822, 0.4465], std: [0.2470, 0.2435, 0.2616] },
  grey: { mean: [0.5], std: [0.5], channels: "grey" },
};

/** The most bytes of pixels one data set may hold; above it V8's buffers and most machines give up. */
const LARGEST_PIXEL_BYTES = 4 * 2 ** 30 - 2 ** 16;

/**
 * Zeroed, shareable memory for `count` pictures.
 * @throws SecateurError `option-invalid` when they would not fit in memory.
 */
export function allocatePixels(
  count: number,
  height: number,
  width: number,
  name: string,
): Uint8Array<SharedArrayBuffer> {
  const bytes = count * height * width * 3;
  if (bytes <= LARGEST_PIXEL_BYTES) {
    try {
      return new Uint8Array(new SharedArrayBuffer(bytes));
    } catch {
      // The machine has less than the limit; the sentence below is the same.
    }
  }
  throw new SecateurError(
    "option-invalid",
    `${name}: ${count} pictures of ${width}x${height} need ${(bytes / 2 ** 30).toFixed(1)} GiB ` +
      `of memory decoded, more than can be held; take fewer pictures, such as by --limit or by the ` +
      `option that asks for so many, or smaller ones.`,
  );
}

/** The pixels of loaded pictures at `indices`, copied. */
function pixelsAt(dataset: Dataset, indices: Int32Array, name: string): Uint8Array {
  const { height, width } = dataset;
  const size = height * width * 3;
  const pixels = allocatePixels(indices.length, height, width, name);
  indices.forEach((from, i) => {
    pixels.set(dataset.pixels.subarray(from * size, (from + 1) * size), i * size);
  });
  return pixels;
}

/** The pictures at `indices`, in that order, as a data set of their own. */
export function subset<Kind extends PictureSet>(
  dataset: Kind,
  indices: Int32Array,
  name: string,
): Kind {
  const { skipped: _, ...rest }: PictureSet = dataset;
  for (const index of indices) requireIndex(dataset, index);
  const labels = indices.map((index) => dataset.labels[index]);
  const part = { ...rest, name, count: indices.length, labels };
  if (isLoaded(dataset)) return { ...part, pixels: pixelsAt(dataset, indices, name) } as Kind;
  const { positions } = dataset as StreamedDataset;
  return { ...part, positions: indices.map((index) => positions[index]) } as Kind;
}

/** Throws a RangeError for a picture that is not there. */
export function requireIndex(dataset: PictureSet, index: number): void {
  if (index >= 0 && index < dataset.count) return;
  throw new RangeError(`picture ${index} of "${dataset.name}", which holds ${dataset.count}`);
}

/**
 * The data set in memory: itself, or its pictures read and kept, for those who use them often.
 * @throws SecateurError what reading them throws; `option-invalid` when they do not fit in memory.
 */
export async function loaded(dataset: PictureSet, signal?: AbortSignal): Promise<Dataset> {
  if (isLoaded(dataset)) return dataset;
  const { source, positions, ...rest } = dataset;
  const { name, count, height, width } = dataset;
  const pixels = allocatePixels(count, height, width, name);
  const size = height * width * 3;
  for (let first = 0; first < count; first += PIECE) {
    const piece = positions.subarray(first, first + PIECE);
    pixels.set(await source.read(piece, undefined, signal), first * size);
  }
  return { ...rest, pixels };
}

/** Pictures read at once while a data set is loaded. */
const PIECE = 64;

/** Bytes that change whenever the pictures do. */
export function contentOf(dataset: PictureSet): Uint8Array {
  if (isLoaded(dataset)) return dataset.pixels;
  return new TextEncoder().encode(`${dataset.source.identity}\0${dataset.positions.join()}`);
}
