/** One layer of a graph as ONNX nodes. */

import type { Node } from "../../../graph/graph.ts";
import { exportChannelFilter } from "./channel_filter.ts";
import { exportActivation, exportBinary } from "./elementwise.ts";
import { exportGroupNorm } from "./group_norm.ts";
import { exportLayerNorm } from "./layer_norm.ts";
import {
  exportDepthToSpace,
  exportPrelu,
  exportResize,
  exportResponseNorm,
  exportSoftmax,
  exportTransposedConvolution,
} from "./operators.ts";
import { type ExportContext, float, int, ints, onnxNode, text } from "./node_proto.ts";
import type { NodeProto } from "../proto/onnx_pb.ts";

/** The inputs of a layer with weights, and perhaps a bias. */
function weighted(
  { inputs, weight, bias }: Node & { op: "convolution" | "linear" },
  { parameter }: ExportContext,
): string[] {
  return [...inputs, parameter(weight), ...(bias === undefined ? [] : [parameter(bias)])];
}

function exportConvolution(node: Node & { op: "convolution" }, context: ExportContext): NodeProto {
  const { kernel, stride, padding, dilation, groups } = node;
  return onnxNode("Conv", { ...node, inputs: weighted(node, context) }, [
    ints("kernel_shape", kernel),
    ints("strides", stride),
    ints("pads", padding),
    ints("dilations", dilation),
    int("group", groups),
  ]);
}

/** ONNX's momentum weights the old statistic, ours the new one. */
function exportBatchNorm(node: Node & { op: "batch_norm" }, context: ExportContext): NodeProto {
  const { inputs, scale, offset, mean, variance, epsilon, momentum } = node;
  return onnxNode("BatchNormalization", {
    ...node,
    inputs: [...inputs, ...[scale, offset, mean, variance].map(context.parameter)],
  }, [float("epsilon", epsilon), float("momentum", 1 - momentum)]);
}

function exportPool(node: Node & { op: "max_pool" | "average_pool" }): NodeProto {
  const window = [
    ints("kernel_shape", node.kernel),
    ints("strides", node.stride),
    ints("pads", node.padding),
  ];
  return node.op === "max_pool"
    ? onnxNode("MaxPool", node, window)
    : onnxNode("AveragePool", node, [
      ...window,
      int("count_include_pad", node.countPadding ? 1 : 0),
    ]);
}

function exportPad(node: Node & { op: "pad" }, context: ExportContext): NodeProto {
  const [top, left, bottom, right] = node.padding;
  const pads = context.integers(`${node.name}.pads`, [0, 0, top, left, 0, 0, bottom, right]);
  const { fill } = node;
  const mode = fill === undefined ? [] : [text("mode", fill)];
  return onnxNode("Pad", { ...node, inputs: [...node.inputs, pads] }, mode);
}

function exportSlice(node: Node & { op: "slice" }, context: ExportContext): NodeProto {
  const { name, inputs, starts, ends, strides } = node;
  const vectors = [
    context.integers(`${name}.starts`, starts),
    context.integers(`${name}.ends`, ends),
    context.integers(`${name}.axes`, [2, 3]),
    context.integers(`${name}.steps`, strides),
  ];
  return onnxNode("Slice", { ...node, inputs: [...inputs, ...vectors] });
}

/** Gather of the channels, out of a value padded by one channel of zeros where some are empty. */
function exportChannelMap(node: Node & { op: "channel_map" }, context: ExportContext): NodeProto[] {
  const { name, inputs: [input], output, from } = node;
  const [channels, ...area] = context.shapes.get(input)!;
  const indices = from.map((source) => source < 0 ? channels : source);
  const index = context.integers(`${name}.indices`, indices);
  const axis = [int("axis", 1)];
  if (!from.includes(-1)) {
    return [onnxNode("Gather", { name, inputs: [input, index], output }, axis)];
  }
  const none = area.map(() => 0);
  const pads = context.integers(`${name}.pads`, [0, 0, ...none, 0, 1, ...none]);
  const padded = context.value(`${output}/padded`);
  return [
    onnxNode("Pad", { name: `${name}/pad`, inputs: [input, pads], output: padded }),
    onnxNode("Gather", { name, inputs: [padded, index], output }, axis),
  ];
}

function exportLinear(node: Node & { op: "linear" }, context: ExportContext): NodeProto {
  return onnxNode("Gemm", { ...node, inputs: weighted(node, context) }, [int("transB", 1)]);
}

/** The ONNX nodes of a layer; the last of them has its name and writes its output. */
export function exportNode(node: Node, context: ExportContext): NodeProto[] {
  switch (node.op) {
    case "convolution":
      return [exportConvolution(node, context)];
    case "batch_norm":
      return [exportBatchNorm(node, context)];
    case "relu":
      return [onnxNode("Relu", node)];
    case "activation":
      return exportActivation(node, context);
    case "add":
    case "multiply":
      return exportBinary(node, context);
    case "concat":
      return [onnxNode("Concat", node, [int("axis", 1)])];
    case "max_pool":
    case "average_pool":
      return [exportPool(node)];
    case "global_average_pool":
      return [onnxNode("GlobalAveragePool", node)];
    case "pad":
      return [exportPad(node, context)];
    case "slice":
      return [exportSlice(node, context)];
    case "channel_map":
      return exportChannelMap(node, context);
    case "flatten":
      return [onnxNode("Flatten", node, [int("axis", 1)])];
    case "linear":
      return [exportLinear(node, context)];
    case "channel_filter":
      return exportChannelFilter(node, context);
    case "prelu":
      return exportPrelu(node, context);
    case "transposed_convolution":
      return [exportTransposedConvolution(node, context)];
    case "depth_to_space":
      return [exportDepthToSpace(node)];
    case "resize":
      return [exportResize(node, context)];
    case "layer_norm":
      return exportLayerNorm(node, context);
    case "group_norm":
      return exportGroupNorm(node, context);
    case "local_response_norm":
      return [exportResponseNorm(node)];
    case "softmax":
      return [exportSoftmax(node)];
  }
}
