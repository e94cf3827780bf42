/**
 * The usual augmentation for small pictures: pad by four black pixels, crop at random, mirror half
 * of them (He et al., arXiv 1512.03385, section 4.2). What happens to a picture depends on seed,
 * epoch and picture alone, never on its place in a batch or on who computes it.
 */
import { RandomStream } from "../../random.ts";

/** Pixels of padding on each side before the crop. */
export const PADDING = 4;

/** Values per picture in an augmentation table: shift down, shift right, mirrored. */
export const AUGMENTATION_FIELDS = 3;

/**
 * How each picture of a batch is changed: `[n, 3]`, rows (dy, dx, mirrored). Output pixel (y, x) of
 * the crop is source pixel (y + dy, x + dx), black outside; it is then mirrored left to right.
 */
export function drawAugmentation(
  seed: number,
  epoch: number,
  indices: Int32Array,
): Int8Array {
  const table = new Int8Array(indices.length * AUGMENTATION_FIELDS);
  indices.forEach((index, i) => {
    const random = new RandomStream(seed, "augmentation", epoch, index);
    table[i * 3] = random.integer(2 * PADDING + 1) - PADDING;
    table[i * 3 + 1] = random.integer(2 * PADDING + 1) - PADDING;
    table[i * 3 + 2] = random.uint32() & 1;
  });
  return table;
}
