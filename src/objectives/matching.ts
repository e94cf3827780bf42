/**
 * `match`: a model does as well as its outputs are the original's, whatever they mean. The loss of a
 * picture is the squared error of every output, as a share of that output's variance about its channels'
 * means over calibration pictures, averaged over the outputs; no labels are needed.
 */

import { readBatch } from "../data/batches/batches.ts";
import type { Normalisation, PictureSet } from "../data/dataset.ts";
import { SecateurError } from "../errors.ts";
import type { Graph } from "../graph/graph.ts";
import { type ComputeOptions, LoadedModel } from "../native/loaded_model.ts";
import type { RunOptions } from "../progress.ts";
import type { Figures } from "./figures.ts";

export interface MatchOptions extends RunOptions, ComputeOptions {
  readonly normalisation: Normalisation;
  /** Images per run; by default fewer of large pictures. */
  readonly batch?: number;
  /** Name of the stage in progress reports. */
  readonly stage?: string;
}

/** The original that outputs are matched to. */
export interface Matching {
  readonly original: Graph;
  /** Variance of each output that varies, by name. */
  readonly variances: ReadonlyMap<string, number>;
}

/** Below this share of their mean square, outputs do not vary. */
const NOTHING = 1e-12;
const PIXELS = 2 ** 21, MOST_IMAGES = 64;

/** Images of a run, of whose values outputs hold as many as fit a few caches. */
export function matchingImages({ input: { shape } }: Graph, available: number): number {
  const [, height = 1, width = 1] = shape;
  const images = Math.floor(PIXELS / (height * width));
  return Math.max(1, Math.min(MOST_IMAGES, images, available));
}

const indicesOf = (first: number, count: number, images: number): Int32Array =>
  Int32Array.from({ length: images }, (_, i) => first + Math.min(i, count - 1));

/** Runs models side by side over all pictures; `tally` sees their outputs, of `count` images. */
async function overPictures(
  models: readonly LoadedModel[],
  pictures: PictureSet,
  options: MatchOptions,
  tally: (outputs: readonly ReadonlyMap<string, Float32Array>[], count: number) => void,
): Promise<void> {
  const { normalisation, signal, onProgress, stage = "evaluation" } = options;
  const [{ images }] = models.map((model) => model.entry("match"));
  for (let first = 0; first < pictures.count; first += images) {
    const count = Math.min(images, pictures.count - first);
    const batch = await readBatch(pictures, indicesOf(first, count, images), normalisation, signal);
    const outputs: Map<string, Float32Array>[] = [];
    for (const model of models) {
      const entry = model.entry("match");
      const result = await model.run("match", {
        feeds: { [entry.feeds.images!]: batch },
        fetch: [...new Set(entry.outputs.values())],
        ...(signal ? { signal } : {}),
      });
      outputs.push(
        new Map([...entry.outputs].map(([name, value]) => [name, result[value] as Float32Array])),
      );
    }
    tally(outputs, count);
    onProgress?.({ stage, done: first + count, total: pictures.count, unit: "images" });
  }
}

/** Sums over all elements of a channel. */
class Moments {
  readonly sums: Float64Array;
  readonly squares: Float64Array;
  count = 0;

  constructor(channels: number) {
    this.sums = new Float64Array(channels);
    this.squares = new Float64Array(channels);
  }

  add(values: Float32Array): void {
    const channels = this.sums.length;
    for (let i = 0; i < values.length; i++) {
      this.sums[i % channels] += values[i];
      this.squares[i % channels] += values[i] ** 2;
    }
    this.count += values.length / channels;
  }

  /** Mean over channels of their variances; 0 where they do not vary. */
  get variance(): number {
    const mean = (values: Float64Array) => values.reduce((a, b) => a + b, 0) / values.length;
    const squares = mean(this.squares) / this.count;
    const variance = squares - mean(this.sums.map((sum) => (sum / this.count) ** 2));
    return variance > NOTHING * squares ? variance : 0;
  }
}

function open(graph: Graph, pictures: PictureSet, options: MatchOptions): LoadedModel {
  const images = Math.min(options.batch ?? matchingImages(graph, pictures.count), pictures.count);
  return LoadedModel.open(graph, [{ kind: "forward", name: "match", images }], options);
}

/**
 * What outputs are to be matched to. Throws "data-mismatch" where none of them varies over the pictures,
 * "numeric-failure" where they are not finite.
 */
export async function matchingOf(
  original: Graph,
  pictures: PictureSet,
  options: MatchOptions,
): Promise<Matching> {
  using model = open(original, pictures, options);
  const shapes = new Map(model.session.program.values.map((value) => [value.name, value.shape]));
  const { images, outputs } = model.entry("match");
  const moments = new Map(
    [...outputs].map(([name, value]) => [name, new Moments(shapes.get(value)!.at(-1)!)]),
  );
  await overPictures([model], pictures, { stage: "outputs", ...options }, ([values], count) => {
    for (const [name, all] of values) {
      moments.get(name)!.add(all.subarray(0, all.length / images * count));
    }
  });
  const variances = new Map([...moments].map(([name, each]) => [name, each.variance]));
  const broken = [...variances].find(([, variance]) => !Number.isFinite(variance));
  if (broken !== undefined) {
    throw new SecateurError(
      "numeric-failure",
      `The output ${broken[0]} of ${original.name} on ${pictures.name} is not finite: check its ` +
        `weights and the normalisation of the pictures.`,
    );
  }
  const varying = new Map([...variances].filter(([, variance]) => variance > 0));
  if (varying.size > 0) return { original, variances: varying };
  throw new SecateurError(
    "data-mismatch",
    `Expected outputs of ${original.name} that vary over the pictures of ${pictures.name}, but none ` +
      `does: check the normalisation of the pictures (--mean, --std, --channels).`,
  );
}

/** Scale of each output's squared error in the loss of a picture, by output; see the head. */
export function matchingScales(
  { original, variances }: Matching,
  elements: (output: string) => number,
): Map<string, number> {
  return new Map(
    original.outputs.flatMap((output) => {
      const variance = variances.get(output);
      if (variance === undefined) return [];
      return [[output, 1 / (variances.size * elements(output) * variance)]];
    }),
  );
}

/** How close a model's outputs are to the original's. Throws "numeric-failure", "cancelled". */
export async function evaluateMatch(
  graph: Graph,
  { original, variances }: Matching,
  pictures: PictureSet,
  options: MatchOptions,
): Promise<Figures & { readonly seconds: number }> {
  const started = performance.now();
  using wanted = open(original, pictures, options);
  using found = open(graph, pictures, options);
  const { images } = wanted.entry("match");
  const sums = new Map([...variances.keys()].map((name) => [name, 0]));
  const counts = new Map(sums);
  await overPictures([wanted, found], pictures, options, ([ours, theirs], count) => {
    for (const name of variances.keys()) {
      const a = ours.get(name)!, b = theirs.get(name)!;
      const length = a.length / images * count;
      let sum = 0;
      for (let i = 0; i < length; i++) sum += (a[i] - b[i]) ** 2;
      sums.set(name, sums.get(name)! + sum);
      counts.set(name, counts.get(name)! + length);
    }
  });
  const errors = [...variances].map(([output, variance]) => ({
    output,
    error: sums.get(output)! / counts.get(output)! / variance,
  }));
  const loss = errors.reduce((sum, { error }) => sum + error, 0) / errors.length;
  if (!Number.isFinite(loss)) {
    throw new SecateurError(
      "numeric-failure",
      `The outputs of ${graph.name} on ${pictures.name} are not finite.`,
    );
  }
  const seconds = (performance.now() - started) / 1000;
  return { loss, total: pictures.count, errors, seconds };
}
