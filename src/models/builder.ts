import type {
  ActivationKind,
  Graph,
  LocalResponseNormNode,
  Node,
  Padding,
  Pair,
  ResizeNode,
  Shape,
} from "../graph/graph.ts";
import { operatorOf } from "../graph/operators/table.ts";
import { RandomStream } from "../random.ts";
import type { Tensor } from "../tensor.ts";
import { elementCount } from "../tensor.ts";

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

const both = (extent: number): Pair => [extent, extent];
const around = (extent: number): Padding => [extent, extent, extent, extent];

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
    const { out, kernel, groups = 1, bias = false } = options;
    const perGroup = this.shape(value)[0] / groups;
    this.#normal(`${name}.weight`, [out, perGroup, kernel, kernel]);
    if (bias) this.#constant(`${name}.bias`, out, 0);
    return this.#append({
      op: "convolution",
      name,
      inputs: [value],
      output: name,
      weight: `${name}.weight`,
      ...(bias ? { bias: `${name}.bias` } : {}),
      kernel: both(kernel),
      stride: both(options.stride ?? 1),
      padding: around(options.padding ?? 0),
      dilation: both(options.dilation ?? 1),
      groups,
    });
  }

  batchNorm(name: string, value: string): string {
    const channels = this.shape(value)[0];
    this.#constant(`${name}.weight`, channels, 1);
    this.#constant(`${name}.bias`, channels, 0);
    this.#constant(`${name}.running_mean`, channels, 0);
    this.#constant(`${name}.running_var`, channels, 1);
    return this.#append({
      op: "batch_norm",
      name,
      inputs: [value],
      output: name,
      scale: `${name}.weight`,
      offset: `${name}.bias`,
      mean: `${name}.running_mean`,
      variance: `${name}.running_var`,
      epsilon: 1e-5,
      momentum: 0.1,
    });
  }

  relu(name: string, value: string): string {
    return this.#append({ op: "relu", name, inputs: [value], output: name });
  }

  activation(
    name: string,
    value: string,
    kind: ActivationKind,
    parameters: { readonly alpha?: number; readonly beta?: number } = {},
  ): string {
    const inputs = [value];
    return this.#append({ op: "activation", name, inputs, output: name, kind, ...parameters });
  }

  /** Slopes start at 0.25, as in the paper. */
  prelu(name: string, value: string): string {
    const slope = `${name}.weight`;
    this.#constant(slope, this.shape(value)[0], 0.25);
    return this.#append({ op: "prelu", name, inputs: [value], output: name, slope });
  }

  transposedConvolution(
    name: string,
    value: string,
    options: ConvolutionOptions & { readonly outputPadding?: number },
  ): string {
    const { out, kernel, groups = 1, bias = false } = options;
    this.#normal(`${name}.weight`, [this.shape(value)[0], out / groups, kernel, kernel]);
    if (bias) this.#constant(`${name}.bias`, out, 0);
    return this.#append({
      op: "transposed_convolution",
      name,
      inputs: [value],
      output: name,
      weight: `${name}.weight`,
      ...(bias ? { bias: `${name}.bias` } : {}),
      kernel: both(kernel),
      stride: both(options.stride ?? 1),
      padding: around(options.padding ?? 0),
      dilation: both(options.dilation ?? 1),
      outputPadding: both(options.outputPadding ?? 0),
      groups,
    });
  }

  /** To `scale` times the size, cells aligned by their centres. */
  resize(name: string, value: string, scale: number, mode: ResizeNode["mode"]): string {
    const [, height, width] = this.shape(value);
    return this.#append({
      op: "resize",
      name,
      inputs: [value],
      output: name,
      mode,
      coordinates: "half_pixel",
      rounding: "round_prefer_floor",
      size: [Math.floor(height * scale), Math.floor(width * scale)],
      scales: both(scale),
    });
  }

  layerNorm(name: string, value: string, epsilon = 1e-6): string {
    const channels = this.shape(value)[0];
    this.#constant(`${name}.weight`, channels, 1);
    this.#constant(`${name}.bias`, channels, 0);
    return this.#append({
      op: "layer_norm",
      name,
      inputs: [value],
      output: name,
      scale: `${name}.weight`,
      offset: `${name}.bias`,
      epsilon,
    });
  }

  localResponseNorm(
    name: string,
    value: string,
    options: Pick<LocalResponseNormNode, "size" | "alpha" | "beta" | "bias">,
  ): string {
    const inputs = [value];
    return this.#append({ op: "local_response_norm", name, inputs, output: name, ...options });
  }

  softmax(name: string, value: string): string {
    return this.#append({ op: "softmax", name, inputs: [value], output: name });
  }

  multiply(name: string, a: string, b: string): string {
    return this.#append({ op: "multiply", name, inputs: [a, b], output: name });
  }

  concat(name: string, values: readonly string[]): string {
    return this.#append({ op: "concat", name, inputs: values, output: name });
  }

  add(name: string, a: string, b: string): string {
    return this.#append({ op: "add", name, inputs: [a, b], output: name });
  }

  maxPool(name: string, value: string, kernel: number, stride: number, padding = 0): string {
    return this.#append({
      op: "max_pool",
      name,
      inputs: [value],
      output: name,
      kernel: both(kernel),
      stride: both(stride),
      padding: around(padding),
    });
  }

  globalAveragePool(name: string, value: string): string {
    return this.#append({ op: "global_average_pool", name, inputs: [value], output: name });
  }

  /** Every `stride`-th row and column, from the first. */
  subsample(name: string, value: string, stride: number): string {
    const [, height, width] = this.shape(value);
    return this.#append({
      op: "slice",
      name,
      inputs: [value],
      output: name,
      starts: [0, 0],
      ends: [height, width],
      strides: both(stride),
    });
  }

  channelMap(name: string, value: string, from: readonly number[]): string {
    return this.#append({ op: "channel_map", name, inputs: [value], output: name, from });
  }

  flatten(name: string, value: string): string {
    return this.#append({ op: "flatten", name, inputs: [value], output: name });
  }

  linear(name: string, value: string, out: number): string {
    this.#normal(`${name}.weight`, [out, this.shape(value)[0]]);
    this.#constant(`${name}.bias`, out, 0);
    return this.#append({
      op: "linear",
      name,
      inputs: [value],
      output: name,
      weight: `${name}.weight`,
      bias: `${name}.bias`,
    });
  }

  /** The finished graph, whose answer is the named value. */
  finish(output: string): Graph {
    return {
      name: this.#name,
      input: { name: this.input, shape: this.#shape },
      output,
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

  #normal(name: string, shape: readonly number[]): void {
    const random = new RandomStream(this.#seed, `initial ${name}`);
    const deviation = Math.sqrt(2 / elementCount(shape.slice(1)));
    const data = Float32Array.from({ length: elementCount(shape) }, () => {
      return random.normal() * deviation;
    });
    this.#parameters.set(name, { shape, data });
  }

  #constant(name: string, length: number, value: number): void {
    this.#parameters.set(name, { shape: [length], data: new Float32Array(length).fill(value) });
  }
}
