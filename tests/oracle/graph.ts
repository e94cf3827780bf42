/**
 * A model in plain f64 loops, channels first, one image at a time: slow, and easy to check by eye.
 * Masks zero channels of values, which is what removing them must amount to.
 */

import type { Graph, Node, Shape } from "../../src/graph/graph.ts";
import { activationParameters } from "../../src/graph/operators/activation.ts";
import { shapesOf } from "../../src/graph/shapes.ts";
import { ACTIVATIONS } from "./activations.ts";
import {
  channelFilter,
  groupNorm,
  pixelwise,
  resize,
  responses,
  shares,
  standardised,
  transposedConvolution,
} from "./operators.ts";

/** Channels to zero in each value. */
export type Masks = ReadonlyMap<string, ReadonlySet<number>>;

type Weights = ReadonlyMap<string, { readonly data: ArrayLike<number> }>;

interface Context {
  readonly weights: Weights;
  readonly inputs: readonly Float64Array[];
  readonly shapes: readonly Shape[];
  readonly out: Shape;
}

const size = (shape: Shape): number => shape.reduce((product, extent) => product * extent, 1);

type NodeOf<Name extends Node["op"]> = Extract<Node, { op: Name }>;

function convolution(node: NodeOf<"convolution">, { weights, inputs, shapes, out }: Context) {
  const [x] = inputs;
  const [[inChannels, height, width]] = shapes;
  const [outChannels, rows, columns] = out;
  const weight = weights.get(node.weight)!.data;
  const bias = node.bias === undefined ? undefined : weights.get(node.bias)!.data;
  const perGroup = inChannels / node.groups;
  const outPerGroup = outChannels / node.groups;
  const [kernelRows, kernelColumns] = node.kernel;
  const y = new Float64Array(size(out));
  for (let o = 0; o < outChannels; o++) {
    const firstChannel = Math.floor(o / outPerGroup) * perGroup;
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        let sum = bias?.[o] ?? 0;
        for (let c = 0; c < perGroup; c++) {
          for (let p = 0; p < kernelRows; p++) {
            for (let q = 0; q < kernelColumns; q++) {
              const row = i * node.stride[0] - node.padding[0] + p * node.dilation[0];
              const column = j * node.stride[1] - node.padding[1] + q * node.dilation[1];
              if (row < 0 || row >= height || column < 0 || column >= width) continue;
              const w = weight[((o * perGroup + c) * kernelRows + p) * kernelColumns + q];
              sum += w * x[((firstChannel + c) * height + row) * width + column];
            }
          }
        }
        y[(o * rows + i) * columns + j] = sum;
      }
    }
  }
  return y;
}

function batchNorm(node: NodeOf<"batch_norm">, { weights, inputs, out }: Context) {
  const area = size(out) / out[0];
  const of = (name: string, channel: number) => weights.get(name)!.data[channel];
  return inputs[0].map((value, index) => {
    const c = Math.floor(index / area);
    const deviation = Math.sqrt(of(node.variance, c) + node.epsilon);
    return (value - of(node.mean, c)) / deviation * of(node.scale, c) + of(node.offset, c);
  });
}

function pool(
  node: NodeOf<"max_pool"> | NodeOf<"average_pool">,
  { inputs, shapes, out }: Context,
) {
  const [[, height, width]] = shapes;
  const [channels, rows, columns] = out;
  const y = new Float64Array(size(out));
  for (let c = 0; c < channels; c++) {
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        const cells: number[] = [];
        for (let p = 0; p < node.kernel[0]; p++) {
          for (let q = 0; q < node.kernel[1]; q++) {
            const row = i * node.stride[0] - node.padding[0] + p;
            const column = j * node.stride[1] - node.padding[1] + q;
            if (row < 0 || row >= height || column < 0 || column >= width) continue;
            cells.push(inputs[0][(c * height + row) * width + column]);
          }
        }
        const sum = cells.reduce((total, cell) => total + cell, 0);
        const inWindow = node.kernel[0] * node.kernel[1];
        y[(c * rows + i) * columns + j] = node.op === "max_pool"
          ? Math.max(...cells)
          : sum / (node.countPadding ? inWindow : cells.length);
      }
    }
  }
  return y;
}

/** Pixels and channels picked one by one; `from` may answer undefined for a zero. */
function pick(
  { inputs, shapes, out }: Context,
  from: (channel: number, row: number, column: number) => [number, number, number] | undefined,
) {
  // A vector of features is a picture of one cell.
  const [[, height = 1, width = 1]] = shapes;
  const [, rows = 1, columns = 1] = out;
  return new Float64Array(size(out)).map((_, index) => {
    const column = index % columns;
    const row = Math.floor(index / columns) % rows;
    const source = from(Math.floor(index / columns / rows), row, column);
    if (source === undefined) return 0;
    const [c, i, j] = source;
    const inside = i >= 0 && i < height && j >= 0 && j < width;
    return inside ? inputs[0][(c * height + i) * width + j] : 0;
  });
}

/** The cell that stands at a place beside a line of `extent` cells, walked to one by one. */
function repeated(fill: NodeOf<"pad">["fill"], at: number, extent: number): number {
  if (fill === undefined) return at;
  for (; at < 0; at++) if (fill === "reflect") return -at;
  for (; at >= extent; at--) if (fill === "reflect") return 2 * (extent - 1) - at;
  return at;
}

function linear(node: NodeOf<"linear">, { weights, inputs, out }: Context) {
  const weight = weights.get(node.weight)!.data;
  const bias = node.bias === undefined ? undefined : weights.get(node.bias)!.data;
  const [x] = inputs;
  return new Float64Array(out[0]).map((_, o) =>
    x.reduce((sum, value, i) => sum + weight[o * x.length + i] * value, bias?.[o] ?? 0)
  );
}

/** One number a channel repeats over the channel's pixels, a map over the channels. */
function combine(
  { inputs: [a, b], shapes: [shapeA, shapeB], out }: Context,
  f: (a: number, b: number) => number,
) {
  const area = size(out) / out[0];
  const at = (shape: Shape, index: number) =>
    size(shape) === size(out)
      ? index
      : shape[0] === out[0]
      ? Math.floor(index / area)
      : index % area;
  return new Float64Array(size(out)).map((_, i) => f(a[at(shapeA, i)], b[at(shapeB, i)]));
}

function concat({ inputs, out }: Context) {
  const y = new Float64Array(size(out));
  let offset = 0;
  for (const input of inputs) {
    y.set(input, offset);
    offset += input.length;
  }
  return y;
}

function prelu(node: NodeOf<"prelu">, { weights, inputs: [x], out }: Context) {
  const slope = weights.get(node.slope)!.data, area = size(out) / out[0];
  return x.map((value, i) => value < 0 ? value * slope[Math.floor(i / area)] : value);
}

function compute(node: Node, context: Context): Float64Array {
  const { inputs, out } = context;
  switch (node.op) {
    case "convolution":
      return convolution(node, context);
    case "batch_norm":
      return batchNorm(node, context);
    case "relu":
      return inputs[0].map((value) => Math.max(0, value));
    case "activation": {
      const { alpha, beta } = activationParameters(node);
      return inputs[0].map((value) => ACTIVATIONS[node.kind](value, alpha, beta));
    }
    case "multiply":
      return combine(context, (a, b) => a * b);
    case "concat":
      return concat(context);
    case "add":
      return combine(context, (a, b) => a + b);
    case "max_pool":
    case "average_pool":
      return pool(node, context);
    case "global_average_pool": {
      const area = inputs[0].length / out[0];
      return new Float64Array(out[0]).map((_, c) =>
        inputs[0].subarray(c * area, (c + 1) * area).reduce((sum, value) => sum + value, 0) / area
      );
    }
    case "pad":
      return pick(context, (c, i, j) => [
        c,
        repeated(node.fill, i - node.padding[0], context.shapes[0][1]),
        repeated(node.fill, j - node.padding[1], context.shapes[0][2]),
      ]);
    case "slice":
      return pick(context, (c, i, j) => [
        c,
        node.starts[0] + i * node.strides[0],
        node.starts[1] + j * node.strides[1],
      ]);
    case "depth_to_space":
      return pick(context, (c, i, j) => {
        const { block } = node;
        const cell = i % block * block + j % block;
        return [c * block ** 2 + cell, Math.floor(i / block), Math.floor(j / block)];
      });
    case "channel_map":
      return pick(context, (c, i, j) => node.from[c] < 0 ? undefined : [node.from[c], i, j]);
    case "flatten":
      return inputs[0];
    case "linear":
      return linear(node, context);
    case "channel_filter": {
      const bias = node.bias === undefined ? 0 : context.weights.get(node.bias)!.data[0];
      return channelFilter(node, inputs[0], context.weights.get(node.weight)!.data, bias);
    }
    case "prelu":
      return prelu(node, context);
    case "transposed_convolution": {
      const weight = context.weights.get(node.weight)!.data;
      const bias = node.bias === undefined ? undefined : context.weights.get(node.bias)!.data;
      return transposedConvolution(node, inputs[0], context.shapes[0], out, weight, bias);
    }
    case "resize":
      return resize(node, inputs[0], context.shapes[0], out);
    case "layer_norm": {
      const [scale, offset] = [node.scale, node.offset].map((name) => context.weights.get(name)!);
      return pixelwise(
        inputs[0],
        out,
        (pixel) =>
          standardised(pixel, node.epsilon).map((value, c) =>
            value * scale.data[c] + offset.data[c]
          ),
      );
    }
    case "group_norm": {
      const [scale, offset] = [node.scale, node.offset].map((name) => context.weights.get(name)!);
      const area = size(out) / out[0];
      return groupNorm(inputs[0], node.groups, node.epsilon).map((value, i) => {
        const c = Math.floor(i / area);
        return value * scale.data[c] + offset.data[c];
      });
    }
    case "local_response_norm":
      return pixelwise(inputs[0], out, (pixel) => responses(pixel, node));
    case "softmax":
      return pixelwise(inputs[0], out, shares);
  }
}

/**
 * Every value of a graph for one image, in f64, with the masked channels set to zero as soon as
 * they are written. Batch norm uses running statistics.
 */
export function evaluateGraph(
  graph: Graph,
  image: Float64Array,
  masks: Masks = new Map(),
  weights: Weights = graph.parameters,
): Map<string, Float64Array> {
  const shapes = shapesOf(graph);
  const values = new Map([[graph.input.name, image]]);
  for (const node of graph.nodes) {
    const out = shapes.get(node.output)!;
    const value = compute(node, {
      weights,
      inputs: node.inputs.map((name) => values.get(name)!),
      shapes: node.inputs.map((name) => shapes.get(name)!),
      out,
    }).slice();
    const area = value.length / out[0];
    for (const channel of masks.get(node.output) ?? []) {
      value.fill(0, channel * area, (channel + 1) * area);
    }
    values.set(node.output, value);
  }
  return values;
}
