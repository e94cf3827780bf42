/** Weights of a group's readers that have made up for channels of it, from its game alone. */

import type { ConvolutionNode, Graph, LinearNode } from "../graph/graph.ts";
import type { Reproduction } from "../native/reproduction.ts";
import { interceptHome } from "../surgery/intercept.ts";
import type { Tensor } from "../tensor.ts";
import type { Consumer, LayerPart } from "./readers.ts";

/** Parameters of the graph as changed, each copied when first asked for. */
class Changes {
  readonly parameters = new Map<string, Tensor>();
  readonly #graph: Graph;

  constructor(graph: Graph) {
    this.#graph = graph;
  }

  data(name: string): Float32Array {
    const known = this.parameters.get(name);
    if (known !== undefined) return known.data;
    const { shape, data } = this.#graph.parameters.get(name)!;
    const changed = { shape, data: data.slice() };
    this.parameters.set(name, changed);
    return changed.data;
  }
}

/** The layer of a part, where it alone has its weights. */
function ownerOf(graph: Graph, part: LayerPart): ConvolutionNode | LinearNode | undefined {
  const node = graph.nodes.find(({ name }) => name === part.layer);
  if (node?.op !== "convolution" && node?.op !== "linear") return undefined;
  const uses = graph.nodes.filter((one) =>
    (one.op === "convolution" || one.op === "linear") && one.weight === node.weight
  );
  return uses.length === 1 ? node : undefined;
}

/**
 * The parameters that make up for who has gone from a group's game, to be written over the graph's. A
 * reader that shares its weights, or has nowhere to put what its outputs lack on average, stays as it is.
 */
export async function repairedReaders(
  graph: Graph,
  readers: readonly Consumer[],
  game: Reproduction,
): Promise<ReadonlyMap<string, Tensor>> {
  const changes = new Changes(graph);
  for (const [index, { part }] of readers.entries()) {
    const layer = part && ownerOf(graph, part);
    const home = layer && interceptHome(graph, layer);
    if (part === undefined || home === undefined) continue;
    const solved = await game.weights(index);
    const before = graph.parameters.get(layer!.weight)!.data;
    const weights = changes.data(layer!.weight), intercepts = changes.data(home.parameter);
    const n = part.mean.length;
    part.scale.forEach((scale, row) => {
      // What batch norm multiplies by nothing was not solved for.
      if (scale === 0) return;
      let lacking = 0;
      for (let i = 0; i < n; i++) {
        const at = (part.first + row) * n + i;
        const weight = solved[row * n + i] / scale;
        lacking += (before[at] - weight) * part.mean[i];
        weights[at] = weight;
      }
      intercepts[part.first + row] += home.sign * lacking;
    });
  }
  return changes.parameters;
}
