/** Real surgery: a smaller graph from the channels that go. */

import type { ChannelGroup } from "./channels.ts";
import type { Graph } from "./graph.ts";
import { operatorOf } from "./operators/table.ts";
import { shapesOf } from "./shapes.ts";
import { elementCount, type Tensor } from "../tensor.ts";

/** Players of one group that go, by index. At least one player of a group must stay. */
export interface Removal {
  readonly group: ChannelGroup;
  readonly removed: Iterable<number>;
}

/** What a set of removals takes out of values and parameters. */
interface Losses {
  /** value -> channels that go. */
  readonly values: ReadonlyMap<string, ReadonlySet<number>>;
  /** parameter -> axis -> indices that go. */
  readonly parameters: ReadonlyMap<string, ReadonlyMap<number, ReadonlySet<number>>>;
}

function getOrInsert<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) map.set(key, value = make());
  return value;
}

function lossesOf(removals: readonly Removal[]): Losses {
  const values = new Map<string, Set<number>>();
  const parameters = new Map<string, Map<number, Set<number>>>();
  for (const { group, removed } of removals) {
    for (const index of removed) {
      const player = group.players[index];
      for (const { value, channel } of player.channels) {
        getOrInsert(values, value, () => new Set<number>()).add(channel);
      }
      for (const { parameter, axis, index: position } of player.slices) {
        const axes = getOrInsert(parameters, parameter, () => new Map<number, Set<number>>());
        getOrInsert(axes, axis, () => new Set<number>()).add(position);
      }
    }
  }
  return { values, parameters };
}

/** Indices 0..extent-1 without those that go. */
function keptOf(extent: number, gone: ReadonlySet<number> | undefined): number[] {
  const all = Array.from({ length: extent }, (_, index) => index);
  return gone === undefined ? all : all.filter((index) => !gone.has(index));
}

/** The tensor restricted to the kept indices of one axis. */
function take(tensor: Tensor, axis: number, kept: readonly number[]): Tensor {
  const inner = elementCount(tensor.shape.slice(axis + 1));
  const outer = elementCount(tensor.shape.slice(0, axis));
  const extent = tensor.shape[axis];
  const shape = tensor.shape.map((length, position) => position === axis ? kept.length : length);
  const data = new Float32Array(outer * kept.length * inner);
  let at = 0;
  for (let o = 0; o < outer; o++) {
    for (const index of kept) {
      const from = (o * extent + index) * inner;
      data.set(tensor.data.subarray(from, from + inner), at);
      at += inner;
    }
  }
  return { shape, data };
}

/** Kept indices of every parameter and axis that loses any, in the original numbering. */
export interface ParameterCut {
  readonly parameter: string;
  readonly axis: number;
  /** Indices along the axis before the cut. */
  readonly extent: number;
  readonly kept: readonly number[];
}

/** What a plan does to each original parameter: enough to cut the same model anywhere. */
export function parameterCuts(graph: Graph, removals: readonly Removal[]): ParameterCut[] {
  const losses = lossesOf(removals);
  const cuts: ParameterCut[] = [];
  for (const [parameter, tensor] of graph.parameters) {
    for (const [axis, gone] of losses.parameters.get(parameter) ?? []) {
      const extent = tensor.shape[axis];
      cuts.push({ parameter, axis, extent, kept: keptOf(extent, gone) });
    }
  }
  return cuts;
}

/** A node that rearranges channels, where what it does changes with them. */
export interface ChannelMapCut {
  readonly node: string;
  /** What it read before the cut, and of that what stays, in the original numbering. */
  readonly channels: number;
  readonly keptIn: readonly number[];
  readonly keptOut: readonly number[];
  /** Source of every output channel, -1 for zeros: before the cut, and after it, newly numbered. */
  readonly from: readonly number[];
  readonly cut: readonly number[];
  /** Names of the groups that lose what it reads or writes. */
  readonly groups: readonly string[];
}

/** What a plan does to operations without parameters: shortcuts that pad, splits, shuffles. */
export function channelMapCuts(graph: Graph, removals: readonly Removal[]): ChannelMapCut[] {
  const losses = lossesOf(removals);
  const shapes = shapesOf(graph);
  const kept = (value: string) => keptOf(shapes.get(value)![0], losses.values.get(value));
  const after = new Map(cutNodes(graph, losses).map((node) => [node.name, node]));
  return graph.nodes.flatMap((node) => {
    const cut = after.get(node.name)!;
    if (node.op !== "channel_map" || cut.op !== "channel_map") return [];
    const [channels] = shapes.get(node.inputs[0])!;
    const keptIn = kept(node.inputs[0]), keptOut = kept(node.output);
    if (keptIn.length === channels && keptOut.length === node.from.length) return [];
    const groups = removals.filter(({ group, removed }) =>
      [...removed].some((player) =>
        group.players[player].channels.some(({ value }) =>
          value === node.inputs[0] || value === node.output
        )
      )
    ).map(({ group }) => group.name);
    return [{ node: node.name, channels, keptIn, keptOut, from: node.from, cut: cut.from, groups }];
  });
}

function cutNodes(graph: Graph, losses: Losses): Graph["nodes"] {
  const shapes = shapesOf(graph);
  const kept = (value: string) => keptOf(shapes.get(value)![0], losses.values.get(value));
  return graph.nodes.map((node) => {
    const inputs = node.inputs.map((value) => shapes.get(value)!);
    return operatorOf(node).cut(node, inputs, kept);
  });
}

/**
 * The graph without the removed channels. Removals must come from `channelGroups` of this graph.
 */
export function cutGraph(graph: Graph, removals: readonly Removal[]): Graph {
  const losses = lossesOf(removals);
  const parameters = new Map<string, Tensor>();
  for (const [name, tensor] of graph.parameters) {
    let cut = tensor;
    for (const [axis, gone] of losses.parameters.get(name) ?? []) {
      cut = take(cut, axis, keptOf(tensor.shape[axis], gone));
    }
    parameters.set(name, cut);
  }
  return { ...graph, nodes: cutNodes(graph, losses), parameters };
}

/**
 * As `cutGraph`, but parameters keep only their shapes: for counting cost while a budget is being
 * solved.
 */
export function cutShapes(graph: Graph, removals: readonly Removal[]): Graph {
  const losses = lossesOf(removals);
  const parameters = new Map<string, Tensor>();
  for (const [name, tensor] of graph.parameters) {
    const shape = [...tensor.shape];
    for (const [axis, gone] of losses.parameters.get(name) ?? []) shape[axis] -= gone.size;
    parameters.set(name, { shape, data: new Float32Array(0) });
  }
  return { ...graph, nodes: cutNodes(graph, losses), parameters };
}
