/**
 * What of a graph is timed together: a layer and what runtimes fuse into it. A convolution followed
 * by batch norm, the sum with a residual and an activation is one unit; so is a pool, or a sum that
 * nothing takes in.
 */

import type { Graph, Node, OperatorName } from "../graph/graph.ts";

/** A layer with the nodes that run in one go with it. */
export interface Unit {
  /** Name of its first node, the layer. */
  readonly name: string;
  readonly nodes: readonly [Node, ...Node[]];
  /** Values read from outside, the layer's own first. */
  readonly inputs: readonly string[];
  /** The value it leaves. */
  readonly output: string;
}

/** Operators that work element by element on what a layer has just written. */
const FOLLOWERS: ReadonlySet<OperatorName> = new Set(
  ["batch_norm", "relu", "activation", "prelu", "add"] as const,
);

/** Rearranges nothing where pictures are single pixels, and next to nothing elsewhere. */
const isFree = (node: Node): boolean => node.op === "flatten";

/** How many nodes read each value; being an answer of the model counts as one. */
function readers(graph: Graph): Map<string, number> {
  const counts = new Map(graph.outputs.map((output) => [output, 1]));
  for (const node of graph.nodes) {
    for (const value of node.inputs) counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  return counts;
}

/** The units of a graph, in order. Flattening belongs to none. */
export function unitsOf(graph: Graph): Unit[] {
  const counts = readers(graph);
  const units: [Node, ...Node[]][] = [];
  /** The unit that ends in a value. */
  const endingIn = new Map<string, number>();
  for (const node of graph.nodes) {
    if (isFree(node)) continue;
    // A sum goes with the later of the two that it waits for.
    const taking = FOLLOWERS.has(node.op)
      ? node.inputs.filter((value) => counts.get(value) === 1).map((value) => endingIn.get(value))
        .filter((unit) => unit !== undefined).reduce((a, b) => Math.max(a, b), -1)
      : -1;
    const unit = taking >= 0 ? taking : units.push([node]) - 1;
    if (taking >= 0) units[unit].push(node);
    endingIn.set(node.output, unit);
  }
  return units.map((nodes) => {
    const own = new Set(nodes.map((node) => node.output));
    const inputs = nodes.flatMap((node) => node.inputs).filter((value) => !own.has(value));
    return {
      name: nodes[0].name,
      nodes,
      inputs: [...new Set(inputs)],
      output: nodes.at(-1)!.output,
    };
  });
}
