/** What each operator knows of itself: its shape, its cost and how it couples channels. */

import type { Node, OperatorName, Shape } from "../graph.ts";
import { elementCount, type Tensor } from "../../tensor.ts";

/** A parameter's index along one axis. */
export interface ParameterSlice {
  readonly parameter: string;
  readonly axis: number;
  readonly index: number;
}

/** Where an operator declares what it does to channels; channels.ts collects the answers. */
export interface ChannelRules {
  /** Channel `a` of one value can only go together with channel `b` of the other. */
  couple(valueA: string, a: number, valueB: string, b: number): void;
  /** When this channel goes, that slice of a parameter goes too. */
  owns(value: string, channel: number, slice: ParameterSlice): void;
  /** The operator mixes the channels of this value: it must read zero where a channel is masked. */
  mixes(value: string): void;
  /** The operator makes this value's channels out of its own weights. */
  produces(value: string): void;
  /** This value's channels must all stay. */
  pin(value: string, reason: string): void;
}

/** Everything about one operator, in one place. */
export interface Operator<N extends Node = Node> {
  /** Trainable parameters by name. */
  trainable(node: N): readonly string[];
  /** Tensors that training updates without a gradient (running statistics). */
  buffers(node: N): readonly string[];
  /** Shape of the output; throws a reason (a clause, not a sentence) when the inputs do not fit. */
  shape(node: N, inputs: readonly Shape[], parameters: ReadonlyMap<string, Tensor>): Shape;
  /** Multiply-accumulates for one image, counted as the papers do: convolutions and linear. */
  macs(node: N, inputs: readonly Shape[], output: Shape): number;
  /**
   * Zero channels in give zero channels out, channel by channel and one input: a gate may stand
   * before it as well as after.
   */
  readonly keepsZero: boolean;
  channels(node: N, inputs: readonly Shape[], output: Shape, rules: ChannelRules): void;
  /**
   * The node after its values lost channels: `inputs` are the shapes before, `kept(v)` lists the
   * channels of v that stay. Parameters are cut by their owners, not here.
   */
  cut(node: N, inputs: readonly Shape[], kept: (value: string) => readonly number[]): N;
}

/** The node type of an operator's name. */
export type NodeOf<Name extends OperatorName> = Extract<Node, { op: Name }>;

/** Couples every channel of the output with the same channel of the input. */
export function coupleChannelwise(
  node: Node,
  input: string,
  channels: number,
  rules: ChannelRules,
): void {
  for (let c = 0; c < channels; c++) rules.couple(input, c, node.output, c);
}

/** Which of two operands is a picture of one channel beside one of several, if one is. */
export function mapOfAll([a, b]: readonly Shape[]): 0 | 1 | undefined {
  const area = ([, ...extents]: Shape) => extents.join();
  if (a.length !== 3 || b.length !== 3 || area(a) !== area(b) || a[0] === b[0]) return undefined;
  return a[0] === 1 ? 0 : b[0] === 1 ? 1 : undefined;
}

/** Which of two operands is one number a channel beside a picture of as many channels, if one is. */
export function numbersOfChannels([a, b]: readonly Shape[]): 0 | 1 | undefined {
  if (a[0] !== b[0] || a.join() === b.join()) return undefined;
  const single = (shape: Shape) => elementCount(shape) === shape[0];
  return single(b) && a.length === 3 ? 1 : single(a) && b.length === 3 ? 0 : undefined;
}

/** Channels of both operands go together; a map for all of them stays whatever goes. */
export function coupleOperands(
  node: Node,
  inputs: readonly Shape[],
  [channels]: Shape,
  rules: ChannelRules,
): void {
  const map = mapOfAll(inputs);
  node.inputs.forEach((input, index) => {
    if (index === map) rules.mixes(input);
    else coupleChannelwise(node, input, channels, rules);
  });
}

/** An operator of one input without weights that treats every channel alike and keeps zero zero. */
export function channelwise<N extends Node>(shape: (node: N, input: Shape) => Shape): Operator<N> {
  return {
    trainable: () => [],
    buffers: () => [],
    keepsZero: true,
    shape: (node, [input]) => shape(node, input),
    macs: () => 0,
    channels(node, [input], _output, rules) {
      coupleChannelwise(node, node.inputs[0], input[0], rules);
    },
    cut: (node) => node,
  };
}

/** Output extent of a sliding window along one axis. */
export function windowExtent(
  input: number,
  kernel: number,
  stride: number,
  before: number,
  after: number,
  dilation = 1,
): number {
  return Math.floor((input + before + after - dilation * (kernel - 1) - 1) / stride) + 1;
}

/** Numbers that a padded picture may have, or so many times those of the picture itself. */
const LARGEST_PADDED = 2 ** 25;
const MOST_GROWTH = 4;

/**
 * Throws a clause where padding (top, left, bottom, right) makes far more of a picture than a filter
 * that spans `reach` (rows, columns) can need: it takes memory and time for zeros. Native code draws
 * the line at the same place.
 */
export function expectSanePadding(
  [channels, height, width]: readonly [number, number, number],
  [top, left, bottom, right]: readonly number[],
  reach: readonly [number, number] = [Infinity, Infinity],
): void {
  const padded = [channels, height + top + bottom, width + left + right];
  const numbers = padded.reduce((product, extent) => product * extent, 1);
  const most = Math.max(LARGEST_PADDED, MOST_GROWTH * channels * height * width);
  const fits = Math.max(top, bottom) <= MOST_GROWTH * (height + reach[0]) &&
    Math.max(left, right) <= MOST_GROWTH * (width + reach[1]);
  if (numbers <= most && fits) return;
  throw new Error(
    `has padding ${[top, left, bottom, right].join(", ")}, which makes [${padded.join(", ")}] of ` +
      `[${channels}, ${height}, ${width}]; padding is expected to be of a filter's size`,
  );
}

/** Throws a clause unless the shape is [channels, height, width]. */
export function expectPicture(shape: Shape): readonly [number, number, number] {
  if (shape.length !== 3) {
    throw new Error(`expects [channels, height, width] but receives [${shape.join(", ")}]`);
  }
  return [shape[0], shape[1], shape[2]];
}

/** Throws a clause unless the number is from `least` to `most`, which NaN is not. */
export function expectBetween(what: string, value: number, least: number, most: number): void {
  if (value >= least && value <= most) return;
  throw new Error(`has ${what} of ${value}, which is not from ${least} to ${most}`);
}

/** Throws a clause unless the number may be added to variances: 0 would divide by nothing. */
export function expectEpsilon(value: number): void {
  expectBetween("an epsilon", value, Number.MIN_VALUE, 1);
}

/** Throws a clause unless the named tensor has this shape. */
export function expectParameter(
  parameters: ReadonlyMap<string, Tensor>,
  name: string,
  shape: readonly (number | undefined)[],
): Tensor {
  const tensor = parameters.get(name);
  if (tensor === undefined) throw new Error(`needs the parameter ${name}, which is not there`);
  const fits = tensor.shape.length === shape.length &&
    shape.every((extent, axis) => extent === undefined || extent === tensor.shape[axis]);
  if (!fits) {
    const expected = shape.map((extent) => extent ?? "any").join(", ");
    throw new Error(`expects ${name} of [${expected}] but it is [${tensor.shape.join(", ")}]`);
  }
  return tensor;
}
