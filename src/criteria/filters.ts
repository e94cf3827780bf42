/** The weights that make a player's channels, filter by filter. */

import type { ChannelGroup, Player } from "../graph/channels.ts";
import type { Graph } from "../graph/graph.ts";
import { operatorOf } from "../graph/operators/table.ts";
import { elementCount } from "../tensor.ts";

/** Weights [...] of one filter: everything that one output channel of a layer is made of. */
export interface Filter {
  readonly parameter: string;
  readonly index: number;
  readonly weights: Float32Array;
}

/** Axis of a layer's weight along which its output channels lie, by parameter. */
function outputAxes(graph: Graph): Map<string, number> {
  const axes = new Map<string, number>();
  for (const node of graph.nodes) {
    if (node.op === "convolution" || node.op === "linear") axes.set(node.weight, 0);
    else if (node.op === "transposed_convolution") axes.set(node.weight, 1);
  }
  return axes;
}

/** The filters of every player of a group, in the order of their layers. */
export function filtersOf(graph: Graph, group: ChannelGroup): Filter[][] {
  const axes = outputAxes(graph);
  return group.players.map(({ slices }: Player) =>
    slices.flatMap(({ parameter, axis, index }) => {
      if (axes.get(parameter) !== axis) return [];
      const { shape, data } = graph.parameters.get(parameter)!;
      if (axis === 0) {
        const size = elementCount(shape.slice(1));
        const weights = data.subarray(index * size, (index + 1) * size);
        return [{ parameter, index, weights }];
      }
      const inner = elementCount(shape.slice(2));
      const weights = new Float32Array(shape[0] * inner);
      for (let i = 0; i < shape[0]; i++) {
        const from = (i * shape[1] + index) * inner;
        weights.set(data.subarray(from, from + inner), i * inner);
      }
      return [{ parameter, index, weights }];
    })
  );
}

/** Names of the scales of batch norms, and the offset beside each. */
export function normOffsets(graph: Graph): Map<string, string> {
  return new Map(
    graph.nodes.flatMap((node) => node.op === "batch_norm" ? [[node.scale, node.offset]] : []),
  );
}

/** Trainable parameters of a graph. */
export function trainableOf(graph: Graph): Set<string> {
  return new Set(graph.nodes.flatMap((node) => operatorOf(node).trainable(node)));
}
