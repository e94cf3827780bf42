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

/** Players whose channels the same layers make; any but one of them may go. */
export interface ChannelGroup {
  /** Name of the first layer that produces these channels, numbered where it has several groups. */
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

/** Parameters that more than one layer reads. */
function sharedParameters(graph: Graph): Set<string> {
  const read = new Set<string>(), shared = new Set<string>();
  for (const node of graph.nodes) {
    const operator = operatorOf(node);
    for (const name of new Set([...operator.trainable(node), ...operator.buffers(node)])) {
      if (read.has(name)) shared.add(name);
      read.add(name);
    }
  }
  return shared;
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
  const owners = new Map<string, number>();
  const shared = sharedParameters(graph);
  const mixedBy = new Map<string, string[]>();
  const producedBy = new Map<string, string>();
  const pins = new Map([[graph.input.name, "it is the model's input"]]);
  const reason = graph.outputs.length > 1
    ? "it is one of the model's outputs"
    : "it is the model's output";
  for (const output of graph.outputs) pins.set(output, reason);
  const at = (value: string, channel: number) => base.get(value)! + channel;
  const append = <K, V>(map: Map<K, V[]>, key: K, item: V) => {
    const list = map.get(key);
    if (list === undefined) map.set(key, [item]);
    else list.push(item);
  };
  for (const node of graph.nodes) {
    const rules: ChannelRules = {
      couple: (valueA, a, valueB, b) => channels.join(at(valueA, a), at(valueB, b)),
      owns: (value, channel, slice) => {
        append(slices, at(value, channel), slice);
        if (!shared.has(slice.parameter)) return;
        // Layers that share a weight lose the same slices of it.
        const key = `${slice.parameter}\n${slice.axis}\n${slice.index}`;
        const first = owners.get(key);
        if (first === undefined) owners.set(key, at(value, channel));
        else channels.join(first, at(value, channel));
      },
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

/** Everything that goes with one channel, before it belongs to a group. */
interface DraftPlayer {
  readonly channels: Site[];
  readonly slices: ParameterSlice[];
  /** Values it has channels in, in the graph's order. */
  readonly values: Set<string>;
}

/** Coupled sets of channels that some layer makes, in the order of their first channels. */
function draftPlayers(
  declared: Declarations,
  shapes: ReadonlyMap<string, Shape>,
): DraftPlayer[] {
  const drafts = new Map<number, DraftPlayer>();
  for (const value of declared.values) {
    const base = declared.base.get(value)!;
    for (let channel = 0; channel < shapes.get(value)![0]; channel++) {
      const root = declared.channels.find(base + channel);
      let draft = drafts.get(root);
      if (draft === undefined) {
        drafts.set(root, draft = { channels: [], slices: [], values: new Set() });
      }
      draft.channels.push({ value, channel });
      draft.slices.push(...declared.slices.get(base + channel) ?? []);
      draft.values.add(value);
    }
  }
  return [...drafts.values()].filter(({ values }) =>
    [...values].some((value) => declared.producedBy.has(value))
  );
}

const pinOf = ({ values }: DraftPlayer, { pins }: Declarations): string | undefined =>
  pins.get([...values].find((value) => pins.has(value)) ?? "");

/** Players of the same layers form a group; those that must stay form one of their own. */
function groupPlayers(players: readonly DraftPlayer[], declared: Declarations): DraftPlayer[][] {
  const groups = new Map<string, DraftPlayer[]>();
  for (const player of players) {
    const layers = [...player.values].filter((value) => declared.producedBy.has(value));
    const key = JSON.stringify([layers, pinOf(player, declared) ?? null]);
    const known = groups.get(key);
    if (known === undefined) groups.set(key, [player]);
    else known.push(player);
  }
  return [...groups.values()];
}

/**
 * Splits groups until every value holds the whole of one, or a channel that cannot go. As every
 * group keeps a player, no value then loses its last channel, not even a slice of another value.
 */
function splitForValues(
  groups: readonly DraftPlayer[][],
  shapes: ReadonlyMap<string, Shape>,
): DraftPlayer[][] {
  const split = [...groups];
  const home = new Map(groups.flatMap((group) => group.map((player) => [player, group] as const)));
  for (const [value, players] of playersByValue(home.keys())) {
    const inside = new Map<DraftPlayer[], DraftPlayer[]>();
    for (const player of players) {
      const group = home.get(player)!;
      const known = inside.get(group);
      if (known === undefined) inside.set(group, [player]);
      else known.push(player);
    }
    const parts = [...inside];
    const whole = parts.some(([group, part]) => part.length === group.length);
    if (whole || channelsIn(players, value) < shapes.get(value)![0]) continue;
    const [group, part] = parts.reduce((best, each) =>
      each[1].length > best[1].length ? each : best
    );
    const rest = group.filter((player) => !player.values.has(value));
    split.splice(split.indexOf(group), 1, part, rest);
    for (const piece of [part, rest]) for (const player of piece) home.set(player, piece);
  }
  return split;
}

/** The players that have channels in each value. */
function playersByValue(players: Iterable<DraftPlayer>): Map<string, DraftPlayer[]> {
  const byValue = new Map<string, DraftPlayer[]>();
  for (const player of players) {
    for (const value of player.values) {
      const known = byValue.get(value);
      if (known === undefined) byValue.set(value, [player]);
      else known.push(player);
    }
  }
  return byValue;
}

function channelsIn(players: readonly DraftPlayer[], value: string): number {
  return players.reduce(
    (sum, { channels }) => sum + channels.filter((site) => site.value === value).length,
    0,
  );
}

/** A group from its players. */
function groupOf(
  players: readonly DraftPlayer[],
  graph: Graph,
  declared: Declarations,
  writers: ReadonlyMap<string, Node>,
): ChannelGroup {
  const members = new Set(players.flatMap(({ values }) => [...values]));
  const values = declared.values.filter((value) => members.has(value));
  const producers = values.flatMap((value) => declared.producedBy.get(value) ?? []);
  const mixed = values.filter((value) => declared.mixedBy.has(value));
  const sites = new Set(mixed.map((value) => siteOf(value, writers)));
  const consumers = new Set(mixed.flatMap((value) => declared.mixedBy.get(value)!));
  const added = values.some((value) => writers.get(value)?.op === "add");
  const pinned = pinOf(players[0], declared);
  return {
    name: producers[0],
    kind: added ? "stream" : "inner",
    producers,
    consumers: graph.nodes.map((node) => node.name).filter((name) => consumers.has(name)),
    sites: values.filter((value) => sites.has(value)),
    players: players.map(({ channels, slices }) => ({
      channels,
      sites: channels.filter(({ value }) => sites.has(value)),
      slices,
    })),
    ...(pinned === undefined ? {} : { pinned }),
  };
}

/** Names that differ: the second group of a layer gets "#2" and so on. */
function named(groups: readonly ChannelGroup[]): ChannelGroup[] {
  const seen = new Map<string, number>();
  return groups.map((group) => {
    const count = (seen.get(group.name) ?? 0) + 1;
    seen.set(group.name, count);
    return count === 1 ? group : { ...group, name: `${group.name}#${count}` };
  });
}

/** The channel groups of a graph, in the order of their first producing layer. */
export function channelGroups(graph: Graph): ChannelGroup[] {
  const shapes = shapesOf(graph);
  const declared = declare(graph, shapes);
  const writers = new Map(graph.nodes.map((node) => [node.output, node]));
  const groups = groupPlayers(draftPlayers(declared, shapes), declared);
  return named(
    splitForValues(groups, shapes)
      .map((players) => groupOf(players, graph, declared, writers)),
  );
}

/** Which groups may be pruned: inner channels only, or residual streams too. */
export type Scope = "inner" | "all";

/** Groups that may lose channels. */
export function prunableGroups(graph: Graph, scope: Scope): ChannelGroup[] {
  return channelGroups(graph).filter((group) =>
    group.pinned === undefined && (scope === "all" || group.kind === "inner")
  );
}
