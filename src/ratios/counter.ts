/**
 * What a model costs at given widths, counted as real surgery would leave it but kept up to date width
 * by width: a change of one group recounts only the layers that its channels pass through.
 *
 * Which channels of a group stay does not matter to cost: the first `kept` are taken to.
 */

import type { ChannelGroup } from "../graph/channels.ts";
import type { Graph, Node, Shape } from "../graph/graph.ts";
import { operatorOf } from "../graph/operators/table.ts";
import { shapesOf } from "../graph/shapes.ts";

/** What one layer costs: its node, and its shapes as cut. */
export type LayerCost = (node: Node, inputs: readonly Shape[], output: Shape) => number;

/** A cost that follows widths. */
export interface WidthCounter {
  /** Of the model at the widths set so far; whole in the beginning. */
  readonly total: number;
  /** Sets how many of a group's players stay. */
  set(group: number, kept: number): void;
  /** For each group, those whose cost per channel depends on its width, itself among them. */
  readonly neighbours: readonly (readonly number[])[];
}

/** Multiply-accumulates, as costOf counts them. */
export const macsOf: LayerCost = (node, inputs, output) =>
  operatorOf(node).macs(node, inputs, output);

/** cumulative[k]: how many items the first k players have. */
function cumulative(players: number, itemsOf: (player: number) => number): Int32Array {
  const sums = new Int32Array(players + 1);
  for (let player = 0; player < players; player++) {
    sums[player + 1] = sums[player] + itemsOf(player);
  }
  return sums;
}

/** For each value that a group has channels in: how many its first k players have there. */
export function channelCounts({ players }: ChannelGroup): Map<string, Int32Array> {
  const byValue = new Map<string, Int32Array>();
  players.forEach(({ channels }, player) => {
    for (const { value } of channels) {
      let counts = byValue.get(value);
      if (counts === undefined) byValue.set(value, counts = new Int32Array(players.length));
      counts[player]++;
    }
  });
  return new Map(
    [...byValue].map(([value, counts]) => [value, cumulative(players.length, (p) => counts[p])]),
  );
}

/** A convolution whose channels pass one by one keeps as many groups as inputs. */
function resized(node: Node, before: Shape, after: Shape): Node {
  const apart = (node.op === "convolution" || node.op === "transposed_convolution") &&
    node.groups > 1 && node.groups === before[0];
  return apart ? { ...node, groups: after[0] } : node;
}

/** Indices of groups that touch the same item, by group. */
export function neighboursOf(groups: number, touching: Iterable<readonly number[]>): number[][] {
  const sets = Array.from({ length: groups }, (_, group) => new Set([group]));
  for (const together of touching) {
    for (const a of together) for (const b of together) sets[a].add(b);
  }
  return sets.map((set) => [...set]);
}

/** Sums a cost over layers; `cost` is asked anew for each layer whose shapes changed. */
export class LayerCounter implements WidthCounter {
  readonly neighbours: readonly (readonly number[])[];
  readonly #nodes: readonly Node[];
  readonly #cost: LayerCost;
  readonly #before: ReadonlyMap<string, Shape>;
  readonly #channels: Map<string, number>;
  readonly #counts: readonly ReadonlyMap<string, Int32Array>[];
  readonly #kept: number[];
  readonly #touched: readonly (readonly number[])[];
  readonly #own: Float64Array;
  #total = 0;

  constructor(graph: Graph, groups: readonly ChannelGroup[], cost: LayerCost = macsOf) {
    this.#nodes = graph.nodes;
    this.#cost = cost;
    this.#before = shapesOf(graph);
    this.#channels = new Map([...this.#before].map(([value, [channels]]) => [value, channels]));
    this.#counts = groups.map(channelCounts);
    this.#kept = groups.map(({ players }) => players.length);
    const costly = graph.nodes.map((node) => this.#costAt(node) > 0);
    this.#touched = this.#counts.map((counts) =>
      graph.nodes.flatMap((node, index) =>
        costly[index] && [...node.inputs, node.output].some((value) => counts.has(value))
          ? [index]
          : []
      )
    );
    const byNode = graph.nodes.map(() => [] as number[]);
    this.#touched.forEach((nodes, group) => nodes.forEach((node) => byNode[node].push(group)));
    this.neighbours = neighboursOf(groups.length, byNode);
    this.#own = Float64Array.from(graph.nodes, (node) => this.#costAt(node));
    this.#total = this.#own.reduce((sum, cost) => sum + cost, 0);
  }

  get total(): number {
    return this.#total;
  }

  set(group: number, kept: number): void {
    const before = this.#kept[group];
    if (kept === before) return;
    this.#kept[group] = kept;
    for (const [value, counts] of this.#counts[group]) {
      this.#channels.set(value, this.#channels.get(value)! + counts[kept] - counts[before]);
    }
    for (const index of this.#touched[group]) {
      const cost = this.#costAt(this.#nodes[index]);
      this.#total += cost - this.#own[index];
      this.#own[index] = cost;
    }
  }

  #shape(value: string): Shape {
    return [this.#channels.get(value)!, ...this.#before.get(value)!.slice(1)];
  }

  #costAt(node: Node): number {
    const inputs = node.inputs.map((value) => this.#shape(value));
    const cut = resized(node, this.#before.get(node.inputs[0])!, inputs[0]);
    return this.#cost(cut, inputs, this.#shape(node.output));
  }
}

/** Trainable parameters, those that layers share counted once. */
export class ParameterCounter implements WidthCounter {
  readonly neighbours: readonly (readonly number[])[];
  readonly #extents: Map<string, number[]>;
  /** By group: parameter, axis, and how many of its indices the first k players own. */
  readonly #slices: readonly (readonly (readonly [string, number, Int32Array])[])[];
  readonly #kept: number[];
  #total: number;

  constructor(graph: Graph, groups: readonly ChannelGroup[]) {
    const names = new Set(graph.nodes.flatMap((node) => operatorOf(node).trainable(node)));
    this.#extents = new Map(
      [...names].map((name) => [name, [...graph.parameters.get(name)!.shape]]),
    );
    this.#slices = groups.map((group) => sliceCounts(group, names));
    this.#kept = groups.map(({ players }) => players.length);
    this.#total = [...names].reduce((sum, name) => sum + this.#count(name), 0);
    const byParameter = new Map<string, number[]>();
    this.#slices.forEach((slices, group) => {
      for (const [name] of slices) {
        byParameter.set(name, [...byParameter.get(name) ?? [], group]);
      }
    });
    this.neighbours = neighboursOf(groups.length, byParameter.values());
  }

  get total(): number {
    return this.#total;
  }

  set(group: number, kept: number): void {
    const before = this.#kept[group];
    this.#kept[group] = kept;
    for (const [name, axis, counts] of this.#slices[group]) {
      this.#total -= this.#count(name);
      this.#extents.get(name)![axis] += counts[kept] - counts[before];
      this.#total += this.#count(name);
    }
  }

  #count(name: string): number {
    return this.#extents.get(name)!.reduce((product, extent) => product * extent, 1);
  }
}

/** For each axis of each parameter: how many indices the first k players own. */
function sliceCounts(
  { players }: ChannelGroup,
  names: ReadonlySet<string>,
): [string, number, Int32Array][] {
  const found = new Map<string, { name: string; axis: number; indices: Set<number>[] }>();
  players.forEach(({ slices }, player) => {
    for (const { parameter, axis, index } of slices) {
      if (!names.has(parameter)) continue;
      const key = `${axis} ${parameter}`;
      let entry = found.get(key);
      if (entry === undefined) {
        found.set(key, entry = { name: parameter, axis, indices: players.map(() => new Set()) });
      }
      entry.indices[player].add(index);
    }
  });
  return [...found.values()].map(({ name, axis, indices }) => [
    name,
    axis,
    cumulative(players.length, (player) => indices[player].size),
  ]);
}
