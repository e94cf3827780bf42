/** Which part of a picture is taken and at what size: pure arithmetic, no pixels. */
import { RandomStream } from "../../random.ts";

export interface Extent {
  readonly width: number;
  readonly height: number;
}

export interface Box extends Extent {
  readonly left: number;
  readonly top: number;
}

/** A part of a picture, scaled, of which a window is taken. */
export interface View {
  readonly part: Box;
  readonly scaled: Extent;
  /** Within the scaled part. */
  readonly window: Box;
  /** Turned left to right at the end. */
  readonly mirrored: boolean;
}

/** How pictures are brought to one size; what is absent is left out. */
export interface Framing {
  /** Length of the shorter side after scaling, the longer in proportion. */
  readonly resize?: number;
  /** Side of the square taken from the middle. */
  readonly crop?: number;
}

/** Pictures of at least this side are read or made when needed: few would fit in memory. */
export const STREAMED_SIDE = 64;

/** The nearest whole number, halves to even, as Python rounds. */
function rounded(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? below + 1 : below;
}

/** A picture's size after scaling its shorter side, as torchvision's Resize rounds it. */
export function scaledExtent({ width, height }: Extent, resize: number | undefined): Extent {
  if (resize === undefined) return { width, height };
  return width <= height
    ? { width: resize, height: Math.trunc(resize * height / width) }
    : { width: Math.trunc(resize * width / height), height: resize };
}

/**
 * What evaluation sees of a picture: torchvision's Resize and CenterCrop. Undefined where the crop
 * is larger than the scaled picture.
 */
export function centredView(picture: Extent, { resize, crop }: Framing): View | undefined {
  const scaled = scaledExtent(picture, resize);
  const part = { left: 0, top: 0, width: picture.width, height: picture.height };
  const { width, height } = scaled;
  if (crop === undefined) {
    return { part, scaled, window: { left: 0, top: 0, width, height }, mirrored: false };
  }
  if (crop > width || crop > height) return undefined;
  const left = rounded((width - crop) / 2), top = rounded((height - crop) / 2);
  return { part, scaled, window: { left, top, width: crop, height: crop }, mirrored: false };
}

const LEAST_AREA = 0.08;
const MOST_ASPECT = 4 / 3;
const ATTEMPTS = 10;

/**
 * What training sees of a picture: a random part of 8% to 100% of its area and an aspect between
 * 3:4 and 4:3, scaled to `size` and mirrored half of the time (Szegedy et al., arXiv 1409.4842,
 * section 6; torchvision's RandomResizedCrop). Depends on seed, epoch and index alone.
 */
export function randomView(
  picture: Extent,
  size: Extent,
  seed: number,
  epoch: number,
  index: number,
): View {
  const random = new RandomStream(seed, "augmentation", epoch, index);
  const uniform = () => random.uniform();
  const part = randomPart(picture, uniform) ?? widestPart(picture);
  const window = { left: 0, top: 0, ...size };
  return { part, scaled: size, window, mirrored: (random.uint32() & 1) === 1 };
}

function randomPart({ width, height }: Extent, uniform: () => number): Box | undefined {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const area = width * height * (LEAST_AREA + (1 - LEAST_AREA) * uniform());
    const aspect = Math.exp((2 * uniform() - 1) * Math.log(MOST_ASPECT));
    const w = Math.round(Math.sqrt(area * aspect)), h = Math.round(Math.sqrt(area / aspect));
    if (w < 1 || h < 1 || w > width || h > height) continue;
    const left = Math.floor(uniform() * (width - w + 1));
    const top = Math.floor(uniform() * (height - h + 1));
    return { left, top, width: w, height: h };
  }
  return undefined;
}

/** The middle of a picture too long for any draw, as wide as its aspect may be. */
function widestPart({ width, height }: Extent): Box {
  const w = Math.max(1, Math.min(width, Math.round(height * MOST_ASPECT)));
  const h = Math.max(1, Math.min(height, Math.round(width * MOST_ASPECT)));
  const left = Math.floor((width - w) / 2), top = Math.floor((height - h) / 2);
  return { left, top, width: w, height: h };
}
