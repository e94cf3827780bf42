/**
 * The embedded default: a generated ten-class data set of 32x32 colour pictures that needs no
 * download. The class is a shape (five) times the texture inside it (two). Colour, place, size,
 * rotation, contrast, background texture, distractors, occlusion and noise say nothing about it.
 *
 * It cannot be learnt to 100%: shape and texture are blended towards a neighbour by a random
 * amount, and in a few pictures of a hundred the neighbour wins while the label stays.
 */
import { RandomStream } from "../../random.ts";
import { allocatePixels, type Dataset } from "../dataset.ts";

const SIDE = 32;
const SHAPES = ["disc", "square", "triangle", "cross", "ring"] as const;
const TEXTURES = ["striped", "checked"] as const;

/** Pictures per split, unless asked otherwise. */
const DEFAULT_COUNTS = { train: 8000, test: 2000 } as const;

type Colour = readonly [number, number, number];

/** Where a shape lies: centre and radius in pixels, rotation as cosine and sine. */
interface Pose {
  readonly x: number;
  readonly y: number;
  readonly radius: number;
  readonly cos: number;
  readonly sin: number;
}

/** A blend of stripes and checks, as a function of pixel coordinates, in [-1, 1]. */
interface Texture {
  readonly cos: number;
  readonly sin: number;
  /** Radians per pixel along and across. */
  readonly frequency: number;
  readonly phaseU: number;
  readonly phaseV: number;
  /** Share of checks: 0 is stripes alone. */
  readonly checks: number;
}

/** Signed distance from (u, v) to the edge of a shape of about unit radius; negative is inside. */
function distance(shape: number, u: number, v: number): number {
  switch (shape) {
    case 0:
      return Math.sqrt(u * u + v * v) - 0.88;
    case 1:
      return Math.max(Math.abs(u), Math.abs(v)) - 0.78;
    case 2:
      return Math.max(Math.abs(u) * 0.866 + v * 0.5, -v) - 0.52;
    case 3: {
      const a = Math.abs(u), b = Math.abs(v);
      return Math.min(Math.max(a - 0.98, b - 0.34), Math.max(b - 0.98, a - 0.34));
    }
    default:
      return Math.abs(Math.sqrt(u * u + v * v) - 0.68) - 0.26;
  }
}

function between(random: RandomStream, low: number, high: number): number {
  return low + (high - low) * random.uniform();
}

function drawColour(random: RandomStream): Colour {
  return [between(random, 20, 235), between(random, 20, 235), between(random, 20, 235)];
}

/** A colour at least `gap` levels (Euclidean) away from `other`. */
function drawContrasting(random: RandomStream, other: Colour, gap: number): Colour {
  for (;;) {
    const colour = drawColour(random);
    const apart = Math.hypot(colour[0] - other[0], colour[1] - other[1], colour[2] - other[2]);
    if (apart >= gap) return colour;
  }
}

function drawPose(random: RandomStream, low: number, high: number, margin: number): Pose {
  const radius = between(random, low, high);
  const reach = Math.max(0, SIDE / 2 - radius * margin);
  const angle = between(random, -0.35, 0.35);
  return {
    radius,
    x: SIDE / 2 + between(random, -reach, reach),
    y: SIDE / 2 + between(random, -reach, reach),
    cos: Math.cos(angle),
    sin: Math.sin(angle),
  };
}

function drawTexture(random: RandomStream, checks: number): Texture {
  const angle = between(random, 0, Math.PI);
  return {
    cos: Math.cos(angle),
    sin: Math.sin(angle),
    frequency: 2 * Math.PI / between(random, 3.6, 6),
    phaseU: between(random, 0, 2 * Math.PI),
    phaseV: between(random, 0, 2 * Math.PI),
    checks,
  };
}

/** How far a property leans to its neighbour: mostly little, now and then past the half. */
function drawLean(random: RandomStream): number {
  return random.uniform() < 0.06 ? between(random, 0.3, 0.7) : 0.2 * random.uniform() ** 2;
}

function textureAt(texture: Texture, x: number, y: number): number {
  const along = (x * texture.cos + y * texture.sin) * texture.frequency + texture.phaseU;
  const wave = Math.sin(along);
  if (texture.checks === 0) return wave;
  const across = (y * texture.cos - x * texture.sin) * texture.frequency + texture.phaseV;
  const checks = 1.4 * Math.sin(along) * Math.sin(across);
  return (1 - texture.checks) * wave + texture.checks * checks;
}

/** Fills the canvas (`[32, 32, 3]`, levels) with a gradient, often with a faint texture of its own. */
function paintBackground(canvas: Float32Array, random: RandomStream, from: Colour): void {
  const to = drawColour(random);
  const angle = between(random, 0, 2 * Math.PI);
  const dx = Math.cos(angle) / SIDE, dy = Math.sin(angle) / SIDE;
  const strength = between(random, 0, 0.6);
  const texture = drawTexture(random, random.integer(2));
  const amplitude = random.uniform() < 0.5 ? between(random, 3, 10) : 0;
  for (let y = 0, o = 0; y < SIDE; y++) {
    for (let x = 0; x < SIDE; x++, o += 3) {
      const t = strength * (0.5 + (x - SIDE / 2) * dx + (y - SIDE / 2) * dy);
      const wave = amplitude === 0 ? 0 : amplitude * textureAt(texture, x, y);
      canvas[o] = from[0] + t * (to[0] - from[0]) + wave;
      canvas[o + 1] = from[1] + t * (to[1] - from[1]) + wave;
      canvas[o + 2] = from[2] + t * (to[2] - from[2]) + wave;
    }
  }
}

/** What a shape is filled with: two colours mixed by a texture. */
interface Fill {
  readonly first: Colour;
  readonly second: Colour;
  readonly texture: Texture | undefined;
}

/** Paints `shape`, leaning by `lean` to the outline of `neighbour`, with a soft edge. */
function paintShape(
  canvas: Float32Array,
  pose: Pose,
  shape: number,
  neighbour: number,
  lean: number,
  fill: Fill,
): void {
  const { x: cx, y: cy, radius, cos, sin } = pose;
  const reach = radius * 1.45 + 1;
  const top = Math.max(0, Math.floor(cy - reach)), bottom = Math.min(SIDE, Math.ceil(cy + reach));
  const left = Math.max(0, Math.floor(cx - reach)), right = Math.min(SIDE, Math.ceil(cx + reach));
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const u = ((x - cx) * cos + (y - cy) * sin) / radius;
      const v = ((y - cy) * cos - (x - cx) * sin) / radius;
      let edge = distance(shape, u, v);
      if (lean > 0) edge = (1 - lean) * edge + lean * distance(neighbour, u, v);
      const cover = Math.min(1, Math.max(0, 0.5 - edge * radius));
      if (cover === 0) continue;
      const mix = fill.texture ? 0.5 + 0.5 * textureAt(fill.texture, x, y) : 0;
      const o = (y * SIDE + x) * 3;
      for (let c = 0; c < 3; c++) {
        const level = fill.first[c] + mix * (fill.second[c] - fill.first[c]);
        canvas[o + c] += cover * (level - canvas[o + c]);
      }
    }
  }
}

/** Small plain shapes that mean nothing. */
function paintDistractors(canvas: Float32Array, random: RandomStream): void {
  const count = random.integer(3);
  for (let i = 0; i < count; i++) {
    const radius = between(random, 1.5, 3);
    const angle = between(random, 0, 2 * Math.PI);
    const pose = {
      radius,
      x: between(random, 0, SIDE),
      y: between(random, 0, SIDE),
      cos: Math.cos(angle),
      sin: Math.sin(angle),
    };
    const first = drawColour(random);
    const fill = { first, second: first, texture: undefined };
    paintShape(canvas, pose, random.integer(SHAPES.length), 0, 0, fill);
  }
}

/** In three pictures of ten, a bar that covers part of everything. */
function paintBar(canvas: Float32Array, random: RandomStream): void {
  if (random.uniform() > 0.3) return;
  const colour = drawColour(random);
  const half = between(random, 0.6, 1.8);
  const angle = between(random, 0, Math.PI);
  const cos = Math.cos(angle), sin = Math.sin(angle);
  const cx = between(random, 6, SIDE - 6), cy = between(random, 6, SIDE - 6);
  for (let y = 0, o = 0; y < SIDE; y++) {
    for (let x = 0; x < SIDE; x++, o += 3) {
      const off = Math.abs((x - cx) * cos + (y - cy) * sin);
      const cover = Math.min(1, Math.max(0, 0.5 + half - off));
      if (cover === 0) continue;
      for (let c = 0; c < 3; c++) canvas[o + c] += cover * (colour[c] - canvas[o + c]);
    }
  }
}

/** A table of normal variates: 31 million draws from Philox would take longer than all the rest. */
const NOISE_LENGTH = 65521;
function noiseTable(seed: number): Float32Array {
  const random = new RandomStream(seed, "generated noise");
  return Float32Array.from({ length: NOISE_LENGTH }, () => random.normal());
}

/** Adds noise and rounds to bytes; the table is walked from a random place by a random stride. */
function quantise(
  canvas: Float32Array,
  random: RandomStream,
  noise: Float32Array,
  out: Uint8Array,
): void {
  const level = between(random, 3, 14);
  const stride = 1 + random.integer(NOISE_LENGTH - 1);
  let at = random.integer(NOISE_LENGTH);
  for (let i = 0; i < canvas.length; i++) {
    out[i] = Math.min(255, Math.max(0, Math.round(canvas[i] + level * noise[at])));
    at = (at + stride) % NOISE_LENGTH;
  }
}

/** One picture of `label` into `out` (`[32, 32, 3]` bytes). */
function paintPicture(
  label: number,
  random: RandomStream,
  canvas: Float32Array,
  noise: Float32Array,
  out: Uint8Array,
): void {
  const shape = label % SHAPES.length;
  const checked = label >= SHAPES.length;
  const back = drawColour(random);
  paintBackground(canvas, random, back);
  paintDistractors(canvas, random);

  const neighbour = (shape + 1 + random.integer(SHAPES.length - 1)) % SHAPES.length;
  const shapeLean = drawLean(random);
  const textureLean = drawLean(random);
  const first = drawContrasting(random, back, 130);
  const second = drawContrasting(random, first, 90);
  const texture = drawTexture(random, checked ? 1 - textureLean : textureLean);
  const pose = drawPose(random, 8.5, 13.5, 0.95);
  paintShape(canvas, pose, shape, neighbour, shapeLean, { first, second, texture });

  paintBar(canvas, random);
  quantise(canvas, random, noise, out);
}

/**
 * The generated data set: 8,000 pictures to train on or 2,000 to test on by default, the ten
 * classes in turn. One seed gives the same bytes always; the splits share no picture, and picture
 * `i` does not depend on how many are made.
 */
export function generateDataset(
  split: "train" | "test",
  options: { readonly seed?: number; readonly count?: number } = {},
): Dataset {
  const seed = options.seed ?? 1;
  const count = options.count ?? DEFAULT_COUNTS[split];
  const classes = TEXTURES.flatMap((texture) => SHAPES.map((shape) => `${texture} ${shape}`));
  const name = `generated ${split}`;
  const pixels = allocatePixels(count, SIDE, SIDE, name);
  const labels = new Int32Array(count);
  const canvas = new Float32Array(SIDE * SIDE * 3);
  const noise = noiseTable(seed);
  for (let i = 0; i < count; i++) {
    labels[i] = i % classes.length;
    const random = new RandomStream(seed, name, i);
    const out = pixels.subarray(i * canvas.length, (i + 1) * canvas.length);
    paintPicture(labels[i], random, canvas, noise, out);
  }
  return { name, height: SIDE, width: SIDE, channels: 3, count, pixels, labels, classes };
}
