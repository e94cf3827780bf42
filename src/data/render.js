// @ts-check
/**
 * Bytes to network inputs: the one loop that the main thread and the batch worker share.
 *
 * JavaScript because the worker must start on Node 20 too, which cannot run TypeScript in a worker;
 * the types are in the comments and are checked like the rest.
 */

/**
 * The input value of every byte, `[3, 256]`: (byte / 255 - mean) / std, each step rounded to f32
 * as PyTorch's ToTensor and Normalize do, so that inputs agree to the last bit.
 *
 * @param {readonly number[]} mean one per channel
 * @param {readonly number[]} std one per channel
 * @returns {Float32Array<ArrayBuffer>}
 */
export function normalisationTable(mean, std) {
  const table = new Float32Array(3 * 256);
  for (let channel = 0; channel < 3; channel++) {
    const centre = Math.fround(mean[channel]);
    const scale = Math.fround(std[channel]);
    for (let byte = 0; byte < 256; byte++) {
      const unit = Math.fround(byte / 255);
      table[channel * 256 + byte] = Math.fround(unit - centre) / scale;
    }
  }
  return table;
}

/**
 * Pictures `indices` of `pixels` (`[count, height, width, 3]`) into `out`
 * (`[n, height, width, 3]`), shifted and mirrored by `augmentation` (`[n, 3]`, see augment.ts)
 * where one is given. Pixels shifted in from outside are black.
 *
 * @param {Uint8Array} pixels
 * @param {number} height
 * @param {number} width
 * @param {Int32Array} indices
 * @param {Float32Array} table of normalisationTable
 * @param {boolean} bgr whether the output's colours are blue, green, red
 * @param {Int8Array | undefined} augmentation
 * @param {Float32Array} out
 */
export function renderBatch(pixels, height, width, indices, table, bgr, augmentation, out) {
  const size = height * width * 3;
  const red = bgr ? 2 : 0;
  const blue = 2 - red;
  for (let i = 0; i < indices.length; i++) {
    const from = indices[i] * size;
    const to = i * size;
    if (augmentation === undefined) {
      for (let k = 0; k < size; k += 3) {
        out[to + k + red] = table[pixels[from + k]];
        out[to + k + 1] = table[256 + pixels[from + k + 1]];
        out[to + k + blue] = table[512 + pixels[from + k + 2]];
      }
      continue;
    }
    const dy = augmentation[i * 3];
    const dx = augmentation[i * 3 + 1];
    const mirrored = augmentation[i * 3 + 2] === 1;
    let o = to;
    for (let y = 0; y < height; y++) {
      const sourceY = y + dy;
      const row = from + sourceY * width * 3;
      const rowInside = sourceY >= 0 && sourceY < height;
      for (let x = 0; x < width; x++, o += 3) {
        const sourceX = (mirrored ? width - 1 - x : x) + dx;
        const inside = rowInside && sourceX >= 0 && sourceX < width;
        const p = row + sourceX * 3;
        out[o + red] = table[inside ? pixels[p] : 0];
        out[o + 1] = table[256 + (inside ? pixels[p + 1] : 0)];
        out[o + blue] = table[512 + (inside ? pixels[p + 2] : 0)];
      }
    }
  }
}
