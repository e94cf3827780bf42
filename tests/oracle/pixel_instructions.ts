/** Instructions that work pixel by pixel or interpolate between pixels, in plain f64 loops. */

import type { Ints, Operand } from "./convolution_instructions.ts";
import { responses, shares, standardised } from "./operators.ts";

type Floats = Readonly<Record<string, number>>;

const channelsOf = (operand: Operand) => operand.shape[operand.shape.length - 1];

/** Channels of every pixel of the operands, one after another. */
function eachPixel(
  [first, ...more]: readonly Operand[],
  visit: (pixels: number[][], at: number) => void,
): void {
  const channels = channelsOf(first);
  for (let at = 0; at < first.data.length; at += channels) {
    visit([first, ...more].map(({ data }) => Array.from(data.subarray(at, at + channels))), at);
  }
}

export function prelu(x: Operand, slope: Operand, y: Operand): void {
  eachPixel(
    [x],
    ([pixel], at) =>
      y.data.set(pixel.map((value, c) => value < 0 ? value * slope.data[c] : value), at),
  );
}

export function preluBackward(dy: Operand, x: Operand, slope: Operand, dx: Operand): void {
  eachPixel(
    [dy, x],
    ([gradient, pixel], at) =>
      dx.data.set(gradient.map((value, c) => pixel[c] < 0 ? value * slope.data[c] : value), at),
  );
}

export function preluBackwardSlope(dy: Operand, x: Operand, dslope: Operand): void {
  dslope.data.fill(0);
  eachPixel(
    [dy, x],
    ([gradient, pixel]) =>
      pixel.forEach((value, c) => dslope.data[c] += value < 0 ? gradient[c] * value : 0),
  );
}

export function layerNorm(
  x: Operand,
  scale: Operand,
  offset: Operand,
  y: Operand,
  { epsilon }: Floats,
): void {
  eachPixel([x], ([pixel], at) => {
    const values = standardised(pixel, epsilon);
    y.data.set(values.map((value, c) => value * scale.data[c] + offset.data[c]), at);
  });
}

const mean = (values: readonly number[]) =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

export function layerNormBackward(
  dy: Operand,
  x: Operand,
  scale: Operand,
  dx: Operand,
  { epsilon }: Floats,
): void {
  eachPixel([dy, x], ([gradient, pixel], at) => {
    const values = standardised(pixel, epsilon);
    const centre = mean(pixel);
    const deviation = Math.sqrt(mean(pixel.map((value) => (value - centre) ** 2)) + epsilon);
    const scaled = gradient.map((value, c) => value * scale.data[c]);
    const along = mean(scaled.map((value, c) => value * values[c]));
    const level = mean(scaled);
    dx.data.set(scaled.map((value, c) => (value - level - values[c] * along) / deviation), at);
  });
}

export function layerNormBackwardParameters(
  dy: Operand,
  x: Operand,
  dscale: Operand,
  doffset: Operand,
  { epsilon }: Floats,
): void {
  dscale.data.fill(0);
  doffset.data.fill(0);
  eachPixel([dy, x], ([gradient, pixel]) =>
    standardised(pixel, epsilon).forEach((value, c) => {
      dscale.data[c] += gradient[c] * value;
      doffset.data[c] += gradient[c];
    }));
}

export function localResponseNorm(x: Operand, y: Operand, { size }: Ints, floats: Floats): void {
  const { alpha, beta, bias } = floats;
  eachPixel([x], ([pixel], at) => y.data.set(responses(pixel, { size, alpha, beta, bias }), at));
}

/** y_i = x_i s_i^-beta: dy_i / dx_j = [i = j] s_i^-beta - 2 alpha beta / size x_i x_j s_i^(-beta-1). */
export function localResponseNormBackward(
  dy: Operand,
  x: Operand,
  dx: Operand,
  { size }: Ints,
  { alpha, beta, bias }: Floats,
): void {
  eachPixel([dy, x], ([gradient, pixel], at) => {
    const result = pixel.map(() => 0);
    pixel.forEach((value, i) => {
      const first = Math.max(0, i - Math.floor((size - 1) / 2));
      const last = Math.min(pixel.length - 1, i + Math.ceil((size - 1) / 2));
      let sum = bias;
      for (let j = first; j <= last; j++) sum += alpha / size * pixel[j] ** 2;
      result[i] += gradient[i] * sum ** -beta;
      for (let j = first; j <= last; j++) {
        const slope = -2 * alpha * beta / size * value * pixel[j] * sum ** (-beta - 1);
        result[j] += gradient[i] * slope;
      }
    });
    dx.data.set(result, at);
  });
}

export function softmax(x: Operand, y: Operand): void {
  eachPixel([x], ([pixel], at) => y.data.set(shares(pixel), at));
}

export function softmaxBackward(dy: Operand, y: Operand, dx: Operand): void {
  eachPixel([dy, y], ([gradient, pixel], at) => {
    const sum = pixel.reduce((total, share, c) => total + share * gradient[c], 0);
    dx.data.set(pixel.map((share, c) => share * (gradient[c] - sum)), at);
  });
}

/** Tables of a resize: rows, row_shares, columns, column_shares. */
export type Tables = Readonly<
  Record<"rows" | "row_shares" | "columns" | "column_shares", Operand>
>;

/** visit(index into the resized picture, index into the picture, share) for every tap. */
function eachTap(
  r: Ints,
  images: number,
  tables: Tables,
  visit: (to: number, from: number, share: number) => void,
): void {
  for (let cell = 0; cell < images * r.out_height * r.out_width; cell++) {
    const column = cell % r.out_width, row = Math.floor(cell / r.out_width) % r.out_height;
    const image = Math.floor(cell / r.out_width / r.out_height);
    for (let p = row * r.taps; p < (row + 1) * r.taps; p++) {
      for (let q = column * r.taps; q < (column + 1) * r.taps; q++) {
        const share = tables.row_shares.data[p] * tables.column_shares.data[q];
        const from = (image * r.in_height + tables.rows.data[p]) * r.in_width +
          tables.columns.data[q];
        for (let c = 0; c < r.channels; c++) {
          visit(cell * r.channels + c, from * r.channels + c, share);
        }
      }
    }
  }
}

export function resize(r: Ints, x: Operand, tables: Tables, y: Operand): void {
  y.data.fill(0);
  eachTap(r, x.images, tables, (to, from, share) => y.data[to] += share * x.data[from]);
}

export function resizeBackward(r: Ints, dy: Operand, tables: Tables, dx: Operand): void {
  dx.data.fill(0);
  eachTap(r, dy.images, tables, (from, to, share) => dx.data[to] += share * dy.data[from]);
}
