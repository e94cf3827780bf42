/**
 * A model as operators and weights. Shapes are per image and channels-first, as in PyTorch and
 * ONNX: [channels, height, width] or, once flattened, [features].
 */

import type { Tensor } from "../tensor.ts";

/** Shape of one image's value: [channels, height, width] or [features]. */
export type Shape = readonly number[];

/** [vertical, horizontal]. */
export type Pair = readonly [number, number];

/** [top, left, bottom, right]; negative padding is not allowed. */
export type Padding = readonly [number, number, number, number];

interface NodeBase {
  /** Unique layer name as in the checkpoint, such as "layer1.0.conv1". */
  readonly name: string;
  /** Names of the values read, in order. */
  readonly inputs: readonly string[];
  /** Name of the value written. Every value is written once. */
  readonly output: string;
}

/** Geometry of a sliding window. */
export interface Window {
  readonly kernel: Pair;
  readonly stride: Pair;
  readonly padding: Padding;
}

/** weight [out, in / groups, kernel height, kernel width], bias [out]: names in Graph.parameters. */
export interface ConvolutionNode extends NodeBase, Window {
  readonly op: "convolution";
  readonly dilation: Pair;
  readonly groups: number;
  readonly weight: string;
  readonly bias?: string;
}

/** Parameters [channels] each; momentum in PyTorch's sense (weight of the new statistic). */
export interface BatchNormNode extends NodeBase {
  readonly op: "batch_norm";
  readonly scale: string;
  readonly offset: string;
  readonly mean: string;
  readonly variance: string;
  readonly epsilon: number;
  readonly momentum: number;
}

export interface ReluNode extends NodeBase {
  readonly op: "relu";
}

/**
 * sigmoid; silu: x sigmoid(x); hard_sigmoid: clip(alpha x + beta, 0, 1); hard_swish: x times that;
 * gelu by the error function; gelu_tanh, its approximation; leaky_relu of slope alpha; clip to
 * [alpha, beta]; tanh; elu of alpha.
 */
export type ActivationKind = typeof ACTIVATION_KINDS[number];

/** In the order native/operations.def numbers them. */
export const ACTIVATION_KINDS = [
  "sigmoid",
  "silu",
  "hard_sigmoid",
  "hard_swish",
  "gelu",
  "gelu_tanh",
  "leaky_relu",
  "clip",
  "tanh",
  "elu",
] as const;

/** Element by element; what alpha and beta are when left out says operators/activation.ts. */
export interface ActivationNode extends NodeBase {
  readonly op: "activation";
  readonly kind: ActivationKind;
  readonly alpha?: number;
  readonly beta?: number;
}

/**
 * Sum of two values of one shape, or of a picture and one of one channel, for all of its channels, or
 * one number a channel ([channels] or [channels, 1, 1]), for all of its pixels.
 */
export interface AddNode extends NodeBase {
  readonly op: "add";
}

/**
 * Product of two values of one shape, or of a picture and one number a channel ([channels] or
 * [channels, 1, 1], on either side), as in squeeze-and-excitation, or one number a pixel ([1, height,
 * width]), as in spatial attention.
 */
export interface MultiplyNode extends NodeBase {
  readonly op: "multiply";
}

/** Channels of all inputs, one after another. */
export interface ConcatNode extends NodeBase {
  readonly op: "concat";
}

/** Padding never wins the maximum. */
export interface MaxPoolNode extends NodeBase, Window {
  readonly op: "max_pool";
}

export interface AveragePoolNode extends NodeBase, Window {
  readonly op: "average_pool";
  /** Whether padded cells count in the divisor (PyTorch's default: true). */
  readonly countPadding: boolean;
}

/** [channels, height, width] -> [channels, 1, 1]. */
export interface GlobalAveragePoolNode extends NodeBase {
  readonly op: "global_average_pool";
}

/** What padding repeats of a picture: its cells mirrored at the edge, or the edge itself. */
export const PAD_FILLS = ["reflect", "edge"] as const;

/** Padding of height and width. */
export interface PadNode extends NodeBase {
  readonly op: "pad";
  readonly padding: Padding;
  /** Zeros where left out. */
  readonly fill?: typeof PAD_FILLS[number];
}

/** Strided slice of height and width: starts inclusive, ends exclusive. */
export interface SliceNode extends NodeBase {
  readonly op: "slice";
  readonly starts: Pair;
  readonly ends: Pair;
  readonly strides: Pair;
}

/**
 * Output channel k is input channel `from[k]`, or zero where from[k] is -1. Without zeros it is a
 * slice, a split's part or a shuffle of channels, and couples them. With zeros it is the
 * zero-padded (option-A) shortcut of CIFAR ResNets, which does not. Surgery rewrites `from`.
 */
export interface ChannelMapNode extends NodeBase {
  readonly op: "channel_map";
  readonly from: readonly number[];
}

/** [channels, height, width] -> [channels * height * width], channels outermost. */
export interface FlattenNode extends NodeBase {
  readonly op: "flatten";
}

/** weight [out, in], bias [out]. */
export interface LinearNode extends NodeBase {
  readonly op: "linear";
  readonly weight: string;
  readonly bias?: string;
}

/**
 * One filter along the channels of [channels, 1, 1] or [channels]: weight [1, 1, taps], bias [1]. Channel
 * k lies at positions[k] of `extent` places, the others of which hold zeros; padding [before, after] adds
 * as many zeros as there are taps, less one.
 */
export interface ChannelFilterNode extends NodeBase {
  readonly op: "channel_filter";
  readonly weight: string;
  readonly bias?: string;
  readonly padding: Pair;
  readonly extent: number;
  readonly positions: readonly number[];
}

/** slope [channels]: x where x >= 0, else x times the channel's slope. */
export interface PreluNode extends NodeBase {
  readonly op: "prelu";
  readonly slope: string;
}

/**
 * Transpose of a convolution of this geometry: weight [in, out / groups, kernel height, kernel
 * width], bias [out]. Padding crops the output; outputPadding, below the stride, adds rows and
 * columns at the bottom and right.
 */
export interface TransposedConvolutionNode extends NodeBase, Window {
  readonly op: "transposed_convolution";
  readonly dilation: Pair;
  readonly outputPadding: Pair;
  readonly groups: number;
  readonly weight: string;
  readonly bias?: string;
}

/** How a resized picture's cells lie over the original's, and how they round, as ONNX names it. */
export const RESIZE_COORDINATES = [
  "half_pixel",
  "pytorch_half_pixel",
  "align_corners",
  "asymmetric",
] as const;
export const RESIZE_ROUNDINGS = [
  "round_prefer_floor",
  "round_prefer_ceil",
  "floor",
  "ceil",
] as const;

/** Interpolates to `size`; `scales` relate the coordinates, output to input. */
export interface ResizeNode extends NodeBase {
  readonly op: "resize";
  readonly mode: "nearest" | "linear";
  readonly coordinates: typeof RESIZE_COORDINATES[number];
  /** Of nearest; linear does not round. */
  readonly rounding: typeof RESIZE_ROUNDINGS[number];
  readonly size: Pair;
  readonly scales: Pair;
}

/**
 * Channels c * block^2 + i * block + j become rows i and columns j of channel c, in blocks of
 * block x block pixels (sub-pixel convolution, Shi et al., arXiv 1609.05158).
 */
export interface DepthToSpaceNode extends NodeBase {
  readonly op: "depth_to_space";
  readonly block: number;
}

/** Over the channels of each pixel, with biased variance; scale and offset [channels]. */
export interface LayerNormNode extends NodeBase {
  readonly op: "layer_norm";
  readonly scale: string;
  readonly offset: string;
  readonly epsilon: number;
}

/**
 * Over all pixels and the channels of a group, of so many groups of neighbouring channels, with biased
 * variance; scale and offset [channels]. As many groups as channels are instance norm.
 */
export interface GroupNormNode extends NodeBase {
  readonly op: "group_norm";
  readonly groups: number;
  readonly scale: string;
  readonly offset: string;
  readonly epsilon: number;
}

/** x / (bias + alpha / size * sum of the squares of `size` channels around)^beta. */
export interface LocalResponseNormNode extends NodeBase {
  readonly op: "local_response_norm";
  readonly size: number;
  readonly alpha: number;
  readonly beta: number;
  readonly bias: number;
}

/** Over the channels of each pixel. */
export interface SoftmaxNode extends NodeBase {
  readonly op: "softmax";
}

/** One operator of a graph. */
export type Node =
  | ConvolutionNode
  | BatchNormNode
  | ReluNode
  | ActivationNode
  | AddNode
  | MultiplyNode
  | ConcatNode
  | MaxPoolNode
  | AveragePoolNode
  | GlobalAveragePoolNode
  | PadNode
  | SliceNode
  | ChannelMapNode
  | FlattenNode
  | LinearNode
  | ChannelFilterNode
  | PreluNode
  | TransposedConvolutionNode
  | ResizeNode
  | DepthToSpaceNode
  | LayerNormNode
  | GroupNormNode
  | LocalResponseNormNode
  | SoftmaxNode;

export type OperatorName = Node["op"];

/** A model: nodes in topological order and the tensors they name. */
export interface Graph {
  /** Architecture name, such as "resnet56". */
  readonly name: string;
  readonly input: { readonly name: string; readonly shape: Shape };
  /** The values that are the model's answers, at least one: a classifier's is its [classes] logits. */
  readonly outputs: readonly string[];
  readonly nodes: readonly Node[];
  readonly parameters: ReadonlyMap<string, Tensor>;
}
