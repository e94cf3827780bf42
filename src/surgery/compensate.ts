/**
 * Least-squares compensation: every layer that lost input channels gets the weights that best
 * reproduce its original outputs from what is left (as in He et al., "Channel pruning for
 * accelerating very deep neural networks", arXiv 1707.06168, and ThiNet, arXiv 1707.06342).
 *
 * Layers go in topological order; a layer's inputs are those of the network already compensated
 * before it. Centred, the intercept goes into the bias or the running mean of the batch norm that
 * follows. The ridge pulls towards the surviving weights, so that few samples change little.
 */

import { type CalibrationBatch, calibrationBatches } from "../data/batches/calibration.ts";
import type { Dataset, Normalisation } from "../data/dataset.ts";
import type { Removal } from "../graph/cut.ts";
import type { ConvolutionNode, Graph, LinearNode } from "../graph/graph.ts";
import { shapesOf } from "../graph/shapes.ts";
import { type ComputeOptions, LoadedModel } from "../native/loaded_model.ts";
import { choleskySolve } from "../native/linear_algebra.ts";
import type { RunOptions } from "../progress.ts";
import type { Tensor } from "../tensor.ts";

/** Ridge relative to the mean diagonal of the centred Gram matrix. */
const RIDGE = 1e-3;
/** Equations for each unknown weight. */
const SAMPLES_PER_UNKNOWN = 10;

export interface CompensateOptions extends RunOptions, Omit<ComputeOptions, "dtype"> {
  readonly normalisation: Normalisation;
  /** Images per batch; default 128. */
  readonly batch?: number;
}

type Layer = ConvolutionNode | LinearNode;

/** Layers with weights that read channels of a group that lost any, in topological order. */
function affectedLayers(graph: Graph, removals: readonly Removal[]): Layer[] {
  const consumers = new Set(
    removals.flatMap(({ group, removed }) => [...removed].length > 0 ? group.consumers : []),
  );
  return graph.nodes.filter((node): node is Layer =>
    consumers.has(node.name) && (node.op === "convolution" || node.op === "linear")
  );
}

/** Channels of each value that stay. */
function keptChannels(graph: Graph, removals: readonly Removal[]): (value: string) => number[] {
  const gone = new Set<string>();
  for (const { group, removed } of removals) {
    for (const player of removed) {
      for (const { value, channel } of group.players[player].channels) {
        gone.add(`${value}\n${channel}`);
      }
    }
  }
  const shapes = shapesOf(graph);
  return (value) =>
    Array.from({ length: shapes.get(value)![0] }, (_, channel) => channel)
      .filter((channel) => !gone.has(`${value}\n${channel}`));
}

/** Channels-last rows restricted to some of their channels. */
function selectChannels(data: Float32Array, channels: number, kept: readonly number[]) {
  if (kept.length === channels) return data;
  const rows = data.length / channels;
  const out = new Float32Array(rows * kept.length);
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < kept.length; k++) {
      out[row * kept.length + k] = data[row * channels + kept[k]];
    }
  }
  return out;
}

/** Sums of one group of a layer, extended by a constant 1: see normal_equations. */
interface Equations {
  /** [n + 1, n + 1] */
  readonly gram: Float64Array;
  /** [n + 1, out] */
  readonly cross: Float64Array;
  readonly unknowns: number;
  readonly out: number;
}

/** Subtracts means, so that weights are solved apart from the intercept. */
function centre({ gram, cross, unknowns: n, out }: Equations) {
  const count = gram[(n + 1) * (n + 1) - 1];
  const centredGram = new Float64Array(n * n);
  const centredCross = new Float64Array(n * out);
  for (let i = 0; i < n; i++) {
    const mean = gram[i * (n + 1) + n] / count;
    for (let j = 0; j < n; j++) {
      centredGram[i * n + j] = gram[i * (n + 1) + j] - mean * gram[j * (n + 1) + n];
    }
    for (let o = 0; o < out; o++) {
      centredCross[i * out + o] = cross[i * out + o] - mean * cross[n * out + o];
    }
  }
  return { centredGram, centredCross, count };
}

/** New weights [out, n] and intercepts [out] of one group, given the surviving weights. */
async function solveGroup(equations: Equations, weights: Float32Array) {
  const { unknowns: n, out, gram, cross } = equations;
  const { centredGram, centredCross, count } = centre(equations);
  // Solve for the change: (G + ridge) delta = cross - G w.
  for (let i = 0; i < n; i++) {
    for (let o = 0; o < out; o++) {
      let known = 0;
      for (let j = 0; j < n; j++) known += centredGram[i * n + j] * weights[o * n + j];
      centredCross[i * out + o] -= known;
    }
  }
  // Inputs that never vary, as behind saturated activations, leave the intercept alone to solve.
  const varies = centredGram.some((figure, index) => index % (n + 1) === 0 && figure > 0);
  const change = varies
    ? await choleskySolve(centredGram, centredCross, n, out, RIDGE)
    : new Float64Array(n * out);
  const solved = new Float32Array(out * n);
  const intercepts = new Float64Array(out);
  for (let o = 0; o < out; o++) {
    let predicted = 0;
    for (let i = 0; i < n; i++) {
      const weight = weights[o * n + i] + change[i * out + o];
      solved[o * n + i] = weight;
      predicted += weight * gram[i * (n + 1) + n];
    }
    intercepts[o] = (cross[n * out + o] - predicted) / count;
  }
  return { solved, intercepts };
}

/** Solves a layer from its summed equations. */
async function solveLayer(layer: Layer, weight: Tensor, gram: Float64Array, cross: Float64Array) {
  const groups = layer.op === "convolution" ? layer.groups : 1;
  const out = weight.shape[0] / groups;
  const n = weight.data.length / weight.shape[0];
  const data = new Float32Array(weight.data.length);
  const intercepts = new Float64Array(weight.shape[0]);
  for (let group = 0; group < groups; group++) {
    const equations: Equations = {
      gram: gram.subarray(group * (n + 1) ** 2, (group + 1) * (n + 1) ** 2),
      cross: cross.subarray(group * (n + 1) * out, (group + 1) * (n + 1) * out),
      unknowns: n,
      out,
    };
    const at = group * out * n;
    const result = await solveGroup(equations, weight.data.subarray(at, at + out * n));
    data.set(result.solved, at);
    intercepts.set(result.intercepts, group * out);
  }
  return { weight: { shape: weight.shape, data }, intercepts };
}

/** Where a layer's intercept goes: its bias, or the running mean of the batch norm after it. */
function interceptHome(graph: Graph, layer: Layer) {
  if (layer.bias !== undefined) return { parameter: layer.bias, sign: 1, replaces: true };
  const readers = graph.nodes.filter((node) => node.inputs.includes(layer.output));
  const [norm] = readers;
  if (readers.length !== 1 || norm.op !== "batch_norm") return undefined;
  return { parameter: norm.mean, sign: -1, replaces: false };
}

/** Parameters of the compensated layer, or none when its intercept has nowhere to go. */
async function compensated(
  cut: Graph,
  layer: Layer,
  parameters: ReadonlyMap<string, Tensor>,
  sums: { gram: Float64Array; cross: Float64Array },
): Promise<Map<string, Tensor>> {
  const home = interceptHome(cut, layer);
  if (home === undefined) return new Map();
  const solved = await solveLayer(layer, parameters.get(layer.weight)!, sums.gram, sums.cross);
  const old = parameters.get(home.parameter)!;
  // A batch norm sees y - mean, so an intercept added before it is a mean lowered by as much. The
  // targets are original outputs, so the original running mean is what it is lowered from.
  const data = Float32Array.from(
    old.data,
    (value, o) => home.replaces ? solved.intercepts[o] : value + home.sign * solved.intercepts[o],
  );
  return new Map([
    [layer.weight, solved.weight],
    [home.parameter, { shape: old.shape, data }],
  ]);
}

/** Batches that give every unknown enough equations, at most all. */
function enoughBatches(
  cut: Graph,
  layer: Layer,
  batches: readonly CalibrationBatch[],
): readonly CalibrationBatch[] {
  const [, ...cells] = shapesOf(cut).get(layer.output)!;
  const weight = cut.parameters.get(layer.weight)!;
  const unknowns = weight.data.length / weight.shape[0] + 1;
  const perImage = cells.reduce((product, extent) => product * extent, 1);
  const images = SAMPLES_PER_UNKNOWN * unknowns / perImage;
  // At least two batches, so that a layer of few weights still sees varied pictures.
  return batches.slice(0, Math.max(2, Math.ceil(images / batches[0].labels.length)));
}

/**
 * The cut graph with compensated weights. `removals` is what turned `original` into `cut`; the
 * pictures are used unaugmented, from the first on.
 */
export async function compensate(
  original: Graph,
  cut: Graph,
  removals: readonly Removal[],
  dataset: Dataset,
  options: CompensateOptions,
): Promise<Graph> {
  const { normalisation, signal, onProgress } = options;
  const layers = affectedLayers(cut, removals);
  const images = Math.min(options.batch ?? 128, dataset.count);
  const batches = calibrationBatches(dataset, images, normalisation);
  const kept = keptChannels(original, removals);
  const compute: ComputeOptions = { ...options, dtype: "f32" };
  using teacher = LoadedModel.open(
    original,
    layers.map(({ name, output }) => ({ kind: "forward", name, images, fetch: [output] })),
    compute,
  );
  using student = LoadedModel.open(
    cut,
    layers.map(({ name }) => ({ kind: "equations", name, images, layer: name })),
    compute,
  );
  const parameters = new Map(cut.parameters);
  for (const [index, layer] of layers.entries()) {
    const target = teacher.entry(layer.name);
    const entry = student.entry(layer.name);
    const channels = shapesOf(original).get(layer.output)![0];
    for (const batch of enoughBatches(cut, layer, batches)) {
      const value = target.values.get(layer.output)!;
      const wanted = await teacher.run(layer.name, {
        feeds: { [target.feeds.images!]: batch.images },
        fetch: [value],
        ...(signal ? { signal } : {}),
      });
      await student.run(layer.name, {
        feeds: {
          [entry.feeds.images!]: batch.images,
          [entry.feeds.target!]: selectChannels(
            wanted[value] as Float32Array,
            channels,
            kept(layer.output),
          ),
        },
      });
    }
    const sums = {
      gram: await student.session.read(entry.gram!) as Float64Array,
      cross: await student.session.read(entry.cross!) as Float64Array,
    };
    const changed = await compensated(cut, layer, parameters, sums);
    for (const [name, tensor] of changed) parameters.set(name, tensor);
    student.write(changed);
    const done = index + 1;
    onProgress?.({ stage: "compensation", done, total: layers.length, unit: "layers" });
  }
  return { ...cut, parameters };
}
