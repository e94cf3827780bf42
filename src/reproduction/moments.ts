/**
 * Second moments of what layers read, over calibration pictures and the cells of their outputs: what
 * least squares needs to know of the data. One pass of the original network for all layers.
 */

import { type CalibrationBatch, calibrationBatches } from "../data/batches/calibration.ts";
import type { Dataset, Normalisation } from "../data/dataset.ts";
import { SecateurError } from "../errors.ts";
import type { Graph, Node } from "../graph/graph.ts";
import { shapesOf } from "../graph/shapes.ts";
import { type ComputeOptions, LoadedModel } from "../native/loaded_model.ts";
import { type RunOptions, stopIfAsked } from "../progress.ts";
import { elementCount } from "../tensor.ts";

/** Equations for each unknown weight, at least. */
const SAMPLES_PER_UNKNOWN = 10;

/** Sums over samples for one group of a layer, or for a value's channels. */
export interface Moments {
  /** [n, n]: mean of products less product of means. */
  readonly covariance: Float64Array;
  /** [n] */
  readonly mean: Float64Array;
  readonly samples: number;
}

export interface MomentsOptions extends RunOptions, Omit<ComputeOptions, "dtype"> {
  readonly normalisation: Normalisation;
  /** Images per batch; default 128. */
  readonly batch?: number;
}

/** Unknowns of each group of a layer's least squares: input channels times kernel cells. */
export function unknownsOf(graph: Graph, layer: Node): number {
  if (layer.op !== "convolution" && layer.op !== "linear") return 0;
  const { shape } = graph.parameters.get(layer.weight)!;
  return elementCount(shape.slice(1));
}

/** Batches after which every unknown has enough equations; at least two, so that pictures vary. */
function batchesFor(unknowns: number, cells: number, images: number): number {
  return Math.max(2, Math.ceil(SAMPLES_PER_UNKNOWN * (unknowns + 1) / cells / images));
}

/** What one entry measures, and on how many batches. */
interface Share {
  readonly layers: string[];
  readonly values: string[];
  readonly batches: number;
}

/** Layers and values by the batches they need, in powers of two: few entries, little wasted. */
function sharesOf(
  graph: Graph,
  layers: readonly string[],
  values: readonly string[],
  images: number,
  available: number,
): Share[] {
  const shapes = shapesOf(graph);
  const nodes = new Map(graph.nodes.map((node) => [node.name, node]));
  const shares = new Map<number, Share>();
  const shareFor = (unknowns: number, cells: number): Share => {
    const needed = batchesFor(unknowns, cells, images);
    const batches = Math.min(available, 2 ** Math.ceil(Math.log2(needed)));
    const known = shares.get(batches);
    if (known !== undefined) return known;
    const share: Share = { layers: [], values: [], batches };
    shares.set(batches, share);
    return share;
  };
  for (const name of layers) {
    const layer = nodes.get(name)!;
    const cells = elementCount(shapes.get(layer.output)!.slice(1));
    shareFor(unknownsOf(graph, layer), cells).layers.push(name);
  }
  for (const value of values) {
    const [channels, ...cells] = shapes.get(value)!;
    shareFor(channels, elementCount(cells)).values.push(value);
  }
  return [...shares.values()].sort((a, b) => a.batches - b.batches);
}

/** Means and covariance from sums [n + 1, n + 1] that are extended by a constant 1. */
function centred(sums: Float64Array, n: number): Moments {
  const samples = sums[(n + 1) * (n + 1) - 1];
  const mean = Float64Array.from({ length: n }, (_, i) => sums[i * (n + 1) + n] / samples);
  const covariance = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      covariance[i * n + j] = sums[i * (n + 1) + j] / samples - mean[i] * mean[j];
    }
  }
  return { covariance, mean, samples };
}

/** The groups of a layer's sums [groups, n + 1, n + 1]. */
function split(sums: Float64Array, n: number): Moments[] {
  const size = (n + 1) ** 2;
  return Array.from({ length: sums.length / size }, (_, group) => {
    return centred(sums.subarray(group * size, (group + 1) * size), n);
  });
}

/**
 * Moments of the named layers' unknowns, group by group, and of the named values' channels, by name.
 * Pictures are used unaugmented, from the first on; each layer on as many as its unknowns ask for.
 * @throws SecateurError `data-empty` when the pictures do not fill a batch.
 */
export async function measureMoments(
  graph: Graph,
  layers: readonly string[],
  values: readonly string[],
  pictures: Dataset,
  options: MomentsOptions,
): Promise<Map<string, Moments[]>> {
  const { normalisation, signal, onProgress } = options;
  const images = Math.min(options.batch ?? 128, pictures.count);
  const batches: CalibrationBatch[] = images === 0
    ? []
    : calibrationBatches(pictures, images, normalisation);
  if (batches.length === 0) {
    throw new SecateurError(
      "data-empty",
      `Expected pictures to measure ${graph.name} on, got none.`,
    );
  }
  const shares = sharesOf(graph, layers, values, images, batches.length);
  const total = shares.reduce((sum, share) => sum + share.batches, 0);
  using model = LoadedModel.open(
    graph,
    shares.map((share, index) => ({ kind: "moments", name: `moments/${index}`, images, ...share })),
    { ...options, dtype: "f32" },
  );
  const nodes = new Map(graph.nodes.map((node) => [node.name, node]));
  const shapes = shapesOf(graph);
  const named = new Set(layers);
  const unknowns = (name: string) =>
    named.has(name) ? unknownsOf(graph, nodes.get(name)!) : shapes.get(name)![0];
  const result = new Map<string, Moments[]>();
  let done = 0;
  for (const [index, share] of shares.entries()) {
    const entry = model.entry(`moments/${index}`);
    for (const batch of batches.slice(0, share.batches)) {
      stopIfAsked(signal);
      await model.run(entry.name, { feeds: { [entry.feeds.images!]: batch.images } });
      onProgress?.({ stage: "moments", done: ++done, total, unit: "batches" });
    }
    for (const [name, value] of entry.moments!) {
      const sums = await model.session.read(value) as Float64Array;
      result.set(name, split(sums, unknowns(name)));
    }
  }
  return result;
}
