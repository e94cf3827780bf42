/** Convolution, its gradients and its normal equations, in plain f64 loops. */

/** Named integer attributes of an instruction. */
export type Ints = Readonly<Record<string, number>>;

/** Numbers with what says how to index them: per-image shape, and images (0: none). */
export interface Operand {
  readonly shape: readonly number[];
  readonly images: number;
  readonly data: Float64Array;
}

interface Tap {
  /** Into x, of the group's first input channel; -1 in the padding. */
  readonly pixel: number;
  /** Into dy and y. */
  readonly output: number;
  readonly tap: number;
}

/** Every pair of an output pixel and a kernel tap, picture after picture. */
function* taps(c: Ints, images: number): Generator<Tap> {
  for (let image = 0; image < images; image++) {
    for (let oy = 0; oy < c.out_height; oy++) {
      for (let ox = 0; ox < c.out_width; ox++) {
        for (let ky = 0; ky < c.kernel_height; ky++) {
          for (let kx = 0; kx < c.kernel_width; kx++) {
            const iy = oy * c.stride_height - c.pad_top + ky * c.dilation_height;
            const ix = ox * c.stride_width - c.pad_left + kx * c.dilation_width;
            const inside = iy >= 0 && iy < c.in_height && ix >= 0 && ix < c.in_width;
            yield {
              pixel: inside ? (image * c.in_height + iy) * c.in_width + ix : -1,
              output: (image * c.out_height + oy) * c.out_width + ox,
              tap: ky * c.kernel_width + kx,
            };
          }
        }
      }
    }
  }
}

/** Calls visit(index into x, index into w, index into y) for every product of a convolution. */
function eachProduct(
  c: Ints,
  images: number,
  visit: (x: number, w: number, y: number) => void,
): void {
  const groupIn = c.in_channels / c.groups, groupOut = c.out_channels / c.groups;
  const area = c.kernel_height * c.kernel_width;
  for (const { pixel, output, tap } of taps(c, images)) {
    if (pixel < 0) continue;
    for (let o = 0; o < c.out_channels; o++) {
      const first = Math.floor(o / groupOut) * groupIn;
      for (let i = 0; i < groupIn; i++) {
        visit(
          pixel * c.in_channels + first + i,
          (o * groupIn + i) * area + tap,
          output * c.out_channels + o,
        );
      }
    }
  }
}

export function convolution(
  c: Ints,
  x: Operand,
  weight: Operand,
  bias: Operand | undefined,
  residual: Operand | undefined,
  y: Operand,
): void {
  const sums = new Float64Array(y.data.length);
  eachProduct(c, x.images, (i, w, o) => sums[o] += x.data[i] * weight.data[w]);
  for (let i = 0; i < sums.length; i++) {
    const sum = sums[i] + (bias?.data[i % c.out_channels] ?? 0) + (residual?.data[i] ?? 0);
    y.data[i] = c.relu === 1 ? Math.max(0, sum) : sum;
  }
}

export function convolutionBackwardData(c: Ints, dy: Operand, weight: Operand, dx: Operand): void {
  dx.data.fill(0);
  eachProduct(c, dy.images, (i, w, o) => dx.data[i] += dy.data[o] * weight.data[w]);
}

export function convolutionBackwardWeights(
  c: Ints,
  x: Operand,
  dy: Operand,
  dw: Operand,
  db: Operand | undefined,
): void {
  dw.data.fill(0);
  db?.data.fill(0);
  eachProduct(c, x.images, (i, w, o) => dw.data[w] += x.data[i] * dy.data[o]);
  if (db) dy.data.forEach((value, i) => db.data[i % c.out_channels] += value);
}

/** The patch of one group that an output pixel sees, in the weights' order, and a constant 1. */
function patches(c: Ints, x: Operand, group: number): Float64Array[] {
  const groupIn = c.in_channels / c.groups, area = c.kernel_height * c.kernel_width;
  const rows: Float64Array[] = [];
  for (const { pixel, output, tap } of taps(c, x.images)) {
    const row = rows[output] ??= new Float64Array(groupIn * area + 1).fill(1, groupIn * area);
    if (pixel < 0) continue;
    for (let i = 0; i < groupIn; i++) {
      row[i * area + tap] = x.data[pixel * c.in_channels + group * groupIn + i];
    }
  }
  return rows;
}

export function normalEquations(
  c: Ints,
  x: Operand,
  target: Operand,
  gram: Operand,
  cross: Operand,
): void {
  if (c.accumulate !== 1) {
    gram.data.fill(0);
    cross.data.fill(0);
  }
  const groupOut = c.out_channels / c.groups;
  for (let group = 0; group < c.groups; group++) {
    patches(c, x, group).forEach((patch, output) => {
      patch.forEach((value, i) => {
        const row = group * patch.length + i;
        patch.forEach((other, j) => gram.data[row * patch.length + j] += value * other);
        for (let o = 0; o < groupOut; o++) {
          const wanted = target.data[output * c.out_channels + group * groupOut + o];
          cross.data[row * groupOut + o] += value * wanted;
        }
      });
    });
  }
}
