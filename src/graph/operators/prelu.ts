import { coupleChannelwise, expectParameter, type NodeOf, type Operator } from "./operator.ts";

/** Leaky ReLU with a learned slope per channel (He et al., arXiv 1502.01852). */
export const prelu: Operator<NodeOf<"prelu">> = {
  trainable: (node) => [node.slope],
  buffers: () => [],
  // It does keep zero, but gates stand after activations, as for ReLU.
  keepsZero: false,
  shape(node, [input], parameters) {
    expectParameter(parameters, node.slope, [input[0]]);
    return input;
  },
  macs: () => 0,
  channels(node, [input], _output, rules) {
    coupleChannelwise(node, node.inputs[0], input[0], rules);
    for (let c = 0; c < input[0]; c++) {
      rules.owns(node.output, c, { parameter: node.slope, axis: 0, index: c });
    }
  },
  cut: (node) => node,
};
