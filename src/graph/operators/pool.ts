import type { Node, Shape } from "../graph.ts";
import {
  coupleChannelwise,
  expectPicture,
  type NodeOf,
  type Operator,
  windowExtent,
} from "./operator.ts";

/** What all pooling operators share: no weights, channel by channel. */
function pooling<N extends Node>(shape: (node: N, input: Shape) => Shape): Operator<N> {
  return {
    trainable: () => [],
    buffers: () => [],
    keepsZero: true,
    shape: (node, [input]) => shape(node, input),
    macs: () => 0,
    channels(node, [input], _output, rules) {
      coupleChannelwise(node, node.inputs[0], input[0], rules);
    },
    cut: (node) => node,
  };
}

function windowed(node: NodeOf<"max_pool"> | NodeOf<"average_pool">, input: Shape): Shape {
  const [channels, height, width] = expectPicture(input);
  const { kernel, stride, padding } = node;
  return [
    channels,
    windowExtent(height, kernel[0], stride[0], padding[0], padding[2]),
    windowExtent(width, kernel[1], stride[1], padding[1], padding[3]),
  ];
}

/** Maximum over a window. */
export const maxPool = pooling<NodeOf<"max_pool">>(windowed);

/** Mean over a window. */
export const averagePool = pooling<NodeOf<"average_pool">>(windowed);

/** Mean over height and width. */
export const globalAveragePool = pooling<NodeOf<"global_average_pool">>((_node, input) => {
  return [expectPicture(input)[0], 1, 1];
});
