import { RandomStream } from "../../random.ts";
import { batchOf } from "./batches.ts";
import { type Dataset, type Normalisation, type PictureSet, subset } from "../dataset.ts";
import { stratifiedSample } from "../split.ts";

/** Pictures ready for an entry of a fixed size. */
export interface CalibrationBatch {
  /** [images, height, width, channels], normalised, not augmented. */
  readonly images: Float32Array;
  /** [images] */
  readonly labels: Int32Array;
}

/**
 * `count` pictures, or all if there are fewer, of every class in proportion and in random order,
 * so that any part of them is a fair sample too. `purpose` names the random stream.
 */
export function calibrationSet<Kind extends PictureSet>(
  dataset: Kind,
  count: number,
  seed: number,
  purpose: string,
): Kind {
  const positions = stratifiedSample(dataset, Math.min(count, dataset.count), seed, purpose);
  const order = new RandomStream(seed, `order of ${purpose}`).permutation(positions.length);
  return subset(dataset, order.map((index) => positions[index]), `${dataset.name} (${purpose})`);
}

/**
 * The data set in batches of `size`, in its own order; what is left over at the end is dropped, so
 * that every batch counts the same. Inputs are made each time they are asked for: bytes take a quarter
 * of the memory, and making them little beside what is done with them.
 */
export function calibrationBatches(
  dataset: Dataset,
  size: number,
  normalisation: Normalisation,
): CalibrationBatch[] {
  return Array.from({ length: Math.floor(dataset.count / size) }, (_, batch) => {
    const indices = Int32Array.from({ length: size }, (_, i) => batch * size + i);
    return {
      get images() {
        return batchOf(dataset, indices, normalisation);
      },
      labels: indices.map((index) => dataset.labels[index]),
    };
  });
}
