/** Labelled pictures in memory, and how their bytes become network inputs. */
import { SecateurError } from "../errors.ts";

/** A picture that could not be read, and why. */
export interface SkippedPicture {
  readonly path: string;
  readonly reason: string;
}

/** Labelled pictures held decoded in memory. */
export interface Dataset {
  /** What it is, for people: "cifar10-jpeg test". */
  readonly name: string;
  readonly height: number;
  readonly width: number;
  readonly channels: 3;
  readonly count: number;
  /** `[count, height, width, 3]`, RGB; backed by a SharedArrayBuffer so that workers read it. */
  readonly pixels: Uint8Array;
  /** `[count]`, each an index into `classes`. */
  readonly labels: Int32Array;
  readonly classes: readonly string[];
  /** Pictures left out because they could not be read. */
  readonly skipped?: readonly SkippedPicture[];
}

/** Per-channel mean and standard deviation of pixels scaled to [0, 1]; the input is (x - mean) / std. */
export interface Normalisation {
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
}

/**
 * Constants in common use. `imagenet` is also what the published CIFAR ResNets of
 * akamaster/pytorch_resnet_cifar10 were trained with; `cifar` holds CIFAR-10's own statistics.
 */
export const normalisations: Readonly<Record<"imagenet" | "cifar", Normalisation>> = {
  imagenet: { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  cifar: { mean: [0.4914, 0.4822, 0.4465], std: [0.2470, 0.2435, 0.2616] },
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
): Uint8Array {
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
      `of memory decoded, more than can be held; choose a smaller size or fewer pictures.`,
  );
}

/** The pictures at `indices`, in that order, copied into a data set of their own. */
export function subset(dataset: Dataset, indices: Int32Array, name: string): Dataset {
  const { height, width } = dataset;
  const size = height * width * 3;
  const pixels = allocatePixels(indices.length, height, width, name);
  const labels = new Int32Array(indices.length);
  for (let i = 0; i < indices.length; i++) {
    const from = indices[i];
    if (from < 0 || from >= dataset.count) {
      throw new RangeError(`picture ${from} of "${dataset.name}", which holds ${dataset.count}`);
    }
    pixels.set(dataset.pixels.subarray(from * size, (from + 1) * size), i * size);
    labels[i] = dataset.labels[from];
  }
  return {
    name,
    height,
    width,
    channels: 3,
    count: indices.length,
    pixels,
    labels,
    classes: dataset.classes,
  };
}
