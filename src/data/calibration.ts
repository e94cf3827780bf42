import { batchOf } from "./batches.ts";
import type { Dataset, Normalisation } from "./dataset.ts";

/** Pictures ready for an entry of a fixed size. */
export interface CalibrationBatch {
  /** [images, height, width, 3], normalised, not augmented. */
  readonly images: Float32Array;
  /** [images] */
  readonly labels: Int32Array;
}

/**
 * The data set in batches of `size`, in its own order; what is left over at the end is dropped, so
 * that every batch counts the same.
 */
export function calibrationBatches(
  dataset: Dataset,
  size: number,
  normalisation: Normalisation,
): CalibrationBatch[] {
  return Array.from({ length: Math.floor(dataset.count / size) }, (_, batch) => {
    const indices = Int32Array.from({ length: size }, (_, i) => batch * size + i);
    return {
      images: batchOf(dataset, indices, normalisation),
      labels: indices.map((index) => dataset.labels[index]),
    };
  });
}
