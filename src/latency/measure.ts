/** Times units at sampled widths, and whole models. */

import type { Graph } from "../graph/graph.ts";
import { stopIfAsked } from "../progress.ts";
import { type Curve, latticeWidths, widthsToMeasure } from "./curve.ts";
import {
  AROUND_PREFIX,
  atWidths,
  filled,
  type LayerGraph,
  UNIT_PREFIX,
  weightCount,
} from "./layer_graph.ts";
import type { Runtime, TimedGraph } from "./runtime.ts";
import { timingOf } from "./timing.ts";

/** How often graphs take turns, and how many passes each makes in its turn. */
interface Turns {
  readonly rounds: number;
  readonly passes: number;
}

export const LAYER_TURNS: Turns = { rounds: 3, passes: 5 };
export const WHOLE_TURNS: Turns = { rounds: 16, passes: 3 };

/** Passes of a turn before the clock counts: caches and threads settle. */
const WARM_UP = 1;

/** Weights held at once by graphs that take turns. */
const MOST_WEIGHTS = 2 ** 26;

/** What clocks cannot tell from nothing. */
const LEAST = 1e-6;

export interface MeasureOptions {
  readonly signal?: AbortSignal;
  /** Called when a graph has had a turn. */
  readonly onTurn?: () => void;
}

/** A small convolution: what the machine does besides slows it down as it does everything. */
function referenceGraph(): Graph {
  const channels = 32, side = 16;
  return filled({
    name: "reference",
    input: { name: "picture", shape: [channels, side, side] },
    outputs: ["answer"],
    nodes: [
      {
        op: "convolution",
        name: `${UNIT_PREFIX}convolution`,
        inputs: ["picture"],
        output: `${UNIT_PREFIX}map`,
        weight: "weight",
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1, 1, 1],
        dilation: [1, 1],
        groups: 1,
      },
      {
        op: "global_average_pool",
        name: `${AROUND_PREFIX}pool`,
        inputs: [`${UNIT_PREFIX}map`],
        output: `${AROUND_PREFIX}pooled`,
      },
      {
        op: "flatten",
        name: `${AROUND_PREFIX}flatten`,
        inputs: [`${AROUND_PREFIX}pooled`],
        output: "answer",
      },
    ],
    parameters: new Map([
      ["weight", { shape: [channels, channels, 3, 3], data: new Float32Array(0) }],
    ]),
  });
}

/** What graphs took. */
interface Timed {
  /** Of each graph, as multiples of what the reference took meanwhile. */
  readonly ratios: readonly number[];
  /** Milliseconds that the reference took when the machine was quietest. */
  readonly reference: number;
}

const median = (values: readonly number[]): number => Math.max(LEAST, timingOf(values).median);

/**
 * Times graphs in turns; every pass comes after one of the reference. Clocks that change and
 * neighbours that come and go slow both down and leave their ratio.
 */
async function timeInTurns(
  open: (graph: Graph) => Promise<TimedGraph>,
  graphs: readonly Graph[],
  { rounds, passes }: Turns,
  { signal, onTurn }: MeasureOptions,
): Promise<Timed> {
  const opened: TimedGraph[] = [];
  const times: (readonly number[])[] = [];
  try {
    for (const graph of [referenceGraph(), ...graphs]) opened.push(await open(graph));
    const [reference, ...others] = opened;
    for (let round = 0; round < rounds; round++) {
      for (const graph of others) {
        stopIfAsked(signal);
        for (let pass = -WARM_UP; pass < passes; pass++) {
          await reference.pass();
          await graph.pass();
        }
        onTurn?.();
      }
    }
  } finally {
    for (const graph of opened) times.push(await graph.finish());
  }
  const [reference, ...others] = times;
  const turn = WARM_UP + passes;
  const turnOf = (all: readonly number[], index: number) =>
    median(all.slice(index * turn + WARM_UP, (index + 1) * turn));
  const meanwhile = Array.from(
    { length: rounds * graphs.length },
    (_, index) => turnOf(reference, index),
  );
  // Long passes are interrupted where the reference is not: the quieter rounds count.
  const ratios = others.map((all, place) => {
    const rounded = Array.from(
      { length: rounds },
      (_, round) => turnOf(all, round) / meanwhile[round * graphs.length + place],
    );
    return Math.max(LEAST, timingOf(rounded).low);
  });
  return { ratios, reference: Math.min(...meanwhile) };
}

/** Graphs in order, in parts that may be held at once. */
function parts(graphs: readonly Graph[]): Graph[][] {
  const found: Graph[][] = [];
  let held = Infinity;
  for (const graph of graphs) {
    const weights = weightCount(graph);
    if (held + weights > MOST_WEIGHTS) {
      found.push([]);
      held = 0;
    }
    found.at(-1)!.push(graph);
    held += weights;
  }
  return found;
}

/** Widths to measure a unit at, in and out; the last pairs are those of the lattice. */
interface Plan {
  readonly inWidths: readonly number[];
  readonly outWidths: readonly number[];
  readonly latticeIn: readonly number[];
  readonly latticeOut: readonly number[];
  readonly pairs: readonly (readonly [number, number])[];
}

/** Widths that surgery makes of the ones wanted, each once. */
function realised(layer: LayerGraph, roundTo: number, axis: "inWidth" | "outWidth"): number[] {
  const full = layer[axis];
  const free = axis === "inWidth" ? layer.reading : layer.writing;
  if (free.length === 0) return [full];
  const made = widthsToMeasure(full, roundTo).map((width) =>
    axis === "inWidth"
      ? atWidths(layer, width, layer.outWidth).inWidth
      : atWidths(layer, layer.inWidth, width).outWidth
  );
  return [...new Set(made)].sort((a, b) => a - b);
}

function planOf(layer: LayerGraph, roundTo: number): Plan {
  const inWidths = realised(layer, roundTo, "inWidth");
  const outWidths = realised(layer, roundTo, "outWidth");
  const latticeIn = latticeWidths(inWidths), latticeOut = latticeWidths(outWidths);
  const fullIn = inWidths.at(-1)!, fullOut = outWidths.at(-1)!;
  const pairs = [
    ...inWidths.map((width) => [width, fullOut] as const),
    ...outWidths.slice(0, -1).map((width) => [fullIn, width] as const),
    ...latticeIn.flatMap((inWidth) => latticeOut.map((outWidth) => [inWidth, outWidth] as const)),
  ];
  return { inWidths, outWidths, latticeIn, latticeOut, pairs };
}

/** What is to be measured of a unit. */
export interface Measurement {
  readonly layer: LayerGraph;
  readonly plan: Plan;
}

/** Prepares a unit; widths are multiples of `roundTo`, or fewer of them where there are many. */
export function measurementOf(layer: LayerGraph, roundTo: number): Measurement {
  return { layer, plan: planOf(layer, roundTo) };
}

/** Milliseconds of the reference as a layer, when the machine is quietest. */
export async function measureReference(runtime: Runtime, options: MeasureOptions): Promise<number> {
  const open = (graph: Graph) => runtime.openLayer(graph);
  return (await timeInTurns(open, [referenceGraph()], WHOLE_TURNS, options)).reference;
}

/** Times a unit at its planned widths; `reference` is what `measureReference` gave. */
export async function measureUnit(
  { layer, plan }: Measurement,
  runtime: Runtime,
  reference: number,
  options: MeasureOptions,
): Promise<Curve> {
  const graphs = plan.pairs.map(([inWidth, outWidth]) => atWidths(layer, inWidth, outWidth).graph);
  const times: number[] = [];
  for (const part of parts(graphs)) {
    const open = (graph: Graph) => runtime.openLayer(filled(graph));
    const { ratios } = await timeInTurns(open, part, LAYER_TURNS, options);
    times.push(...ratios.map((ratio) => ratio * reference));
  }
  const { inWidths, outWidths, latticeIn, latticeOut } = plan;
  const byIn = times.slice(0, inWidths.length);
  const byOut = [...times.slice(inWidths.length, inWidths.length + outWidths.length - 1)];
  const rest = times.slice(byIn.length + byOut.length);
  return {
    ...{ inWidths, outWidths, byIn },
    byOut: [...byOut, byIn.at(-1)!],
    inner: {
      inWidths: latticeIn,
      outWidths: latticeOut,
      milliseconds: latticeIn.map((_, row) =>
        rest.slice(row * latticeOut.length, (row + 1) * latticeOut.length)
      ),
    },
  };
}

/** Times whole models in turns: milliseconds of a pass of each, pictures in and logits out. */
export async function measureWhole(
  graphs: readonly Graph[],
  runtime: Runtime,
  options: MeasureOptions = {},
): Promise<number[]> {
  const open = (graph: Graph) => runtime.openWhole(graph);
  const { ratios, reference } = await timeInTurns(open, graphs, WHOLE_TURNS, options);
  return ratios.map((ratio) => ratio * reference);
}
