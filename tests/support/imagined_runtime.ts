/** A runtime whose times are known: what graphs cost in it follows from a formula. */

import type { Graph, Node, Shape } from "../../src/graph/graph.ts";
import { operatorOf } from "../../src/graph/operators/table.ts";
import { shapesOf } from "../../src/graph/shapes.ts";
import { UNIT_PREFIX } from "../../src/latency/layer_graph.ts";
import type { Runtime, TimedGraph } from "../../src/latency/runtime.ts";
import { elementCount } from "../../src/tensor.ts";

/** Channels that vector instructions take at once. */
const LANES = 8;

/** Milliseconds: channels written in whole vectors, products and elements at fixed rates. */
function nodeTime(node: Node, shapes: ReadonlyMap<string, Shape>): number {
  if (node.op === "flatten") return 0;
  const output = shapes.get(node.output)!;
  const inputs = node.inputs.map((value) => shapes.get(value)!);
  const vectors = Math.ceil(output[0] / LANES) * LANES / output[0];
  const macs = operatorOf(node).macs(node, inputs, output);
  return 1e-4 + vectors * (1e-7 * macs + 1e-6 * elementCount(output));
}

/** Sum over the nodes for which `holds`. */
export function imaginedTime(graph: Graph, holds: (node: Node) => boolean): number {
  const shapes = shapesOf(graph);
  return graph.nodes.filter(holds).reduce((sum, node) => sum + nodeTime(node, shapes), 0);
}

/** Whole passes take 1.5 times their layers and a little more. */
export const wholeTime = (graph: Graph): number => 0.25 + 1.5 * imaginedTime(graph, () => true);

function timed(milliseconds: number): TimedGraph {
  const passes: number[] = [];
  return {
    pass: () => {
      passes.push(milliseconds);
      return Promise.resolve();
    },
    finish: () => Promise.resolve(passes),
  };
}

/** The runtime, and the graphs of layers that were opened in it. */
export function imaginedRuntime(version: string): { runtime: Runtime; opened: Graph[] } {
  const opened: Graph[] = [];
  const runtime: Runtime = {
    name: "secateur",
    version,
    dtype: "f32",
    conditions: { batch: 1, threads: 1 },
    clockTime: 0,
    openLayer: (graph) => {
      opened.push(graph);
      return Promise.resolve(
        timed(imaginedTime(graph, ({ name }) => name.startsWith(UNIT_PREFIX))),
      );
    },
    openWhole: (graph) => Promise.resolve(timed(wholeTime(graph))),
  };
  return { runtime, opened };
}
