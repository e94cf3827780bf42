import type {
  ActivationKind,
  Graph,
  LocalResponseNormNode,
  Node,
  Padding,
  PadNode,
  Pair,
  ResizeNode,
  Shape,
} from "../graph/graph.ts";
import { operatorOf } from "../graph/operators/table.ts";
import type { Tensor } from "../tensor.ts";
import { constantTensor, normalTensor } from "./initial.ts";

/** Geometry of a convolution; extents given once hold for both axes. */
export interface ConvolutionOptions {
  readonly out: number;
  readonly kernel: number;
  readonly stride?: number;
  readonly padding?: number;
  readonly dilation?: number;
  readonly groups?: number;
  readonly bias?: boolean;
}

export interface BatchNormOptions {
  /** Added to the variance; default 1e-5. */
  readonly epsilon?: number;
  /** Weight of a new statistic; default 0.1. */
  readonly momentum?: number;
}

const both = (extent: number | Pair): Pair =>
  typeof extent === "number" ? [extent, extent] : extent;
const around = (extent: number): Padding => [extent, extent, extent, extent];

/** Name, input and output of a layer whose value is called as it is. */
const layer = (name: string, ...inputs: readonly string[]) => ({ name, inputs, output: name });

/** Padding at the end for which a window count rounded down is PyTorch's, rounded up. */
function paddingForCeil(extent: number, kernel: number, stride: number, padding: number): number {
  const room = extent + 2 * padding - kernel;
  const rest = room - stride * Math.floor(room / stride);
  if (rest === 0) return padding;
  const last = room - rest + stride;
  // PyTorch drops a last window that begins in the padding.
  return last >= extent + padding ? padding : padding + stride - rest;
}

/**
 * Writes a graph layer by layer. Layer names become parameter names as in PyTorch state dicts
 * (`<layer>.weight`); every method returns the name of the value it writes. Weights start as
 * He et al. (arXiv 1502.01852) from the seed: normal, variance 2 / fan in; batch norm starts as
 * the identity.
 */
export class GraphBuilder {
  readonly input: string = "input";
  readonly #name: string;
  readonly #shape: Shape;
  readonly #seed: number;
  readonly #nodes: Node[] = [];
  readonly #shapes: Map<string, Shape>;
  readonly #parameters = new Map<string, Tensor>();

  constructor(name: string, shape: Shape, seed = 0) {
    this.#name = name;
    this.#shape = shape;
    this.#seed = seed;
    this.#shapes = new Map([[this.input, shape]]);
  }

  /** Per-image shape of a value written so far. */
  shape(value: string): Shape {
    return this.#shapes.get(value)!;
  }

  convolution(name: string, value: string, options: ConvolutionOptions): string {
    const perGroup = this.shape(value)[0] / (options.groups ?? 1);
    return this.#append({
      op: "convolution",
      ...layer(name, value),
      ...this.#weighted(name, [options.out, perGroup], options),
    });
  }

  transposedConvolution(
    name: string,
    value: string,
    options: ConvolutionOptions & { readonly outputPadding?: number },
  ): string {
    const perGroup = options.out / (options.groups ?? 1);
    return this.#append({
      op: "transposed_convolution",
      ...layer(name, value),
      ...this.#weighted(name, [this.shape(value)[0], perGroup], options),
      outputPadding: both(options.outputPadding ?? 0),
    });
  }

  batchNorm(name: string, value: string, options: BatchNormOptions = {}): string {
    const channels = this.shape(value)[0];
    const { epsilon = 1e-5, momentum = 0.1 } = options;
    return this.#append({
      op: "batch_norm",
      ...layer(name, value),
      scale: this.#constant(`${name}.weight`, channels, 1),
      offset: this.#constant(`${name}.bias`, channels, 0),
      mean: this.#constant(`${name}.running_mean`, channels, 0),
      variance: this.#constant(`${name}.running_var`, channels, 1),
      epsilon,
      momentum,
    });
  }

  relu(name: string, value: string): string {
    return this.#append({ op: "relu", ...layer(name, value) });
  }

  activation(
    name: string,
    value: string,
    kind: ActivationKind,
    parameters: { readonly alpha?: number; readonly beta?: number } = {},
  ): string {
    return this.#append({ op: "activation", ...layer(name, value), kind, ...parameters });
  }

  /** One filter of so many taps, an odd number, along channels of one cell. */
  channelFilter(name: string, value: string, taps: number, bias = false): string {
    const [channels] = this.shape(value), around = (taps - 1) / 2;
    return this.#append({
      op: "channel_filter",
      ...layer(name, value),
      weight: this.#normal(`${name}.weight`, [1, 1, taps]),
      ...(bias ? { bias: this.#constant(`${name}.bias`, 1, 0) } : {}),
      padding: [around, around],
      extent: channels,
      positions: Array.from({ length: channels }, (_, c) => c),
    });
  }

  /** Slopes start at 0.25, as in the paper. */
  prelu(name: string, value: string): string {
    const slope = this.#constant(`${name}.weight`, this.shape(value)[0], 0.25);
    return this.#append({ op: "prelu", ...layer(name, value), slope });
  }

  /** Channels spread over blocks of `block` x `block` pixels. */
  depthToSpace(name: string, value: string, block: number): string {
    return this.#append({ op: "depth_to_space", ...layer(name, value), block });
  }

  /** To `scale` times the size, cells aligned by their centres. */
  resize(name: string, value: string, scale: number | Pair, mode: ResizeNode["mode"]): string {
    const [, height, width] = this.shape(value);
    const scales = both(scale);
    return this.#append({
      op: "resize",
      ...layer(name, value),
      mode,
      coordinates: "half_pixel",
      rounding: "round_prefer_floor",
      size: [Math.floor(height * scales[0]), Math.floor(width * scales[1])],
      scales,
    });
  }

  layerNorm(name: string, value: string, epsilon = 1e-6): string {
    const channels = this.shape(value)[0];
    return this.#append({
      op: "layer_norm",
      ...layer(name, value),
      scale: this.#constant(`${name}.weight`, channels, 1),
      offset: this.#constant(`${name}.bias`, channels, 0),
      epsilon,
    });
  }

  groupNorm(name: string, value: string, groups: number, epsilon = 1e-5): string {
    const channels = this.shape(value)[0];
    return this.#append({
      op: "group_norm",
      ...layer(name, value),
      groups,
      scale: this.#constant(`${name}.weight`, channels, 1),
      offset: this.#constant(`${name}.bias`, channels, 0),
      epsilon,
    });
  }

  localResponseNorm(
    name: string,
    value: string,
    options: Pick<LocalResponseNormNode, "size" | "alpha" | "beta" | "bias">,
  ): string {
    return this.#append({ op: "local_response_norm", ...layer(name, value), ...options });
  }

  softmax(name: string, value: string): string {
    return this.#append({ op: "softmax", ...layer(name, value) });
  }

  multiply(name: string, a: string, b: string): string {
    return this.#append({ op: "multiply", ...layer(name, a, b) });
  }

  concat(name: string, values: readonly string[]): string {
    return this.#append({ op: "concat", ...layer(name, ...values) });
  }

  add(name: string, a: string, b: string): string {
    return this.#append({ op: "add", ...layer(name, a, b) });
  }

  /** `ceil`: a last window that begins inside the picture counts, cut off (PyTorch's ceil_mode). */
  maxPool(
    name: string,
    value: string,
    kernel: number,
    stride: number,
    padding = 0,
    ceil = false,
  ): string {
    const [, ...extents] = this.shape(value);
    const [bottom, right] = extents.map((extent) =>
      ceil ? paddingForCeil(extent, kernel, stride, padding) : padding
    );
    return this.#append({
      op: "max_pool",
      ...layer(name, value),
      kernel: both(kernel),
      stride: both(stride),
      padding: [padding, padding, bottom, right],
    });
  }

  averagePool(name: string, value: string, kernel: number | Pair, stride: number | Pair): string {
    return this.#append({
      op: "average_pool",
      ...layer(name, value),
      kernel: both(kernel),
      stride: both(stride),
      padding: around(0),
      countPadding: true,
    });
  }

  globalAveragePool(name: string, value: string): string {
    return this.#append({ op: "global_average_pool", ...layer(name, value) });
  }

  /** As many cells on every side; zeros unless `fill` says otherwise. */
  pad(name: string, value: string, cells: number, fill?: PadNode["fill"]): string {
    return this.#append({
      op: "pad",
      ...layer(name, value),
      padding: around(cells),
      ...(fill === undefined ? {} : { fill }),
    });
  }

  /** Every `stride`-th row and column, from the first. */
  subsample(name: string, value: string, stride: number): string {
    const [, height, width] = this.shape(value);
    return this.#append({
      op: "slice",
      ...layer(name, value),
      starts: [0, 0],
      ends: [height, width],
      strides: both(stride),
    });
  }

  channelMap(name: string, value: string, from: readonly number[]): string {
    return this.#append({ op: "channel_map", ...layer(name, value), from });
  }

  flatten(name: string, value: string): string {
    return this.#append({ op: "flatten", ...layer(name, value) });
  }

  linear(name: string, value: string, out: number): string {
    return this.#append({
      op: "linear",
      ...layer(name, value),
      weight: this.#normal(`${name}.weight`, [out, this.shape(value)[0]]),
      bias: this.#constant(`${name}.bias`, out, 0),
    });
  }

  /** The finished graph, whose answers are the named values. */
  finish(...outputs: string[]): Graph {
    return {
      name: this.#name,
      input: { name: this.input, shape: this.#shape },
      outputs,
      nodes: this.#nodes,
      parameters: this.#parameters,
    };
  }

  #append(node: Node): string {
    const inputs = node.inputs.map((value) => this.shape(value));
    this.#shapes.set(node.output, operatorOf(node).shape(node, inputs, this.#parameters));
    this.#nodes.push(node);
    return node.output;
  }

  /** Parameters and geometry of a convolution whose weights begin with these two extents. */
  #weighted(name: string, channels: readonly [number, number], options: ConvolutionOptions) {
    const { out, kernel, groups = 1, bias = false } = options;
    return {
      weight: this.#normal(`${name}.weight`, [...channels, kernel, kernel]),
      ...(bias ? { bias: this.#constant(`${name}.bias`, out, 0) } : {}),
      kernel: both(kernel),
      stride: both(options.stride ?? 1),
      padding: around(options.padding ?? 0),
      dilation: both(options.dilation ?? 1),
      groups,
    };
  }

  #normal(name: string, shape: readonly number[]): string {
    this.#parameters.set(name, normalTensor(this.#seed, name, shape));
    return name;
  }

  #constant(name: string, length: number, value: number): string {
    this.#parameters.set(name, constantTensor(length, value));
    return name;
  }
}
