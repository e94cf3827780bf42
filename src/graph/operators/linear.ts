import { elementCount } from "../../tensor.ts";
import { expectParameter, type NodeOf, type Operator } from "./operator.ts";

/** [channels, height, width] -> [features]; a channel becomes height * width features. */
export const flatten: Operator<NodeOf<"flatten">> = {
  trainable: () => [],
  buffers: () => [],
  keepsZero: true,
  shape: (_node, [input]) => [elementCount(input)],
  macs: () => 0,
  channels(node, [input], _output, rules) {
    const area = elementCount(input.slice(1));
    for (let c = 0; c < input[0]; c++) {
      for (let cell = 0; cell < area; cell++) {
        rules.couple(node.inputs[0], c, node.output, c * area + cell);
      }
    }
  },
  cut: (node) => node,
};

/** Fully connected layer on [features]. */
export const linear: Operator<NodeOf<"linear">> = {
  trainable: (node) => node.bias === undefined ? [node.weight] : [node.weight, node.bias],
  buffers: () => [],
  keepsZero: false,
  shape(node, [input], parameters) {
    if (input.length !== 1) {
      throw new Error(`expects [features] but receives [${input.join(", ")}]`);
    }
    const weight = expectParameter(parameters, node.weight, [undefined, input[0]]);
    if (node.bias !== undefined) expectParameter(parameters, node.bias, [weight.shape[0]]);
    return [weight.shape[0]];
  },
  macs: (_node, [input], output) => input[0] * output[0],
  channels(node, [input], output, rules) {
    rules.produces(node.output);
    rules.mixes(node.inputs[0]);
    for (let c = 0; c < input[0]; c++) {
      rules.owns(node.inputs[0], c, { parameter: node.weight, axis: 1, index: c });
    }
    for (let o = 0; o < output[0]; o++) {
      for (const parameter of node.bias === undefined ? [node.weight] : [node.weight, node.bias]) {
        rules.owns(node.output, o, { parameter, axis: 0, index: o });
      }
    }
  },
  cut: (node) => node,
};
