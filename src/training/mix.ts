/**
 * Pictures mixed of two, in place: mixup (Zhang et al., arXiv 1710.09412) blends them, CutMix (Yun et al.,
 * arXiv 1905.04899) exchanges a rectangle. Each picture's partner is its mirror image in the batch's order,
 * which is random already. What a batch becomes depends on seed, epoch and step alone.
 */

import { RandomStream } from "../random.ts";

/** Parameters alpha of Beta(alpha, alpha), which shares are drawn from; with both, batches take turns at random. */
export interface Mixing {
  readonly mixup?: number;
  readonly cutmix?: number;
}

/** Extents of one picture. */
export interface PictureShape {
  readonly height: number;
  readonly width: number;
}

/** What a batch was mixed of. */
export interface Mixed {
  /** `[n]`: labels of the partners. */
  readonly otherLabels: Int32Array;
  /** `[n]`: shares of the pictures' own labels. */
  readonly labelShares: Float32Array;
}

/** Mixing where either is asked for. */
export function mixingOf({ mixup, cutmix }: Mixing): Mixing | undefined {
  return mixup === undefined && cutmix === undefined ? undefined : { mixup, cutmix };
}

/** Standard gamma variate (Marsaglia & Tsang, ACM Trans. Math. Softw. 26(3), 2000). */
function gamma(random: RandomStream, shape: number): number {
  if (shape < 1) {
    // 1 - uniform is never zero.
    return gamma(random, shape + 1) * (1 - random.uniform()) ** (1 / shape);
  }
  const d = shape - 1 / 3, c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = random.normal(), v = (1 + c * x) ** 3;
    if (v <= 0) continue;
    if (Math.log(1 - random.uniform()) < x * x / 2 + d - d * v + d * Math.log(v)) return d * v;
  }
}

/** A number from Beta(alpha, alpha). */
export function beta(random: RandomStream, alpha: number): number {
  const a = gamma(random, alpha), b = gamma(random, alpha);
  // Of tiny alphas both may be too small to count.
  return a + b > 0 ? a / (a + b) : random.integer(2);
}

/** Blends every picture with its partner: share of its own, the rest the partner's. */
function blend(images: Float32Array, count: number, share: number): void {
  const size = images.length / count;
  for (let i = 0; i < count / 2; i++) {
    const own = images.subarray(i * size, (i + 1) * size);
    const other = images.subarray((count - 1 - i) * size, (count - i) * size);
    for (let k = 0; k < size; k++) {
      const a = own[k], b = other[k];
      own[k] = share * a + (1 - share) * b;
      other[k] = share * b + (1 - share) * a;
    }
  }
}

/** Exchanges a rectangle of about 1 - share of the area with the partner; what share is left. */
function exchange(
  images: Float32Array,
  count: number,
  { height, width }: PictureShape,
  share: number,
  random: RandomStream,
): number {
  const side = Math.sqrt(1 - share);
  const range = (extent: number): [number, number] => {
    const length = Math.round(side * extent), from = random.integer(extent) - (length >> 1);
    return [Math.max(0, from), Math.min(extent, from + length)];
  };
  const [top, bottom] = range(height), [left, right] = range(width);
  const size = images.length / count, pixel = size / (height * width);
  for (let i = 0; i < count >> 1; i++) {
    const own = i * size, other = (count - 1 - i) * size;
    for (let row = top; row < bottom; row++) {
      const from = (row * width + left) * pixel, to = (row * width + right) * pixel;
      const kept = images.slice(own + from, own + to);
      images.copyWithin(own + from, other + from, other + to);
      images.set(kept, other + from);
    }
  }
  return 1 - (bottom - top) * (right - left) / (height * width);
}

/** Mixes a batch `[n, height, width, channels]` in place. */
export function mix(
  images: Float32Array,
  labels: Int32Array,
  picture: PictureShape,
  { mixup, cutmix }: Mixing,
  random: RandomStream,
): Mixed {
  const count = labels.length;
  const blends = cutmix === undefined || (mixup !== undefined && random.integer(2) === 0);
  const drawn = beta(random, blends ? mixup! : cutmix);
  if (blends) blend(images, count, drawn);
  const share = blends ? drawn : exchange(images, count, picture, drawn, random);
  return {
    otherLabels: labels.toReversed(),
    labelShares: new Float32Array(count).fill(share),
  };
}
