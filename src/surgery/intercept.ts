import type { ConvolutionNode, Graph, LinearNode } from "../graph/graph.ts";

/** Where what a layer's outputs lack on average is put, and with which sign. */
export interface InterceptHome {
  readonly parameter: string;
  readonly sign: 1 | -1;
  /** A bias, of which nothing stays when a layer is solved anew. */
  readonly replaces: boolean;
}

/**
 * Where a layer's intercept goes: its bias, or the running mean of the batch norm that alone reads it;
 * undefined where it has neither.
 */
export function interceptHome(
  graph: Graph,
  layer: ConvolutionNode | LinearNode,
): InterceptHome | undefined {
  if (layer.bias !== undefined) return { parameter: layer.bias, sign: 1, replaces: true };
  const readers = graph.nodes.filter((node) => node.inputs.includes(layer.output));
  const [norm] = readers;
  if (readers.length !== 1 || norm.op !== "batch_norm") return undefined;
  return { parameter: norm.mean, sign: -1, replaces: false };
}
