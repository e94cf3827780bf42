/**
 * Graph to instructions: NHWC values, one entry's image count, nothing fused. Convolutions name
 * their plain weight as `packed` until pack.ts gives them the packed one. Linear layers are
 * convolutions whose kernel is the flattened picture; padding, strided slices and channel maps are
 * all gathers.
 */

import { SecateurError } from "../../errors.ts";
import { classesOf } from "../../graph/answer.ts";
import type { Graph, Node } from "../../graph/graph.ts";
import type { NodeOf } from "../../graph/operators/operator.ts";
import { lowerChannelFilter } from "./channel_filter.ts";
import { convolutionAttributes } from "./convolution_attributes.ts";
import type { Draft, DraftInstruction } from "../draft.ts";
import { lowerElementwise } from "./elementwise.ts";
import { lowerNormalisation } from "./normalisation.ts";
import {
  lowerDepthToSpace,
  lowerPadding,
  lowerResize,
  lowerTransposedConvolution,
} from "./upsampling.ts";
import { type LoweredValue, Lowering, type LowerOptions, nhwc } from "./lowering.ts";
import { OPERATIONS } from "../operations.ts";

/** Inputs of a concat instruction. */
const CONCAT_INPUTS = OPERATIONS.concat.inputs.map((name) => name.replace("?", ""));

/** The instructions of a graph, and where its values went. */
export interface Lowered {
  readonly instructions: readonly DraftInstruction[];
  readonly values: ReadonlyMap<string, LoweredValue>;
  /** The feed that receives pictures. */
  readonly images: string;
  /** f32 values of the graph's outputs, as pictures lie; a flattened one lies as what it was made of. */
  readonly outputs: ReadonlyMap<string, string>;
  /** The output where it is one vector, [classes]. */
  readonly logits?: string;
}

/** Whether a node's result can leave its instruction as an output in f32. */
function writesOutput(lowering: Lowering, node: Node): boolean {
  const { graph } = lowering;
  return graph.outputs.includes(node.output) &&
    !graph.nodes.some((other) => other.inputs.includes(node.output));
}

function lowerConvolution(lowering: Lowering, node: NodeOf<"convolution">): void {
  const x = lowering.picture(node);
  const [channels, height, width] = lowering.shapes.get(node.output)!;
  emitConvolution(lowering, node, x, convolutionAttributes(x, { height, width, channels }, node));
}

/** weight [out, channels * height * width] is a kernel [out, channels, height, width]. */
function lowerLinear(lowering: Lowering, node: NodeOf<"linear">): void {
  const x = lowering.input(node);
  const [channels] = lowering.shapes.get(node.output)!;
  const kernel = [x.height, x.width];
  const shape = convolutionAttributes(x, { height: 1, width: 1, channels }, { kernel });
  emitConvolution(lowering, node, x, shape, [channels, x.channels, ...kernel]);
}

function emitConvolution(
  lowering: Lowering,
  node: NodeOf<"convolution"> | NodeOf<"linear">,
  x: LoweredValue,
  shape: Record<string, number>,
  weightShape?: readonly number[],
): void {
  const inputs = {
    x: x.name,
    packed: lowering.parameter(node.weight, weightShape),
    bias: node.bias === undefined ? undefined : lowering.parameter(node.bias),
  };
  const dtype = writesOutput(lowering, node) ? { dtype: "f32" as const } : {};
  lowering.emit(node, "convolution", inputs, { ...shape, relu: 0 }, dtype);
}

function lowerBatchNorm(lowering: Lowering, node: NodeOf<"batch_norm">): void {
  const x = lowering.picture(node).name;
  const scale = lowering.parameter(node.scale), offset = lowering.parameter(node.offset);
  const mean = lowering.parameter(node.mean), variance = lowering.parameter(node.variance);
  const { epsilon } = node;
  if (lowering.options.batchNorm === "running") {
    const inputs = { x, scale, offset, mean, variance };
    lowering.emit(node, "batch_norm_inference", inputs, { relu: 0, epsilon });
    return;
  }
  const { draft } = lowering;
  const channels = [lowering.shapes.get(node.output)![0]];
  const statistic = (name: string) =>
    draft.value({ name, dtype: "f32", shape: channels, images: 0, place: "state" });
  const batchMean = statistic(`mean/${node.name}`);
  const deviation = statistic(`inverse_deviation/${node.name}`);
  const momentum = lowering.options.momentum ??
    draft.constant(`momentum/${node.momentum}`, [1], new Float32Array([node.momentum]));
  lowering.instructions.push({
    op: "batch_norm_statistics",
    inputs: { x, momentum, running_mean: mean, running_variance: variance },
    outputs: {
      mean: batchMean,
      inverse_deviation: deviation,
      running_mean: mean,
      running_variance: variance,
    },
    attributes: { epsilon },
    layer: node.name,
  });
  const inputs = { x, mean: batchMean, inverse_deviation: deviation, scale, offset };
  lowering.emit(node, "batch_norm_apply", inputs, { relu: 0 });
}

function lowerPool(
  lowering: Lowering,
  node: NodeOf<"max_pool"> | NodeOf<"average_pool"> | NodeOf<"global_average_pool">,
): void {
  const x = lowering.picture(node);
  const [channels, outHeight, outWidth] = lowering.shapes.get(node.output)!;
  const global = node.op === "global_average_pool";
  const kernel = global ? [x.height, x.width] : node.kernel;
  const stride = global ? [1, 1] : node.stride;
  const window = {
    in_height: x.height,
    in_width: x.width,
    channels,
    out_height: outHeight,
    out_width: outWidth,
    kernel_height: kernel[0],
    kernel_width: kernel[1],
    stride_height: stride[0],
    stride_width: stride[1],
    pad_top: global ? 0 : node.padding[0],
    pad_left: global ? 0 : node.padding[1],
  };
  if (node.op !== "max_pool") {
    const count_padding = !global && node.countPadding ? 1 : 0;
    lowering.emit(node, "average_pool", { x: x.name }, { ...window, count_padding });
    return;
  }
  const { draft, options: { entry, images, batchNorm } } = lowering;
  // Only training walks back through the pool, and needs to know who won.
  const outputs: Record<string, string> = batchNorm === "running" ? {} : {
    winners: draft.value({
      name: `${entry}:winners/${node.output}`,
      dtype: "i32",
      shape: nhwc(outHeight, outWidth, channels),
      images,
      place: "activations",
    }),
  };
  lowering.emit(node, "max_pool", { x: x.name }, window, { outputs });
}

function lowerGather(
  lowering: Lowering,
  node: NodeOf<"pad"> | NodeOf<"slice"> | NodeOf<"channel_map">,
): void {
  const x = lowering.picture(node);
  const shape = lowering.shapes.get(node.output)!;
  const [channels, height, width] = shape.length === 3 ? shape : [shape[0], 1, 1];
  const from = node.op === "channel_map"
    ? Int32Array.from(node.from)
    : Int32Array.from({ length: channels }, (_, c) => c);
  const start = node.op === "pad"
    ? [-node.padding[0], -node.padding[1]]
    : node.op === "slice"
    ? node.starts
    : [0, 0];
  const stride = node.op === "slice" ? node.strides : [1, 1];
  const map = lowering.draft.constant(`map/${node.name}`, [channels], from);
  lowering.emit(node, "gather", { x: x.name, map }, {
    in_height: x.height,
    in_width: x.width,
    in_channels: x.channels,
    out_height: height,
    out_width: width,
    out_channels: channels,
    start_row: start[0],
    start_column: start[1],
    stride_height: stride[0],
    stride_width: stride[1],
  });
}

/**
 * As many at a time as the instruction takes. Every layer of a dense block joins all before it: what
 * one has joined of them serves the next.
 */
function lowerConcat(lowering: Lowering, node: NodeOf<"concat">): void {
  const { draft, instructions, options: { entry, images, dtype } } = lowering;
  const pictures = node.inputs.map((_, index) => lowering.picture(node, index));
  if (pictures.length === 1) {
    lowering.values.set(node.output, pictures[0]);
    return;
  }
  let rest = pictures;
  while (rest.length > CONCAT_INPUTS.length) {
    const first = rest.slice(0, CONCAT_INPUTS.length);
    const key = first.map(({ name }) => name).join("\n");
    const known = lowering.joined.get(key);
    if (known !== undefined) {
      rest = [known, ...rest.slice(first.length)];
      continue;
    }
    const channels = first.reduce((sum, picture) => sum + picture.channels, 0);
    const [{ height, width }] = first;
    const y = draft.value({
      name: `${entry}:joined/${channels}/${node.output}`,
      dtype,
      shape: nhwc(height, width, channels),
      images,
      place: "activations",
    });
    const inputs = concatInputs(first);
    instructions.push({ op: "concat", inputs, outputs: { y }, attributes: {}, layer: node.name });
    const joined = { name: y, height, width, channels, flattened: false };
    lowering.joined.set(key, joined);
    rest = [joined, ...rest.slice(first.length)];
  }
  lowering.emit(node, "concat", concatInputs(rest));
}

function concatInputs(values: readonly LoweredValue[]): Record<string, string> {
  return Object.fromEntries(values.map(({ name }, index) => [CONCAT_INPUTS[index], name]));
}

function lowerFlatten(lowering: Lowering, node: NodeOf<"flatten">): void {
  const x = lowering.input(node);
  const flattened = x.flattened || x.height > 1 || x.width > 1;
  lowering.values.set(node.output, { ...x, flattened });
}

function lowerNode(lowering: Lowering, node: Node): void {
  switch (node.op) {
    case "convolution":
      return lowerConvolution(lowering, node);
    case "linear":
      return lowerLinear(lowering, node);
    case "batch_norm":
      return lowerBatchNorm(lowering, node);
    case "relu":
    case "activation":
    case "add":
    case "multiply":
      return lowerElementwise(lowering, node);
    case "concat":
      return lowerConcat(lowering, node);
    case "max_pool":
    case "average_pool":
    case "global_average_pool":
      return lowerPool(lowering, node);
    case "pad":
      return node.fill === undefined ? lowerGather(lowering, node) : lowerPadding(lowering, node);
    case "slice":
    case "channel_map":
      return lowerGather(lowering, node);
    case "flatten":
      return lowerFlatten(lowering, node);
    case "channel_filter":
      return lowerChannelFilter(lowering, node);
    case "prelu":
    case "layer_norm":
    case "group_norm":
    case "local_response_norm":
    case "softmax":
      return lowerNormalisation(lowering, node);
    case "transposed_convolution":
      return lowerTransposedConvolution(lowering, node);
    case "depth_to_space":
      return lowerDepthToSpace(lowering, node);
    case "resize":
      return lowerResize(lowering, node);
  }
}

/** An output in f32. */
function lowerOutput(lowering: Lowering, output: string): string {
  const { draft, options: { entry } } = lowering;
  const { name } = lowering.values.get(output)!;
  const value = draft.get(name);
  if (value.dtype === "f32") return name;
  const y = draft.value({
    ...value,
    name: `${entry}:output/${output}`,
    dtype: "f32",
    place: "activations",
  });
  lowering.instructions.push({
    op: "cast",
    inputs: { x: name },
    outputs: { y },
    attributes: {},
    layer: output,
  });
  return y;
}

/**
 * Lowers a graph for one entry. Throws "graph-invalid" from shapesOf, "graph-unsupported" where
 * instructions cannot express the graph.
 */
export function lower(draft: Draft, graph: Graph, options: LowerOptions): Lowered {
  const lowering = new Lowering(draft, graph, options);
  const input = lowering.image(graph.input.name, "feeds", options.dtype);
  lowering.values.set(graph.input.name, input);
  for (const node of graph.nodes) lowerNode(lowering, node);
  const outputs = new Map(graph.outputs.map((name) => [name, lowerOutput(lowering, name)]));
  const { instructions, values } = lowering;
  const [first] = outputs.values();
  const vector = outputs.size === 1 && draft.get(first).shape.length === 1;
  return {
    instructions,
    values,
    images: input.name,
    outputs,
    ...(vector ? { logits: first } : {}),
  };
}

/** The logits of a classifier. Throws "graph-unsupported" where the graph is none. */
export function logitsOf(graph: Graph, { logits }: Lowered): string {
  if (logits !== undefined) return logits;
  classesOf(graph);
  throw new SecateurError(
    "graph-unsupported",
    `${graph.name} ends in a flattened picture, but a classifier ends in [classes]; end it with a ` +
      `linear layer or a global pool.`,
  );
}
