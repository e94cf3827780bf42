/**
 * How the layers behind a channel group read it, as consumers of a Reproduction: whose each unknown
 * is, with what weights, and how outputs count.
 *
 * Errors are in shares of what a layer puts out, or of the sum that its output ends in, as in a residual
 * network: a branch that adds little to its stream can lose much of itself. 1 is everything. So errors
 * compare between layers, add up over the layers that read a group, and a curve of them can be weighed
 * against what channels cost.
 */

import type { ChannelGroup } from "../graph/channels.ts";
import type { BatchNormNode, Graph, Node } from "../graph/graph.ts";
import { shapesOf } from "../graph/shapes.ts";
import type { NativeConsumer } from "../native/reproduction.ts";
import { type Sum, sumBehind } from "../surgery/targets.ts";
import { elementCount } from "../tensor.ts";
import { type Moments, unknownsOf } from "./moments.ts";

/** Unknowns beyond which the exact covariance of a layer takes too much memory and time. */
export const MOST_UNKNOWNS = 6144;

/** What a group's readers need measured. */
export interface Needs {
  /** Layers whose least squares is taken exactly. */
  readonly layers: readonly string[];
  /** Values whose channels are taken one by one. */
  readonly values: readonly string[];
}

/** A reader, or one group of its own, as the game takes it. */
export interface Consumer {
  readonly native: NativeConsumer;
  /** The layer whose weights it has; absent where channels are taken one by one. */
  readonly part?: LayerPart;
}

/** Rows of a layer's weights [out, n], as a consumer has them. */
export interface LayerPart {
  readonly layer: string;
  /** The first row; there are as many as `scale` is long. */
  readonly first: number;
  /** By row: what the consumer's weights are in units of the layer's. */
  readonly scale: Float64Array;
  /** [n]: means of what the weights are multiplied with. */
  readonly mean: Float64Array;
}

/** A node that mixes a group's channels, and how it is taken. */
interface Reader {
  readonly node: Node;
  /** exact: least squares over all unknowns; apart: every channel for itself, nothing made up for. */
  readonly kind: "exact" | "apart";
}

const isLayer = ({ op }: Node): boolean => op === "convolution" || op === "linear";

function readersOf(graph: Graph, group: ChannelGroup): Reader[] {
  const names = new Set(group.consumers);
  return graph.nodes.filter(({ name }) => names.has(name)).map((node) => ({
    node,
    kind: isLayer(node) && unknownsOf(graph, node) <= MOST_UNKNOWNS ? "exact" : "apart",
  }));
}

/** What must be measured before `consumersOf` can be asked for these groups. */
export function needsOf(graph: Graph, groups: readonly ChannelGroup[]): Needs {
  const layers = new Set<string>(), values = new Set<string>();
  for (const { node, kind } of groups.flatMap((group) => readersOf(graph, group))) {
    if (kind === "apart") values.add(node.inputs[0]);
    else {
      layers.add(node.name);
      const sum = sumOf(graph, node);
      if (sum) values.add(sum.output);
    }
  }
  return { layers: [...layers], values: [...values] };
}

/** The sum that a layer's output ends in, if it does: what an error there must be held against. */
function sumOf(graph: Graph, node: Node): Sum | undefined {
  return node.op === "convolution" || node.op === "linear"
    ? sumBehind(graph, node, new Set())
    : undefined;
}

/** Sum of the variances of a value's channels. */
function varianceOf([{ covariance, mean }]: readonly Moments[]): number {
  let total = 0;
  for (let c = 0; c < mean.length; c++) total += covariance[c * mean.length + c];
  return total;
}

/** The player of each channel of a value, -1 where it is of another group. */
function ownersOf(group: ChannelGroup, value: string, channels: number): Int32Array {
  const owners = new Int32Array(channels).fill(-1);
  group.players.forEach((player, index) => {
    for (const site of player.channels) {
      if (site.value === value) owners[site.channel] = index;
    }
  });
  return owners;
}

/** The batch norm that alone reads a layer's output, if one does. */
function normBehind(graph: Graph, layer: Node): BatchNormNode | undefined {
  const readers = graph.nodes.filter(({ inputs }) => inputs.includes(layer.output));
  const [norm] = readers;
  return readers.length === 1 && norm.op === "batch_norm" ? norm : undefined;
}

/** By how much the batch norm behind stretches each output: an error there counts after it. */
function stretchOf(graph: Graph, layer: Node, outputs: number): Float64Array {
  const norm = normBehind(graph, layer);
  if (norm === undefined) return new Float64Array(outputs).fill(1);
  const scale = graph.parameters.get(norm.scale)!.data;
  const variance = graph.parameters.get(norm.variance)!.data;
  return Float64Array.from(scale, (factor, o) => factor / Math.sqrt(variance[o] + norm.epsilon));
}

/** trace(W G W^T) for W [m, n], G [n, n]. */
function outputVariance(weights: Float64Array, { covariance }: Moments, n: number): number {
  let total = 0;
  const row = new Float64Array(n);
  for (let first = 0; first < weights.length; first += n) {
    row.fill(0);
    for (let i = 0; i < n; i++) {
      const weight = weights[first + i];
      if (weight === 0) continue;
      for (let j = 0; j < n; j++) row[j] += weight * covariance[i * n + j];
    }
    for (let j = 0; j < n; j++) total += row[j] * weights[first + j];
  }
  return total;
}

/** A layer's weights [out, n] of one of its groups, rows stretched. */
function stretchedWeights(
  data: Float32Array,
  stretch: Float64Array,
  n: number,
  rows: { readonly first: number; readonly count: number },
): Float64Array {
  const weights = new Float64Array(rows.count * n);
  for (let o = 0; o < rows.count; o++) {
    const row = rows.first + o;
    for (let i = 0; i < n; i++) weights[o * n + i] = data[row * n + i] * stretch[row];
  }
  return weights;
}

/** A consumer for each group of a layer's own, errors in shares of its output's variance or its sum's. */
function exactConsumers(
  graph: Graph,
  group: ChannelGroup,
  layer: Node,
  moments: readonly Moments[],
  sum: readonly Moments[] | undefined,
): Consumer[] {
  if (layer.op !== "convolution" && layer.op !== "linear") return [];
  const [value] = layer.inputs;
  const { shape, data } = graph.parameters.get(layer.weight)!;
  const n = unknownsOf(graph, layer);
  const taps = elementCount(shape.slice(2));
  const stretch = stretchOf(graph, layer, shape[0]);
  const owners = ownersOf(group, value, shapesOf(graph).get(value)![0]);
  const count = shape[0] / moments.length;
  const consumers = moments.map(({ covariance, mean }, index): Consumer => {
    const first = index * count;
    const native = {
      covariance,
      weights: stretchedWeights(data, stretch, n, { first, count }),
      owners: Int32Array.from(
        { length: n },
        (_, i) => owners[index * n / taps + Math.floor(i / taps)],
      ),
    };
    const scale = stretch.slice(first, first + count);
    return { native, part: { layer: layer.name, first, scale, mean } };
  });
  const total = consumers.reduce(
    (sum, { native }, index) => sum + outputVariance(native.weights, moments[index], n),
    0,
  );
  return normalised(consumers, sum ? Math.max(total, varianceOf(sum)) : total);
}

/** Scales errors to shares of a total; without variance there is nothing to lose. */
function normalised(consumers: readonly Consumer[], total: number): Consumer[] {
  if (!(total > 0)) return [];
  const factor = 1 / Math.sqrt(total);
  for (const { native: { weights }, part } of consumers) {
    for (let i = 0; i < weights.length; i++) weights[i] *= factor;
    part?.scale.forEach((scale, row) => part.scale[row] = scale * factor);
  }
  return [...consumers];
}

/** Squared weights that a reader gives each channel of the value it reads, summed over outputs. */
function channelPowers(graph: Graph, node: Node, channels: number): Float64Array {
  const powers = new Float64Array(channels);
  if (node.op === "channel_map") {
    for (const from of node.from) if (from >= 0) powers[from] += 1;
    return powers;
  }
  if (node.op === "linear" || node.op === "transposed_convolution") {
    const { shape, data } = graph.parameters.get(node.weight)!;
    const axis = node.op === "linear" ? 1 : 0;
    const inner = elementCount(shape.slice(axis + 1)), extent = shape[axis];
    data.forEach((weight, i) => powers[Math.floor(i / inner) % extent] += weight * weight);
    return powers;
  }
  if (node.op === "convolution") {
    const { shape, data } = graph.parameters.get(node.weight)!;
    const taps = elementCount(shape.slice(2)), perGroup = shape[1], outs = shape[0] / node.groups;
    data.forEach((weight, i) => {
      const group = Math.floor(i / (taps * perGroup * outs));
      powers[group * perGroup + Math.floor(i / taps) % perGroup] += weight * weight;
    });
    return powers;
  }
  return powers.fill(1);
}

/** What a reader loses with each channel when nothing makes up for it, in shares of the whole. */
function apartConsumer(
  graph: Graph,
  group: ChannelGroup,
  node: Node,
  { covariance, mean }: Moments,
): Consumer[] {
  const channels = mean.length;
  const powers = channelPowers(graph, node, channels);
  const owners = ownersOf(group, node.inputs[0], channels);
  const losses = powers.map((power, c) => power * covariance[c * channels + c]);
  const total = losses.reduce((sum, loss) => sum + loss, 0);
  // One unknown a channel and one output, of unit covariance: the cost of each is its weight squared.
  const consumers = Array.from(owners, (owner, c) => ({ owner, weight: Math.sqrt(losses[c]) }))
    .filter(({ owner }) => owner >= 0)
    .map(({ owner, weight }) => ({
      native: {
        covariance: Float64Array.of(1),
        weights: Float64Array.of(weight),
        owners: Int32Array.of(owner),
      },
    }));
  return normalised(consumers, total);
}

/** The consumers of a group, from moments measured as `needsOf` asked. */
export function consumersOf(
  graph: Graph,
  group: ChannelGroup,
  moments: ReadonlyMap<string, readonly Moments[]>,
): Consumer[] {
  return readersOf(graph, group).flatMap(({ node, kind }) =>
    kind === "exact"
      ? exactConsumers(
        graph,
        group,
        node,
        moments.get(node.name)!,
        moments.get(sumOf(graph, node)?.output ?? ""),
      )
      : apartConsumer(graph, group, node, moments.get(node.inputs[0])![0])
  );
}
