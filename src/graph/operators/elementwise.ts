import {
  coupleChannelwise,
  coupleOperands,
  mapOfAll,
  type NodeOf,
  numbersOfChannels,
  type Operator,
} from "./operator.ts";

/** max(0, x). */
export const relu: Operator<NodeOf<"relu">> = {
  trainable: () => [],
  buffers: () => [],
  // It does keep zero, but gates stand after the activation, where the paper measures.
  keepsZero: false,
  shape: (_node, [input]) => input,
  macs: () => 0,
  channels(node, [input], _output, rules) {
    coupleChannelwise(node, node.inputs[0], input[0], rules);
  },
  cut: (node) => node,
};

/**
 * Sum of two values of one shape, whose channels couple, as in a residual stream; or of a picture and
 * a map that is the same for all its channels, or a number for each of them.
 */
export const add: Operator<NodeOf<"add">> = {
  trainable: () => [],
  buffers: () => [],
  keepsZero: false,
  shape(_node, [a, b]) {
    const map = mapOfAll([a, b]);
    if (map !== undefined) return map === 0 ? b : a;
    const numbers = numbersOfChannels([a, b]);
    if (numbers !== undefined) return numbers === 0 ? b : a;
    if (a.length !== b.length || a.some((extent, axis) => extent !== b[axis])) {
      throw new Error(`adds [${a.join(", ")}] and [${b.join(", ")}], which differ`);
    }
    return a;
  },
  macs: () => 0,
  channels: coupleOperands,
  cut: (node) => node,
};
