import { createHash } from "node:crypto";
import type { Graph } from "./graph.ts";

const known = new WeakMap<Graph, string>();

/** A digest of a graph's layers and weights, 64 hexadecimal digits; taken once a graph. */
export function digestOfGraph(graph: Graph): string {
  const before = known.get(graph);
  if (before !== undefined) return before;
  const hash = createHash("sha256").update(
    JSON.stringify([graph.input, graph.nodes, graph.outputs]),
  );
  for (const [name, { shape, data }] of graph.parameters) {
    hash.update(`${name} ${shape}`)
      .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  const digest = hash.digest("hex");
  known.set(graph, digest);
  return digest;
}
