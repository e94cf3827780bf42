import type { Shape } from "../graph.ts";
import {
  type ChannelRules,
  expectParameter,
  expectPicture,
  type NodeOf,
  type Operator,
} from "./operator.ts";

type TransposedConvolution = NodeOf<"transposed_convolution">;

/** Extent along one axis. */
function extentOf(node: TransposedConvolution, axis: 0 | 1, input: number): number {
  const { kernel, stride, padding, dilation, outputPadding } = node;
  return (input - 1) * stride[axis] - padding[axis] - padding[axis + 2] +
    dilation[axis] * (kernel[axis] - 1) + outputPadding[axis] + 1;
}

/** Every group has one input channel: its outputs come from that alone and go with it. */
function coupleDepthwise(
  node: TransposedConvolution,
  channels: number,
  outChannels: number,
  rules: ChannelRules,
): void {
  const multiplier = outChannels / channels;
  for (let o = 0; o < outChannels; o++) {
    const c = Math.floor(o / multiplier);
    rules.couple(node.inputs[0], c, node.output, o);
    rules.owns(node.output, o, { parameter: node.weight, axis: 0, index: c });
  }
}

function isDepthwise(node: TransposedConvolution, channels: number): boolean {
  return node.groups > 1 && node.groups === channels;
}

/** The transpose of a convolution: weight [in, out / groups, kernel height, kernel width]. */
export const transposedConvolution: Operator<TransposedConvolution> = {
  trainable: (node) => node.bias === undefined ? [node.weight] : [node.weight, node.bias],
  buffers: () => [],
  keepsZero: false,

  shape(node, [input], parameters): Shape {
    const [channels, height, width] = expectPicture(input);
    const { kernel, groups, stride, outputPadding } = node;
    if (channels % groups !== 0) {
      throw new Error(`has ${groups} groups, which do not divide its ${channels} input channels`);
    }
    if (outputPadding.some((extra, axis) => extra < 0 || extra >= Math.max(1, stride[axis]))) {
      throw new Error(`has output padding ${outputPadding.join(", ")}, not below its stride`);
    }
    const weight = expectParameter(parameters, node.weight, [channels, undefined, ...kernel]);
    const out = weight.shape[1] * groups;
    if (node.bias !== undefined) expectParameter(parameters, node.bias, [out]);
    return [out, extentOf(node, 0, height), extentOf(node, 1, width)];
  },

  macs(node, [input], output) {
    const [channels, height, width] = input;
    return channels * height * width * node.kernel[0] * node.kernel[1] * output[0] / node.groups;
  },

  channels(node, [[inChannels]], [outChannels], rules) {
    const [value] = node.inputs;
    if (node.bias !== undefined) {
      for (let o = 0; o < outChannels; o++) {
        rules.owns(node.output, o, { parameter: node.bias, axis: 0, index: o });
      }
    }
    if (isDepthwise(node, inChannels)) {
      return coupleDepthwise(node, inChannels, outChannels, rules);
    }
    rules.produces(node.output);
    rules.mixes(value);
    const perGroup = outChannels / node.groups, inPerGroup = inChannels / node.groups;
    for (let c = 0; c < inChannels; c++) {
      rules.owns(value, c, { parameter: node.weight, axis: 0, index: c });
      // All groups keep the same count.
      rules.couple(value, c % inPerGroup, value, c);
    }
    for (let o = 0; o < outChannels; o++) {
      rules.owns(node.output, o, { parameter: node.weight, axis: 1, index: o % perGroup });
      rules.couple(node.output, o % perGroup, node.output, o);
    }
  },

  cut(node, [[channels]], kept) {
    return isDepthwise(node, channels) ? { ...node, groups: kept(node.inputs[0]).length } : node;
  },
};
