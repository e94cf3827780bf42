/**
 * Scaling pictures by bilinear interpolation with antialiasing, to the bytes that Pillow's
 * `resize(..., BILINEAR)` gives, which torchvision's transforms use: each output pixel is the mean of
 * the input under a triangle as wide as the scale, in fixed point, rows first and columns after.
 */
import type { Picture } from "./decode.ts";
import type { View } from "./geometry.ts";

/** Bits of the fixed-point weights: what 32 bits leave of a byte and a sign, as in Pillow. */
const PRECISION = 22;
const HALF = 1 << (PRECISION - 1);

/** Input pixels and weights of each output position along one axis. */
interface Taps {
  /** First input pixel of each output position. */
  readonly first: Int32Array;
  readonly count: Int32Array;
  /** `most` weights for each output position, in units of 2^-22. */
  readonly weights: Int32Array;
  readonly most: number;
}

/** Weights for output positions from..from+length-1 when `input` pixels become `output`. */
function tapsOf(input: number, output: number, from: number, length: number): Taps {
  const scale = input / output;
  const support = Math.max(1, scale);
  const most = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(length), count = new Int32Array(length);
  const weights = new Int32Array(length * most);
  const row = new Float64Array(most);
  const narrowing = 1 / support;
  for (let i = 0; i < length; i++) {
    const centre = (from + i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(input, Math.trunc(centre + support + 0.5));
    let sum = 0;
    for (let x = start; x < end; x++) {
      const weight = Math.max(0, 1 - Math.abs((x - centre + 0.5) * narrowing));
      row[x - start] = weight;
      sum += weight;
    }
    for (let k = 0; k < end - start; k++) {
      weights[i * most + k] = Math.trunc(0.5 + row[k] / sum * 2 ** PRECISION);
    }
    first[i] = start;
    count[i] = end - start;
  }
  return { first, count, weights, most };
}

/** Rows `top`..`top+rows-1` of the picture, each scaled along x; `[rows, taps, 3]`. */
function scaleRows(
  { pixels, width }: Picture,
  left: number,
  top: number,
  rows: number,
  { first, count, weights, most }: Taps,
): Uint8Array {
  const out = new Uint8Array(rows * first.length * 3);
  let o = 0;
  for (let y = 0; y < rows; y++) {
    const row = ((top + y) * width + left) * 3;
    for (let i = 0; i < first.length; i++, o += 3) {
      let red = HALF, green = HALF, blue = HALF;
      let p = row + first[i] * 3;
      for (let k = i * most, end = k + count[i]; k < end; k++, p += 3) {
        const weight = weights[k];
        red += pixels[p] * weight;
        green += pixels[p + 1] * weight;
        blue += pixels[p + 2] * weight;
      }
      out[o] = red >> PRECISION;
      out[o + 1] = green >> PRECISION;
      out[o + 2] = blue >> PRECISION;
    }
  }
  return out;
}

/** Columns of `[rows, width, 3]`, whose first row is number `top`, scaled along y. */
function scaleColumns(
  rows: Uint8Array,
  width: number,
  top: number,
  { first, count, weights, most }: Taps,
): Uint8Array {
  const length = width * 3;
  const out = new Uint8Array(first.length * length);
  const sums = new Int32Array(length);
  for (let y = 0; y < first.length; y++) {
    sums.fill(HALF);
    for (let k = 0; k < count[y]; k++) {
      const weight = weights[y * most + k];
      const row = (first[y] - top + k) * length;
      for (let x = 0; x < length; x++) sums[x] += rows[row + x] * weight;
    }
    for (let x = 0; x < length; x++) out[y * length + x] = sums[x] >> PRECISION;
  }
  return out;
}

/** Turns `[height, width, 3]` left to right, in place. */
function mirror(pixels: Uint8Array, width: number): void {
  for (let row = 0; row < pixels.length; row += width * 3) {
    for (let a = row, b = row + (width - 1) * 3; a < b; a += 3, b -= 3) {
      for (let c = 0; c < 3; c++) {
        const kept = pixels[a + c];
        pixels[a + c] = pixels[b + c];
        pixels[b + c] = kept;
      }
    }
  }
}

/** What a view shows of a picture: RGB bytes `[window.height, window.width, 3]`. */
export function viewOf(picture: Picture, { part, scaled, window, mirrored }: View): Uint8Array {
  const across = tapsOf(part.width, scaled.width, window.left, window.width);
  const down = tapsOf(part.height, scaled.height, window.top, window.height);
  // Only the rows that the window needs.
  const top = down.first[0];
  const last = window.height - 1;
  const rows = down.first[last] + down.count[last] - top;
  const narrow = scaleRows(picture, part.left, part.top + top, rows, across);
  const pixels = scaleColumns(narrow, window.width, top, down);
  if (mirrored) mirror(pixels, window.width);
  return pixels;
}
