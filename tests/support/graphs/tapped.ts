/** Random networks of several outputs: their answers, and values tapped on the way to them. */

import type { Graph } from "../../../src/graph/graph.ts";
import { shapesOf } from "../../../src/graph/shapes.ts";
import { RandomStream } from "../../../src/random.ts";
import { diverseGraph } from "./diverse.ts";
import { oddGraph } from "./odd.ts";
import { randomGraph } from "./random.ts";

const KINDS = [randomGraph, diverseGraph, oddGraph];

/** Layers that some output needs. */
function needed({ nodes, outputs }: Graph): Graph["nodes"] {
  const wanted = new Set(outputs);
  return nodes.toReversed().filter((node) => {
    const reads = wanted.has(node.output);
    if (reads) { for (const input of node.inputs) wanted.add(input); }
    return reads;
  }).reverse();
}

/**
 * A network with one to four taps on its maps, beside its own answer or in place of it.
 */
export function tappedGraph(seed: number): Graph {
  const random = new RandomStream(seed, "tapped graph");
  const graph = KINDS[random.integer(KINDS.length)](seed);
  const shapes = shapesOf(graph);
  const maps = graph.nodes.map(({ output }) => output)
    .filter((value) => shapes.get(value)!.length === 3 && !graph.outputs.includes(value));
  const taps = new Set(
    Array.from({ length: 1 + random.integer(3) }, () => maps[random.integer(maps.length)]),
  );
  // A tap late in the network leaves something to cut before it.
  taps.add(maps[maps.length - 1 - random.integer(Math.min(3, maps.length))]);
  const own = random.integer(3) === 0 ? [] : graph.outputs;
  const outputs = [...own, ...taps];
  const nodes = needed({ ...graph, outputs });
  const named = new Set(nodes.flatMap((node) => Object.values(node)));
  const parameters = new Map([...graph.parameters].filter(([name]) => named.has(name)));
  return { ...graph, outputs, nodes, parameters };
}
