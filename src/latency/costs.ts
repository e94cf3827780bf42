/** What layers and whole models take, predicted from a table. */

import { SecateurError } from "../errors.ts";
import { escaped } from "../formats/bytes.ts";
import type { Graph, Shape } from "../graph/graph.ts";
import { shapesOf } from "../graph/shapes.ts";
import { type CurveAt, curveAt } from "./curve.ts";
import { geometryOf } from "./geometry.ts";
import type { LatencyTable } from "./table.ts";
import { type Unit, unitsOf } from "./units.ts";

/** A layer of a graph, with what runs in one go with it. */
export interface CostedLayer {
  /** Name of its first node. */
  readonly name: string;
  /** Values whose channels are its widths. */
  readonly input: string;
  readonly output: string;
  /** Widths in the graph. */
  readonly inWidth: number;
  readonly outWidth: number;
}

/** Predicted time of a graph's layers at any widths. */
export interface LayerCosts {
  /** Milliseconds of a pass that no layer explains; below nothing where clocks add to layers. */
  readonly overhead: number;
  readonly layers: readonly CostedLayer[];
  /** Milliseconds of `layers[index]` that reads and writes so many channels; constant time. */
  costAt(index: number, inWidth: number, outWidth: number): number;
}

/**
 * Costs of a graph's layers. The graph is the one that was profiled, or one cut from it. Throws
 * "data-mismatch" when the table is of another model.
 */
export function layerCosts(graph: Graph, table: LatencyTable): LayerCosts {
  const shapes = shapesOf(graph);
  const known = new Map(table.layers.map((layer) => [layer.name, layer]));
  const curves = table.curves.map(curveAt);
  const units = unitsOf(graph);
  const own = units.map((unit): CurveAt => {
    const layer = known.get(unit.name);
    requireFit(graph, table, unit, shapes, layer);
    return curves[layer!.curve];
  });
  return {
    overhead: table.overhead,
    layers: units.map(({ name, inputs: [input], output }) => ({
      ...{ name, input, output },
      inWidth: shapes.get(input)![0],
      outWidth: shapes.get(output)![0],
    })),
    costAt: (index, inWidth, outWidth) => table.scale * own[index](inWidth, outWidth),
  };
}

function requireFit(
  graph: Graph,
  table: LatencyTable,
  unit: Unit,
  shapes: ReadonlyMap<string, Shape>,
  layer: LatencyTable["layers"][number] | undefined,
): void {
  const inWidth = shapes.get(unit.inputs[0])![0], outWidth = shapes.get(unit.output)![0];
  const fits = layer !== undefined && layer.geometry === geometryOf(unit, shapes) &&
    inWidth <= layer.inWidth && outWidth <= layer.outWidth;
  if (fits) return;
  throw new SecateurError(
    "data-mismatch",
    `Expected times of ${escaped(graph.name)}'s layer ${escaped(unit.name)} (${inWidth} channels ` +
      `in, ${outWidth} out), but the table of ${escaped(table.model)} ` +
      `${layer === undefined ? "has none of that name" : "has it otherwise"}; profile this model.`,
  );
}

/** Predicted milliseconds of one pass of a graph. Throws as `layerCosts`. */
export function latencyOf(graph: Graph, table: LatencyTable): number {
  const { overhead, layers, costAt } = layerCosts(graph, table);
  return layers.reduce(
    (sum, { inWidth, outWidth }, index) => sum + costAt(index, inWidth, outWidth),
    overhead,
  );
}
