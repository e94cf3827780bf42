// @ts-check
/**
 * Bytes to network inputs: the one loop that the main thread and the batch worker share.
 *
 * JavaScript because the worker must start on Node 20 too, which cannot run TypeScript in a worker;
 * the types are in the comments and are checked like the rest.
 */

/**
 * The input value of every byte, `[channels, 256]`: (byte / 255 - mean) / std, each step rounded to
 * f32 as PyTorch's ToTensor and Normalize do, so that inputs agree to the last bit.
 *
 * @param {readonly number[]} mean one per channel
 * @param {readonly number[]} std one per channel
 * @returns {Float32Array<ArrayBuffer>}
 */
export function normalisationTable(mean, std) {
  const table = new Float32Array(mean.length * 256);
  for (let channel = 0; channel < mean.length; channel++) {
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
 * How bright a colour is, 0 to 255: ITU-R 601-2 luma in Pillow's integers, which is what
 * torchvision's Grayscale(1) gives.
 *
 * @param {number} red
 * @param {number} green
 * @param {number} blue
 */
function luma(red, green, blue) {
  return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
}

/**
 * Pictures `indices` of `pixels` (`[count, height, width, 3]`) into `out`
 * (`[n, height, width, 3]`, or 1 channel where they become grey), shifted and mirrored by
 * `augmentation` (`[n, 3]`, see augment.ts) where one is given. Pixels shifted in from outside are
 * black.
 *
 * @param {Uint8Array} pixels
 * @param {number} height
 * @param {number} width
 * @param {Int32Array} indices
 * @param {Float32Array} table of normalisationTable
 * @param {"rgb" | "bgr" | "grey"} order of the output's colours
 * @param {Int8Array | undefined} augmentation
 * @param {Float32Array} out
 */
export function renderBatch(pixels, height, width, indices, table, order, augmentation, out) {
  const channels = order === "grey" ? 1 : 3;
  const length = width * channels;
  const red = order === "bgr" ? 2 : 0;
  const blue = 2 - red;
  for (let i = 0, o = 0; i < indices.length; i++) {
    const dy = augmentation ? augmentation[i * 3] : 0;
    const dx = augmentation ? augmentation[i * 3 + 1] : 0;
    const mirrored = augmentation !== undefined && augmentation[i * 3 + 2] === 1;
    // Where a row of the output shows the picture: from..to, starting with column `first` of it.
    const shift = mirrored ? dx : -dx;
    const from = Math.min(width, Math.max(0, shift));
    const to = Math.max(from, Math.min(width, width + shift));
    const first = mirrored ? width - 1 - from + dx : from + dx;
    const step = mirrored ? -3 : 3;
    for (let y = 0; y < height; y++, o += length) {
      const inside = y + dy >= 0 && y + dy < height;
      const start = inside ? from * channels : length, end = inside ? to * channels : length;
      let p = ((indices[i] * height + y + dy) * width + first) * 3;
      if (channels === 1) {
        out.fill(table[0], o, o + length);
        for (let k = start; k < end; k++, p += step) {
          out[o + k] = table[luma(pixels[p], pixels[p + 1], pixels[p + 2])];
        }
        continue;
      }
      for (let k = start; k < end; k += 3, p += step) {
        out[o + k + red] = table[pixels[p]];
        out[o + k + 1] = table[256 + pixels[p + 1]];
        out[o + k + blue] = table[512 + pixels[p + 2]];
      }
      blacken(out, o, o + start, table, red, blue);
      blacken(out, o + end, o + length, table, red, blue);
    }
  }
}

/**
 * Makes the pixels of `out` from element `from` up to `to` black.
 *
 * @param {Float32Array} out
 * @param {number} from
 * @param {number} to
 * @param {Float32Array} table of normalisationTable
 * @param {number} red place of red in a pixel
 * @param {number} blue
 */
function blacken(out, from, to, table, red, blue) {
  for (let o = from; o < to; o += 3) {
    out[o + red] = table[0];
    out[o + 1] = table[256];
    out[o + blue] = table[512];
  }
}
