/** A network that uses its layers again: the same weights at other sizes, strides, dilations. */

import type { Graph, Node } from "../../../src/graph/graph.ts";
import { GraphBuilder } from "../../../src/models/builder.ts";

/**
 * Ends in `classes` logits. Layers named "again..." have the weights of "twice": at the same size, at
 * a quarter of it, with stride 2 and dilated; odd seeds put a batch norm of its own behind every use,
 * which folds into each otherwise.
 */
export function sharedGraph(seed: number, classes: number): Graph {
  const builder = new GraphBuilder(`shared ${seed}`, [3, 12, 12], seed);
  const plain = { out: 6, kernel: 3, padding: 1, bias: seed % 2 === 0 };
  const normed = (name: string, value: string) =>
    seed % 2 === 0 ? value : builder.batchNorm(`${name}.norm`, value);
  const layer = (name: string, value: string, options = {}) =>
    builder.relu(
      `${name}.relu`,
      normed(name, builder.convolution(name, value, { ...plain, ...options })),
    );
  let value = layer("first", builder.input);
  value = layer("twice", value);
  value = builder.add("sum", layer("again.same", value), value);
  value = builder.maxPool("pool", value, 2, 2);
  value = layer("again.small", value);
  value = layer("again.dilated", value, { padding: 2, dilation: 2 });
  value = layer("again.strided", value, { stride: 2 });
  value = builder.globalAveragePool("mean", value);
  const graph = builder.finish(builder.linear("out", builder.flatten("flatten", value), classes));
  const again = (node: Node): Node =>
    node.op !== "convolution" || !node.name.startsWith("again") ? node : {
      ...node,
      weight: "twice.weight",
      ...(node.bias === undefined ? {} : { bias: "twice.bias" }),
    };
  const parameters = new Map(
    [...graph.parameters].filter(([name]) => !/^again\.\w+\.(weight|bias)$/.test(name)),
  );
  return { ...graph, nodes: graph.nodes.map(again), parameters };
}
