/** Times every layer of a model at its legal widths, and fits what a whole pass makes of them. */

import { prunableGroups } from "../graph/channels.ts";
import { cutShapes } from "../graph/cut.ts";
import type { Graph } from "../graph/graph.ts";
import { shapesOf } from "../graph/shapes.ts";
import type { RunOptions } from "../progress.ts";
import { CurveCache, machineName } from "./cache.ts";
import { latencyOf } from "./costs.ts";
import type { Curve } from "./curve.ts";
import { geometryOf, measuredKey } from "./geometry.ts";
import { crowdOf, filled, layerGraph, narrowedTo } from "./layer_graph.ts";
import {
  LAYER_TURNS,
  type Measurement,
  measurementOf,
  measureReference,
  measureUnit,
  measureWhole,
  WHOLE_TURNS,
} from "./measure.ts";
import type { Runtime } from "./runtime.ts";
import type { LatencyTable } from "./table.ts";
import { unitsOf } from "./units.ts";

export interface ProfileOptions extends RunOptions {
  /** Kept counts of channels are multiples of this; default 1. */
  readonly roundTo?: number;
}

/** Shares of its widths at which the whole model is timed. */
const WHOLE = [1, 0.75, 0.5];

/** Units that are measured as one, by their key. */
function distinctUnits(graph: Graph, roundTo: number) {
  const shapes = shapesOf(graph);
  const crowd = crowdOf(graph);
  const units = unitsOf(graph).map((unit) => {
    const isPicture = (value: string) => value === graph.input.name;
    const isAnswer = (value: string) => graph.outputs.includes(value);
    const key = `${measuredKey(unit, shapes, isPicture, isAnswer)} /${roundTo} ~${crowd}`;
    return { unit, key };
  });
  const pending = new Map<string, () => Measurement>();
  for (const { unit, key } of units) {
    if (pending.has(key)) continue;
    pending.set(key, () => measurementOf(layerGraph(graph, shapes, unit, crowd), roundTo));
  }
  return { shapes, units, pending };
}

/**
 * The table of a model in a runtime. Layers alike are timed once, and those that were timed on this
 * machine before are read from the cache. Throws "cancelled", and what the runtime throws.
 */
export async function profileLayers(
  graph: Graph,
  runtime: Runtime,
  options: ProfileOptions = {},
): Promise<LatencyTable> {
  const { roundTo = 1, signal, onProgress } = options;
  const cache = await CurveCache.open(runtime);
  const { shapes, units, pending } = distinctUnits(graph, roundTo);
  const places = new Map([...pending.keys()].map((key, place) => [key, place]));
  const missing = [...pending].flatMap(([key, prepare]) =>
    cache.get(key) === undefined ? [{ key, measurement: prepare() }] : []
  );
  const timed = missing.reduce((sum, { measurement }) => sum + measurement.plan.pairs.length, 0);
  const total = LAYER_TURNS.rounds * timed + WHOLE_TURNS.rounds * WHOLE.length;
  let done = 0;
  const turn = {
    ...(signal ? { signal } : {}),
    onTurn: () => onProgress?.({ stage: "layer times", done: ++done, total, unit: "turns" }),
  };
  const reference = cache.reference ??
    await measureReference(runtime, signal === undefined ? {} : { signal });
  for (const { key, measurement } of missing) {
    await cache.add(key, await measureUnit(measurement, runtime, reference, turn), reference);
  }
  const { batch, threads } = runtime.conditions;
  const table: LatencyTable = {
    format: 1,
    machine: machineName(),
    runtime: runtime.name,
    version: runtime.version,
    dtype: runtime.dtype,
    ...{ batch, threads },
    model: graph.name,
    layers: units.map(({ unit, key }) => ({
      name: unit.name,
      geometry: geometryOf(unit, shapes),
      inWidth: shapes.get(unit.inputs[0])![0],
      outWidth: shapes.get(unit.output)![0],
      curve: places.get(key)!,
    })),
    curves: [...places.keys()].map((key): Curve => cache.get(key)!),
    overhead: 0,
    scale: 1,
    whole: [],
  };
  return await fitted(graph, table, runtime, turn);
}

/** A table without overhead and of scale 1, with those of the whole model at some widths. */
async function fitted(
  graph: Graph,
  table: LatencyTable,
  runtime: Runtime,
  options: Parameters<typeof measureWhole>[2],
): Promise<LatencyTable> {
  const groups = prunableGroups(graph, "all");
  const graphs = WHOLE.map((share) => filled(cutShapes(graph, narrowedTo(groups, share))));
  const measured = await measureWhole(graphs, runtime, options);
  const whole = graphs.map((cut, place) => ({
    share: WHOLE[place],
    layers: latencyOf(cut, table),
    measured: measured[place],
  }));
  return { ...table, ...lineThrough(whole, -runtime.clockTime * table.layers.length), whole };
}

/** Least squares of measured = overhead + scale * layers, of a positive scale; `least` overhead. */
export function lineThrough(
  points: readonly { layers: number; measured: number }[],
  least: number,
) {
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const x = mean(points.map(({ layers }) => layers));
  const y = mean(points.map(({ measured }) => measured));
  const squares = points.reduce((sum, { layers }) => sum + (layers - x) ** 2, 0);
  const products = points.reduce(
    (sum, point) => sum + (point.layers - x) * (point.measured - y),
    0,
  );
  const slope = squares > 0 ? products / squares : 1;
  const scale = Math.min(slope > 0 ? slope : y / x, (y - least) / x);
  return { scale, overhead: y - scale * x };
}
