import {
  coupleChannelwise,
  expectBetween,
  expectEpsilon,
  expectParameter,
  type NodeOf,
  type Operator,
} from "./operator.ts";

/** Batch normalisation over [channels, height, width] or [features]. */
export const batchNorm: Operator<NodeOf<"batch_norm">> = {
  trainable: (node) => [node.scale, node.offset],
  buffers: (node) => [node.mean, node.variance],
  keepsZero: false,

  shape(node, [input], parameters) {
    for (const name of [node.scale, node.offset, node.mean, node.variance]) {
      expectParameter(parameters, name, [input[0]]);
    }
    expectEpsilon(node.epsilon);
    expectBetween("a momentum", node.momentum, 0, 1);
    return input;
  },

  macs: () => 0,

  channels(node, [input], _output, rules) {
    coupleChannelwise(node, node.inputs[0], input[0], rules);
    for (let c = 0; c < input[0]; c++) {
      for (const parameter of [node.scale, node.offset, node.mean, node.variance]) {
        rules.owns(node.output, c, { parameter, axis: 0, index: c });
      }
    }
  },

  cut: (node) => node,
};
