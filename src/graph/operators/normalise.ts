/** Operators that normalise or compare channels, which therefore must all stay. */

import type { Node, Shape } from "../graph.ts";
import {
  coupleChannelwise,
  expectEpsilon,
  expectParameter,
  type NodeOf,
  type Operator,
} from "./operator.ts";

/** Shape stays, channels stay with it: removing one would change what the others become. */
function mixing<N extends Node>(
  reason: string,
  trainable: (node: N) => readonly string[] = () => [],
  check: (node: N, input: Shape) => void = () => {},
): Operator<N> {
  return {
    trainable,
    buffers: () => [],
    keepsZero: false,
    shape(node, [input], parameters) {
      for (const name of trainable(node)) expectParameter(parameters, name, [input[0]]);
      check(node, input);
      return input;
    },
    macs: () => 0,
    channels(node, [input], _output, rules) {
      coupleChannelwise(node, node.inputs[0], input[0], rules);
      rules.pin(node.inputs[0], reason);
    },
    cut: (node) => node,
  };
}

/** Over the channels of each pixel, with scale and offset. */
export const layerNorm = mixing<NodeOf<"layer_norm">>(
  "layer norm divides by the deviation of all channels",
  (node) => [node.scale, node.offset],
  (node) => expectEpsilon(node.epsilon),
);

/** By the squares of neighbouring channels. */
export const localResponseNorm = mixing<NodeOf<"local_response_norm">>(
  "local response norm divides by neighbouring channels",
  () => [],
  (node) => {
    const { size, alpha, beta, bias } = node;
    if (!Number.isInteger(size) || size < 1) {
      throw new Error(`looks at ${size} channels, not a positive number of them`);
    }
    const odd = [alpha, beta, bias].find((parameter) => !Number.isFinite(parameter));
    if (odd !== undefined) throw new Error(`has a parameter of ${odd}, which is not finite`);
  },
);

/** Shares of the channels of each pixel, which sum to one. */
export const softmax = mixing<NodeOf<"softmax">>("softmax compares all channels");
