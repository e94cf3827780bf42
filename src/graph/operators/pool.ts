import type { Shape } from "../graph.ts";
import { channelwise, expectPicture, type NodeOf, windowExtent } from "./operator.ts";

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
export const maxPool = channelwise<NodeOf<"max_pool">>(windowed);

/** Mean over a window. */
export const averagePool = channelwise<NodeOf<"average_pool">>(windowed);

/** Mean over height and width. */
export const globalAveragePool = channelwise<NodeOf<"global_average_pool">>((_node, input) => {
  return [expectPicture(input)[0], 1, 1];
});
