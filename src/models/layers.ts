/** Blocks of layers that several families are made of. */

import { SecateurError } from "../errors.ts";
import type { ActivationKind, Pair } from "../graph/graph.ts";
import type { BatchNormOptions, ConvolutionOptions, GraphBuilder } from "./builder.ts";

/** An activation; relu6 clips to [0, 6]. */
export type Activation = "relu" | "relu6" | ActivationKind;

export function activate(
  builder: GraphBuilder,
  name: string,
  value: string,
  kind: Activation,
): string {
  if (kind === "relu") return builder.relu(name, value);
  if (kind === "relu6") return builder.activation(name, value, "clip", { alpha: 0, beta: 6 });
  return builder.activation(name, value, kind);
}

/** Names of a convolution, its batch norm and, where one follows, the activation. */
export interface UnitNames {
  readonly convolution: string;
  readonly norm: string;
  readonly activation?: string;
}

/** `${name}.${first}` and so on, as the layers of a PyTorch Sequential are called. */
export function sequential(name: string, first = 0): Required<UnitNames> {
  return {
    convolution: `${name}.${first}`,
    norm: `${name}.${first + 1}`,
    activation: `${name}.${first + 2}`,
  };
}

export interface UnitOptions extends ConvolutionOptions {
  /** None where left out. */
  readonly activation?: Activation;
  readonly norm?: BatchNormOptions;
}

/** Convolution, batch norm, activation. */
export function convolutionUnit(
  builder: GraphBuilder,
  names: UnitNames,
  value: string,
  options: UnitOptions,
): string {
  const { activation, norm } = options;
  const convolved = builder.convolution(names.convolution, value, options);
  const normalised = builder.batchNorm(names.norm, convolved, norm);
  if (activation === undefined) return normalised;
  return activate(
    builder,
    names.activation ?? `${names.norm}.${activation}`,
    normalised,
    activation,
  );
}

export interface ExcitationOptions {
  /** Channels between the two layers. */
  readonly squeeze: number;
  readonly activation: Activation;
  readonly gate: Activation;
}

/**
 * Squeeze and excitation (Hu et al., arXiv 1709.01507): every channel times a number that two 1 x 1
 * convolutions, fc1 and fc2, make of the means of all.
 */
export function squeezeExcitation(
  builder: GraphBuilder,
  name: string,
  value: string,
  { squeeze, activation, gate }: ExcitationOptions,
): string {
  const [channels] = builder.shape(value);
  const options = { kernel: 1, bias: true };
  let scale = builder.globalAveragePool(`${name}.avgpool`, value);
  scale = builder.convolution(`${name}.fc1`, scale, { ...options, out: squeeze });
  scale = activate(builder, `${name}.activation`, scale, activation);
  scale = builder.convolution(`${name}.fc2`, scale, { ...options, out: channels });
  scale = activate(builder, `${name}.scale_activation`, scale, gate);
  return builder.multiply(`${name}.multiply`, value, scale);
}

/** Mean over height and width, then one linear layer: how most families end. */
export function pooledClassifier(
  builder: GraphBuilder,
  name: string,
  value: string,
  classes: number,
): string {
  const pooled = builder.globalAveragePool("avgpool", value);
  return builder.linear(name, builder.flatten("flatten", pooled), classes);
}

/** How one axis becomes `out` cells: repeated `repeat` times, then averaged over windows. */
interface AxisPooling {
  readonly repeat: number;
  readonly kernel: number;
  readonly stride: number;
}

/** Adaptive pooling of one axis as repetition and equal windows, or undefined. */
function adaptiveAxis(extent: number, out: number): AxisPooling | undefined {
  const cells = Array.from({ length: out }, (_, i) => i);
  const starts = cells.map((i) => Math.floor(i * extent / out));
  const lengths = cells.map((i) => Math.ceil((i + 1) * extent / out) - starts[i]);
  const stride = starts[1] ?? 1;
  const equal = lengths.every((length) => length === lengths[0]) &&
    starts.every((start, i) => start === i * stride);
  if (extent < 1) return undefined;
  if (equal && stride > 0) return { repeat: 1, kernel: lengths[0], stride };
  // Every cell `out` times makes windows of `extent`, which weigh 1 and 2 cells as pooling does.
  return extent <= 2 ? { repeat: out, kernel: extent, stride: extent } : undefined;
}

/**
 * PyTorch's AdaptiveAvgPool2d to `size` x `size`, where average pooling (after repeating cells)
 * computes it. Throws "graph-unsupported" where its windows differ in size.
 */
export function adaptiveAveragePool(
  builder: GraphBuilder,
  name: string,
  value: string,
  size: number,
): string {
  const [, height, width] = builder.shape(value);
  const rows = adaptiveAxis(height, size), columns = adaptiveAxis(width, size);
  if (rows === undefined || columns === undefined) {
    throw new SecateurError(
      "graph-unsupported",
      `Expected ${name} to average ${height}x${width} cells to ${size}x${size} in windows of one ` +
        `size, but they would differ; choose pictures for which it gets 1, 2, a multiple of ` +
        `${size} or one cell more each way.`,
    );
  }
  const repeat: Pair = [rows.repeat, columns.repeat];
  const kernel: Pair = [rows.kernel, columns.kernel], stride: Pair = [rows.stride, columns.stride];
  const repeated = Math.max(...repeat) === 1
    ? value
    : builder.resize(`${name}.repeat`, value, repeat, "nearest");
  if (Math.max(...kernel, ...stride) === 1) return repeated;
  return builder.averagePool(name, repeated, kernel, stride);
}
