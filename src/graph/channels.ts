/**
 * Which channels can only be removed together. Every operator declares how it couples, owns and
 * mixes channels; union-find over (value, channel) turns that into groups of players.
 *
 * Sites - where a gate stands in for removal - are the values that mixing operators read, moved up
 * over operators that map zero channels to zero channels, so that they lie on feature maps.
 */

import type { Graph, Node, Shape } from "./graph.ts";
import type { ChannelRules, ParameterSlice } from "./operators/operator.ts";
import { operatorOf } from "./operators/table.ts";
import { shapesOf } from "./shapes.ts";

/** A channel of a value where a gate acts for its player. */
export interface Site {
  readonly value: string;
  readonly channel: number;
}

/** A set of channels that go together: one player of the Shapley game. */
export interface Player {
  /** All channels that go, in all values. */
  readonly channels: readonly Site[];
  /** Where gates mask it. */
  readonly sites: readonly Site[];
  /** What is cut from parameters. */
  readonly slices: readonly ParameterSlice[];
}

/** Players of one coupled set of values. */
export interface ChannelGroup {
  /** Name of the first layer that produces these channels. */
  readonly name: string;
  /** inner: channels of one layer; stream: several layers add into them. */
  readonly kind: "inner" | "stream";
  /** Layers whose own weights make these channels, in order. */
  readonly producers: readonly string[];
  /** Layers that mix these channels, in order. */
  readonly consumers: readonly string[];
  /** Values gates stand after, in order. */
  readonly sites: readonly string[];
  readonly players: readonly Player[];
  /** Why the group must stay whole, if it must. */
  readonly pinned?: string;
}

/** Disjoint sets over integers, with path halving; the smallest member represents its set. */
class DisjointSets {
  readonly #parent: Int32Array;

  constructor(size: number) {
    this.#parent = Int32Array.from({ length: size }, (_, i) => i);
  }

  find(member: number): number {
    const parent = this.#parent;
    while (parent[member] !== member) {
      parent[member] = parent[parent[member]];
      member = parent[member];
    }
    return member;
  }

  join(a: number, b: number): void {
    const rootA = this.find(a), rootB = this.find(b);
    this.#parent[Math.max(rootA, rootB)] = Math.min(rootA, rootB);
  }
}

/** What the operators of a graph declared. */
interface Declarations {
  /** First channel index of each value, in one numbering over all values. */
  readonly base: ReadonlyMap<string, number>;
  readonly values: readonly string[];
  readonly channels: DisjointSets;
  readonly slices: ReadonlyMap<number, readonly ParameterSlice[]>;
  readonly mixedBy: ReadonlyMap<string, readonly string[]>;
  readonly producedBy: ReadonlyMap<string, string>;
  readonly pins: ReadonlyMap<string, string>;
  readonly total: number;
}

function declare(graph: Graph, shapes: ReadonlyMap<string, Shape>): Declarations {
  const base = new Map<string, number>();
  let total = 0;
  for (const [value, shape] of shapes) {
    base.set(value, total);
    total += shape[0];
  }
  const channels = new DisjointSets(total);
  const slices = new Map<number, ParameterSlice[]>();
  const mixedBy = new Map<string, string[]>();
  const producedBy = new Map<string, string>();
  const pins = new Map([[graph.input.name, "it is the model's input"]]);
  pins.set(graph.output, "it is the model's output");
  const at = (value: string, channel: number) => base.get(value)! + channel;
  const append = <K, V>(map: Map<K, V[]>, key: K, item: V) => {
    const list = map.get(key);
    if (list === undefined) map.set(key, [item]);
    else list.push(item);
  };
  for (const node of graph.nodes) {
    const rules: ChannelRules = {
      couple: (valueA, a, valueB, b) => channels.join(at(valueA, a), at(valueB, b)),
      owns: (value, channel, slice) => append(slices, at(value, channel), slice),
      mixes: (value) => append(mixedBy, value, node.name),
      produces: (value) => producedBy.set(value, node.name),
      pin: (value, reason) => pins.set(value, reason),
    };
    const inputs = node.inputs.map((name) => shapes.get(name)!);
    operatorOf(node).channels(node, inputs, shapes.get(node.output)!, rules);
  }
  const values = [...shapes.keys()];
  return { base, values, channels, slices, mixedBy, producedBy, pins, total };
}

/** The value a gate stands after so that the mixing reader of `value` sees zeros. */
function siteOf(value: string, writers: ReadonlyMap<string, Node>): string {
  let node = writers.get(value);
  while (node !== undefined && operatorOf(node).keepsZero) {
    value = node.inputs[0];
    node = writers.get(value);
  }
  return value;
}

/** Sets of values that share a coupled channel, each in the graph's order. */
function coupledValues(declared: Declarations, shapes: ReadonlyMap<string, Shape>): string[][] {
  const values = declared.values;
  const sets = new DisjointSets(values.length);
  const firstWith = new Map<number, number>();
  values.forEach((value, index) => {
    const base = declared.base.get(value)!;
    for (let c = 0; c < shapes.get(value)![0]; c++) {
      const root = declared.channels.find(base + c);
      const first = firstWith.get(root);
      if (first === undefined) firstWith.set(root, index);
      else sets.join(first, index);
    }
  });
  const members = new Map<number, string[]>();
  values.forEach((value, index) => {
    const root = sets.find(index);
    members.set(root, [...members.get(root) ?? [], value]);
  });
  return [...members.values()];
}

/** Gathers the players of one set of coupled values, ordered by their first channel. */
function playersOf(
  values: readonly string[],
  sites: ReadonlySet<string>,
  declared: Declarations,
  shapes: ReadonlyMap<string, Shape>,
): Player[] {
  interface Draft {
    channels: Site[];
    sites: Site[];
    slices: ParameterSlice[];
  }
  const drafts = new Map<number, Draft>();
  for (const value of values) {
    const base = declared.base.get(value)!;
    for (let channel = 0; channel < shapes.get(value)![0]; channel++) {
      const root = declared.channels.find(base + channel);
      let draft = drafts.get(root);
      if (draft === undefined) drafts.set(root, draft = { channels: [], sites: [], slices: [] });
      draft.channels.push({ value, channel });
      if (sites.has(value)) draft.sites.push({ value, channel });
      draft.slices.push(...declared.slices.get(base + channel) ?? []);
    }
  }
  return [...drafts.values()];
}

/** One group from one set of coupled values, or undefined when no layer makes its channels. */
function groupOf(
  values: readonly string[],
  graph: Graph,
  shapes: ReadonlyMap<string, Shape>,
  declared: Declarations,
  writers: ReadonlyMap<string, Node>,
): ChannelGroup | undefined {
  const producers = values.flatMap((value) => declared.producedBy.get(value) ?? []);
  if (producers.length === 0) return undefined;
  const mixed = values.filter((value) => declared.mixedBy.has(value));
  const sites = new Set(mixed.map((value) => siteOf(value, writers)));
  const pinnedValue = values.find((value) => declared.pins.has(value));
  const consumers = new Set(mixed.flatMap((value) => declared.mixedBy.get(value)!));
  const added = values.some((value) => writers.get(value)?.op === "add");
  return {
    name: producers[0],
    kind: added ? "stream" : "inner",
    producers,
    consumers: graph.nodes.map((node) => node.name).filter((name) => consumers.has(name)),
    sites: values.filter((value) => sites.has(value)),
    players: playersOf(values, sites, declared, shapes),
    ...(pinnedValue === undefined ? {} : { pinned: declared.pins.get(pinnedValue)! }),
  };
}

/** The channel groups of a graph, in the order of their first producing layer. */
export function channelGroups(graph: Graph): ChannelGroup[] {
  const shapes = shapesOf(graph);
  const declared = declare(graph, shapes);
  const writers = new Map(graph.nodes.map((node) => [node.output, node]));
  return coupledValues(declared, shapes)
    .flatMap((values) => groupOf(values, graph, shapes, declared, writers) ?? []);
}

/** Which groups may be pruned: inner channels only, or residual streams too. */
export type Scope = "inner" | "all";

/** Groups that may lose channels. */
export function prunableGroups(graph: Graph, scope: Scope): ChannelGroup[] {
  return channelGroups(graph).filter((group) =>
    group.pinned === undefined && (scope === "all" || group.kind === "inner")
  );
}
