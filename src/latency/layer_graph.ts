/**
 * A unit alone in a graph, to be timed at any width. What it reads is made by pointwise convolutions
 * of a picture, what it writes is read by a small classifier; both are left out of the time. Other
 * widths come from real surgery on this graph, so that groups of convolutions, joined channels and
 * maps of channels become what they become in a pruned model.
 */

import { type ChannelGroup, prunableGroups } from "../graph/channels.ts";
import { cutShapes, type Removal } from "../graph/cut.ts";
import type { Graph, Node, Shape } from "../graph/graph.ts";
import { shapesOf } from "../graph/shapes.ts";
import { elementCount, type Tensor } from "../tensor.ts";
import type { Unit } from "./units.ts";

/** Names of the unit's nodes and values begin with this. */
export const UNIT_PREFIX = "unit/";
/** Names of all others begin with this. */
export const AROUND_PREFIX = "around/";

/** A unit's graph and the channels of it that may go. */
export interface LayerGraph {
  readonly graph: Graph;
  /** Groups of what the unit reads, apart from those it writes; and of what it writes. */
  readonly reading: readonly ChannelGroup[];
  readonly writing: readonly ChannelGroup[];
  /** The unit's first input and its output, and how many channels they have. */
  readonly read: string;
  readonly written: string;
  readonly inWidth: number;
  readonly outWidth: number;
}

/** Numbers that are no extremes for any layer; offset by 1 for variances and scales. */
function filling(length: number, around: number): Float32Array {
  const data = new Float32Array(length);
  // A sawtooth of a prime period, cheaper than random numbers of large layers.
  for (let i = 0; i < length; i++) data[i] = around + (i % 251 - 125) / 2000;
  return data;
}

/** The graph with numbers for weights: parameters of batch norm near 1, others near 0. */
export function filled(graph: Graph): Graph {
  const near = new Set(
    graph.nodes.flatMap((node) =>
      node.op === "batch_norm"
        ? [node.scale, node.variance]
        : node.op === "layer_norm" || node.op === "group_norm"
        ? [node.scale]
        : []
    ),
  );
  const parameters = new Map([...graph.parameters].map(([name, { shape }]) => {
    return [name, { shape, data: filling(elementCount(shape), near.has(name) ? 1 : 0) }];
  }));
  return { ...graph, parameters };
}

/** Numbers in a graph's parameters. */
export const weightCount = (graph: Graph): number =>
  [...graph.parameters.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0);

const hollow = (...shape: number[]): Tensor => ({ shape, data: new Float32Array(0) });

const extentsOf = (shape: Shape): readonly [number, number] =>
  shape.length === 3 ? [shape[1], shape[2]] : [1, 1];

const POINTWISE = {
  kernel: [1, 1],
  stride: [1, 1],
  padding: [0, 0, 0, 0],
  dilation: [1, 1],
  groups: 1,
} as const;

/** Extents of maps that crowd the caches, and the most channels: 2 MiB of f32. */
const CROWD = [128, 128] as const;
const MOST_CROWD = 32;

/**
 * Channels of maps as large as a model's weights, or as caches that are one processor's own: after
 * the rest of its model has run, a layer finds of its weights there what they leave.
 */
export function crowdOf(graph: Graph): number {
  return Math.min(MOST_CROWD, Math.floor(weightCount(graph) / (CROWD[0] * CROWD[1])));
}

/** Channels that what a unit writes is read into: as many as layouts in blocks hold. */
const READERS = 16;

/** Most numbers of a picture's that change layout around a unit for the sake of what is around. */
export const MOST_AROUND = Math.max(READERS, MOST_CROWD);

/** Collects the nodes around a unit. */
class Surroundings {
  readonly nodes: Node[] = [];
  readonly parameters = new Map<string, Tensor>();
  readonly #shape: Shape;
  #picture: string;

  constructor(picture: string, shape: Shape) {
    this.#picture = picture;
    this.#shape = shape;
  }

  /** Nodes that go over maps of this many channels before anything else can start. */
  crowd(channels: number): void {
    const picture = this.#picture;
    const pooled = `${AROUND_PREFIX}crowd/pooled`;
    this.make(`${AROUND_PREFIX}crowd`, [channels, ...CROWD], `${AROUND_PREFIX}crowd`);
    this.#add({
      op: "global_average_pool",
      name: `${AROUND_PREFIX}crowd/pool`,
      inputs: [`${AROUND_PREFIX}crowd`],
      output: pooled,
    });
    const weight = `${AROUND_PREFIX}crowd/sum`;
    this.parameters.set(weight, hollow(this.#shape[0], channels, 1, 1));
    const about = { name: weight, inputs: [pooled], output: weight, weight };
    this.#add({ op: "convolution", ...about, ...POINTWISE });
    this.#picture = this.#add({
      op: "multiply",
      name: `${AROUND_PREFIX}crowd/multiply`,
      inputs: [picture, weight],
      output: `${AROUND_PREFIX}picture`,
    });
  }

  /** Nodes that make a value of this shape from the picture. */
  make(value: string, shape: Shape, name: string): void {
    const [height, width] = extentsOf(shape);
    const [from, ...own] = extentsOf(this.#shape);
    let last = this.#picture;
    if (height !== from || width !== own[0]) {
      last = this.#add({
        op: "resize",
        name: `${name}/resize`,
        inputs: [last],
        output: `${name}/resize`,
        mode: "nearest",
        coordinates: "asymmetric",
        rounding: "floor",
        size: [height, width],
        scales: [height / from, width / own[0]],
      });
    }
    const weight = `${name}/weight`;
    this.parameters.set(weight, hollow(shape[0], this.#shape[0], 1, 1));
    const flat = shape.length === 1;
    this.#add({
      op: "convolution",
      name: `${name}/make`,
      inputs: [last],
      output: flat ? `${name}/make` : value,
      weight,
      ...POINTWISE,
    });
    if (flat) {
      this.#add({ op: "flatten", name: `${name}/flat`, inputs: [`${name}/make`], output: value });
    }
  }

  /** Nodes that read a value of this shape whole, as the next layer would; their answer's name. */
  read(value: string, shape: Shape): string {
    const flat = shape.length === 1;
    this.parameters.set(
      `${AROUND_PREFIX}weight`,
      flat ? hollow(READERS, shape[0]) : hollow(READERS, shape[0], 1, 1),
    );
    const about = {
      inputs: [value],
      output: `${AROUND_PREFIX}read`,
      weight: `${AROUND_PREFIX}weight`,
    };
    if (flat) return this.#add({ op: "linear", name: `${AROUND_PREFIX}linear`, ...about });
    this.#add({ op: "convolution", name: `${AROUND_PREFIX}convolution`, ...about, ...POINTWISE });
    this.#add({
      op: "global_average_pool",
      name: `${AROUND_PREFIX}pool`,
      inputs: [`${AROUND_PREFIX}read`],
      output: `${AROUND_PREFIX}pooled`,
    });
    return this.#add({
      op: "flatten",
      name: `${AROUND_PREFIX}flatten`,
      inputs: [`${AROUND_PREFIX}pooled`],
      output: `${AROUND_PREFIX}answer`,
    });
  }

  #add(node: Node): string {
    this.nodes.push(node);
    return node.output;
  }
}

/** A node under other names; parameters keep theirs. */
function renamed(node: Node, nameOf: (value: string) => string): Node {
  return {
    ...node,
    name: UNIT_PREFIX + node.name,
    inputs: node.inputs.map(nameOf),
    output: nameOf(node.output),
  };
}

/**
 * The graph of one unit of `graph` at full width; parameters keep only their shapes. `crowd` is what
 * `crowdOf` gave.
 */
export function layerGraph(
  graph: Graph,
  shapes: ReadonlyMap<string, Shape>,
  unit: Unit,
  crowd: number,
): LayerGraph {
  const first = shapes.get(unit.inputs[0])!;
  const readsPicture = unit.inputs.includes(graph.input.name);
  const shape = readsPicture ? graph.input.shape : [1, ...extentsOf(first)];
  const around = new Surroundings("picture", shape);
  // What reads the picture runs first.
  if (crowd > 0 && !readsPicture) around.crowd(crowd);
  unit.inputs.forEach((value, place) => {
    if (value !== graph.input.name) {
      around.make(`${AROUND_PREFIX}${value}`, shapes.get(value)!, `${AROUND_PREFIX}make${place}`);
    }
  });
  const own = new Set(unit.nodes.map((node) => node.output));
  const nameOf = (value: string) =>
    value === graph.input.name
      ? "picture"
      : own.has(value)
      ? UNIT_PREFIX + value
      : AROUND_PREFIX + value;
  const made = around.nodes.splice(0);
  const written = nameOf(unit.output);
  const output = graph.outputs.includes(unit.output)
    ? written
    : around.read(written, shapes.get(unit.output)!);
  const alone: Graph = {
    name: unit.name,
    input: { name: "picture", shape },
    outputs: [output],
    nodes: [...made, ...unit.nodes.map((node) => renamed(node, nameOf)), ...around.nodes],
    parameters: new Map([...graph.parameters, ...around.parameters]),
  };
  return withGroups(onlyUsed(alone), nameOf(unit.inputs[0]), written);
}

/** The graph with the parameters that its nodes name. */
function onlyUsed(graph: Graph): Graph {
  const named = new Set(graph.nodes.flatMap((node) => Object.values(node)));
  return {
    ...graph,
    parameters: new Map([...graph.parameters].filter(([name]) => named.has(name))),
  };
}

function withGroups(graph: Graph, read: string, written: string): LayerGraph {
  const shapes = shapesOf(graph);
  const groups = prunableGroups(graph, "all");
  const holds = (group: ChannelGroup, value: string) =>
    group.players.some(({ channels }) => channels.some((channel) => channel.value === value));
  const writing = groups.filter((group) => holds(group, written));
  const reading = groups.filter((group) => !writing.includes(group) && holds(group, read));
  const inWidth = shapes.get(read)![0], outWidth = shapes.get(written)![0];
  return { graph, reading, writing, read, written, inWidth, outWidth };
}

/** Removals that leave about `share` of every group, at least one player: the first ones. */
export const narrowedTo = (groups: readonly ChannelGroup[], share: number): Removal[] =>
  groups.map((group) => {
    const players = group.players.map((_, player) => player);
    return { group, removed: players.slice(Math.max(1, Math.round(share * players.length))) };
  });

/** A unit's graph at some widths; parameters keep only their shapes. */
export interface Narrowed {
  readonly graph: Graph;
  readonly inWidth: number;
  readonly outWidth: number;
}

/** The unit at the widths nearest to these that surgery can make. */
export function atWidths(layer: LayerGraph, inWidth: number, outWidth: number): Narrowed {
  const cut = cutShapes(layer.graph, [
    ...narrowedTo(layer.reading, inWidth / layer.inWidth),
    ...narrowedTo(layer.writing, outWidth / layer.outWidth),
  ]);
  const shapes = shapesOf(cut);
  return {
    graph: cut,
    inWidth: shapes.get(layer.read)![0],
    outWidth: shapes.get(layer.written)![0],
  };
}
