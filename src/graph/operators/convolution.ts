import type { Shape } from "../graph.ts";
import {
  type ChannelRules,
  expectParameter,
  expectPicture,
  expectSanePadding,
  type NodeOf,
  type Operator,
  windowExtent,
} from "./operator.ts";

type Convolution = NodeOf<"convolution">;

/** Every group has one input channel: channels pass through one by one. */
function isDepthwise(node: Convolution, inChannels: number): boolean {
  return node.groups > 1 && node.groups === inChannels;
}

/** Depthwise: output channel o comes from input channel o / multiplier alone and goes with it. */
function coupleDepthwise(
  node: Convolution,
  inChannels: number,
  outChannels: number,
  rules: ChannelRules,
): void {
  const multiplier = outChannels / inChannels;
  for (let o = 0; o < outChannels; o++) {
    rules.couple(node.inputs[0], Math.floor(o / multiplier), node.output, o);
  }
}

/** Grouped: all groups keep the same count, so the j-th channels of all groups go together. */
function coupleGroups(value: string, channels: number, groups: number, rules: ChannelRules): void {
  const perGroup = channels / groups;
  for (let c = perGroup; c < channels; c++) rules.couple(value, c % perGroup, value, c);
}

/** Standard, grouped, depthwise and dilated two-dimensional convolution. */
export const convolution: Operator<Convolution> = {
  trainable: (node) => node.bias === undefined ? [node.weight] : [node.weight, node.bias],
  buffers: () => [],
  keepsZero: false,

  shape(node, inputs, parameters): Shape {
    const [channels, height, width] = expectPicture(inputs[0]);
    const { kernel, stride, padding, dilation, groups } = node;
    if (channels % groups !== 0) {
      throw new Error(`has ${groups} groups, which do not divide its ${channels} input channels`);
    }
    const weight = expectParameter(parameters, node.weight, [
      undefined,
      channels / groups,
      ...kernel,
    ]);
    const out = weight.shape[0];
    if (out % groups !== 0) {
      throw new Error(`has ${groups} groups, which do not divide its ${out} output channels`);
    }
    if (node.bias !== undefined) expectParameter(parameters, node.bias, [out]);
    const reach = (axis: 0 | 1) => dilation[axis] * (kernel[axis] - 1) + 1;
    expectSanePadding([channels, height, width], padding, [reach(0), reach(1)]);
    const rows = windowExtent(height, kernel[0], stride[0], padding[0], padding[2], dilation[0]);
    const columns = windowExtent(width, kernel[1], stride[1], padding[1], padding[3], dilation[1]);
    return [out, rows, columns];
  },

  macs(node, [input], output) {
    return (input[0] / node.groups) * node.kernel[0] * node.kernel[1] * output[0] * output[1] *
      output[2];
  },

  channels(node, [input], [outChannels], rules) {
    const [value] = node.inputs;
    const inChannels = input[0];
    for (let o = 0; o < outChannels; o++) {
      rules.owns(node.output, o, { parameter: node.weight, axis: 0, index: o });
      if (node.bias !== undefined) {
        rules.owns(node.output, o, { parameter: node.bias, axis: 0, index: o });
      }
    }
    if (isDepthwise(node, inChannels)) {
      coupleDepthwise(node, inChannels, outChannels, rules);
      // The bias turns a zero channel into a constant one, so a gate must stand after it as well.
      return;
    }
    rules.produces(node.output);
    rules.mixes(value);
    const perGroup = inChannels / node.groups;
    for (let c = 0; c < inChannels; c++) {
      rules.owns(value, c, { parameter: node.weight, axis: 1, index: c % perGroup });
    }
    if (node.groups > 1) {
      coupleGroups(value, inChannels, node.groups, rules);
      coupleGroups(node.output, outChannels, node.groups, rules);
    }
  },

  cut(node, [input], kept) {
    return isDepthwise(node, input[0]) ? { ...node, groups: kept(node.inputs[0]).length } : node;
  },
};
