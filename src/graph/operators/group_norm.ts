import {
  coupleChannelwise,
  expectEpsilon,
  expectParameter,
  type NodeOf,
  type Operator,
} from "./operator.ts";

/**
 * Group norm (Wu & He, arXiv 1803.08494) of [channels, height, width] or [features]. The channels of a
 * group share their statistics and go together; without them the other groups are what they were.
 */
export const groupNorm: Operator<NodeOf<"group_norm">> = {
  trainable: (node) => [node.scale, node.offset],
  buffers: () => [],
  keepsZero: false,

  shape(node, [input], parameters) {
    const { groups } = node;
    if (!Number.isInteger(groups) || groups < 1 || input[0] % groups !== 0) {
      throw new Error(`has ${groups} groups, which do not divide its ${input[0]} channels`);
    }
    for (const name of [node.scale, node.offset]) expectParameter(parameters, name, [input[0]]);
    expectEpsilon(node.epsilon);
    return input;
  },

  macs: () => 0,

  channels(node, [[channels]], _output, rules) {
    const [value] = node.inputs;
    coupleChannelwise(node, value, channels, rules);
    const width = channels / node.groups;
    for (let c = 0; c < channels; c++) {
      rules.couple(value, c - c % width, value, c);
      for (const parameter of [node.scale, node.offset]) {
        rules.owns(node.output, c, { parameter, axis: 0, index: c });
      }
    }
    if (node.groups === 1) rules.pin(value, "its norm divides by the deviation of all channels");
  },

  cut(node, [[channels]], kept) {
    return { ...node, groups: kept(node.inputs[0]).length * node.groups / channels };
  },
};
