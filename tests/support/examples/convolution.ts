/** Convolutions of many shapes, their gradients and normal equations. */

import { imageTypeOf, type Precision, precisionInt } from "../../../src/program/precision.ts";
import { Arguments, type Batch, FIVE, type NamedExample } from "./arguments.ts";
import type { Argument, Example } from "./one_instruction.ts";

interface ConvolutionCase {
  readonly name: string;
  /** Height, width and channels of the input; outputs. */
  readonly size: readonly [number, number, number, number];
  /** Height and width, or one number where they are alike. */
  readonly kernel: PerAxis;
  readonly stride?: PerAxis;
  readonly dilation?: PerAxis;
  /** Top, left, bottom, right, or one number where they are alike. */
  readonly pad?: number | readonly [number, number, number, number];
  readonly groups?: number;
  readonly batch?: Batch;
}

type PerAxis = number | readonly [number, number];

function perAxis(value: PerAxis): readonly [number, number] {
  return typeof value === "number" ? [value, value] : value;
}

/** Threads share the work of each instruction. */
const ONE: Batch = { images: 1, slice: 1 };

const CONVOLUTIONS: readonly ConvolutionCase[] = [
  { name: "3x3, 3 to 13", size: [9, 7, 3, 13], kernel: 3, pad: 1 },
  { name: "3x3, 16 to 16", size: [8, 8, 16, 16], kernel: 3, pad: 1 },
  { name: "3x3, 13 to 45", size: [5, 6, 13, 45], kernel: 3, pad: 1 },
  { name: "3x3, 45 to 9", size: [7, 7, 45, 9], kernel: 3, pad: 1 },
  { name: "3x3, tiles cut off", size: [11, 13, 13, 45], kernel: 3, pad: 1 },
  {
    name: "3x3, more tiles than a block",
    size: [20, 19, 16, 20],
    kernel: 3,
    pad: 1,
    batch: { images: 7, slice: 4 },
  },
  { name: "3x3, 64 to 64", size: [4, 4, 64, 64], kernel: 3, pad: 1 },
  { name: "3x3, stride 2", size: [9, 8, 16, 32], kernel: 3, stride: 2, pad: 1 },
  {
    name: "strides 3 and 2",
    size: [11, 9, 5, 7],
    kernel: [3, 5],
    stride: [3, 2],
    pad: [1, 2, 1, 2],
  },
  { name: "one-sided padding", size: [8, 8, 9, 16], kernel: 3, pad: [0, 2, 2, 0] },
  { name: "1x1, 9 to 32", size: [6, 5, 9, 32], kernel: 1 },
  { name: "1x1, stride 2", size: [7, 7, 16, 24], kernel: 1, stride: 2 },
  { name: "1x1 in a border", size: [4, 5, 8, 8], kernel: 1, pad: 1 },
  { name: "linear, 45 to 10", size: [1, 1, 45, 10], kernel: 1 },
  { name: "linear of a picture", size: [4, 4, 13, 10], kernel: 4, batch: { images: 7, slice: 3 } },
  { name: "one pixel, 3x3", size: [1, 1, 9, 13], kernel: 3, pad: 1 },
  { name: "one channel", size: [6, 6, 1, 1], kernel: 3, pad: 1 },
  { name: "5x5", size: [10, 9, 3, 6], kernel: 5, pad: 2 },
  { name: "7x7, stride 2", size: [15, 13, 3, 16], kernel: 7, stride: 2, pad: 3 },
  { name: "dilated", size: [9, 11, 8, 16], kernel: 3, dilation: [2, 3], pad: [2, 3, 2, 3] },
  { name: "dilated, stride 2", size: [11, 10, 4, 5], kernel: 3, stride: 2, dilation: 2, pad: 2 },
  { name: "3 groups", size: [6, 6, 9, 15], kernel: 3, pad: 1, groups: 3 },
  { name: "2 groups, 1x1", size: [5, 5, 32, 32], kernel: 1, groups: 2 },
  { name: "4 groups, stride 2", size: [8, 7, 16, 32], kernel: 3, stride: 2, pad: 1, groups: 4 },
  { name: "depthwise", size: [7, 6, 45, 45], kernel: 3, pad: 1, groups: 45 },
  { name: "depthwise, stride 2", size: [9, 8, 32, 32], kernel: 3, stride: 2, pad: 1, groups: 32 },
  { name: "depthwise, wide", size: [4, 22, 33, 33], kernel: 3, pad: 1, groups: 33 },
  { name: "depthwise, 5x5", size: [9, 13, 21, 21], kernel: 5, pad: [2, 1, 2, 3], groups: 21 },
  { name: "depthwise, 7x7", size: [8, 17, 16, 16], kernel: 7, pad: 3, groups: 16 },
  {
    name: "depthwise, dilated, stride 2",
    size: [11, 9, 5, 5],
    kernel: 3,
    stride: [2, 1],
    dilation: [2, 3],
    pad: [2, 4, 1, 2],
    groups: 5,
  },
  {
    name: "depthwise, more padding than filter",
    size: [3, 2, 6, 6],
    kernel: [2, 5],
    pad: [3, 6, 1, 4],
    groups: 6,
  },
  {
    name: "depthwise, filter too large for its own kernels",
    size: [13, 12, 3, 3],
    kernel: [12, 11],
    pad: [5, 5, 6, 5],
    groups: 3,
  },
  {
    name: "one picture, depthwise 5x5, stride 2",
    size: [61, 43, 37, 37],
    kernel: 5,
    stride: 2,
    pad: 2,
    groups: 37,
    batch: ONE,
  },
  { name: "one picture", size: [30, 15, 8, 40], kernel: 3, pad: 1, batch: ONE },
  {
    name: "one picture, stride 2",
    size: [33, 31, 19, 33],
    kernel: [5, 3],
    stride: 2,
    pad: [2, 1, 1, 0],
    batch: ONE,
  },
  { name: "one picture, 1x1", size: [31, 29, 40, 72], kernel: 1, batch: ONE },
  { name: "one picture, many channels", size: [5, 5, 192, 300], kernel: 1, batch: ONE },
  { name: "one vector", size: [1, 1, 1500, 1001], kernel: 1, batch: ONE },
  { name: "depthwise, multiplier 2", size: [5, 6, 9, 18], kernel: 3, pad: 1, groups: 9 },
  { name: "input the stride does not reach", size: [10, 10, 4, 4], kernel: 2, stride: 3 },
  {
    name: "narrow pictures",
    size: [5, 3, 17, 33],
    kernel: 3,
    pad: 1,
    batch: { images: 29, slice: 14 },
  },
  {
    name: "narrow pictures, 2 groups, stride 2",
    size: [5, 5, 8, 12],
    kernel: 3,
    stride: 2,
    pad: 1,
    groups: 2,
    batch: { images: 9, slice: 8 },
  },
  { name: "one slice", size: [6, 7, 6, 8], kernel: 3, batch: { images: 3, slice: 8 } },
];

function convolutionInts(c: ConvolutionCase): Record<string, number> {
  const [height, width, inputs, outputs] = c.size;
  const { pad = 0 } = c;
  const [top, left, bottom, right] = typeof pad === "number" ? [pad, pad, pad, pad] : pad;
  const [kernelHeight, kernelWidth] = perAxis(c.kernel);
  const [strideHeight, strideWidth] = perAxis(c.stride ?? 1);
  const [dilationHeight, dilationWidth] = perAxis(c.dilation ?? 1);
  const out = (size: number, kernel: number, stride: number, dilation: number, pads: number) =>
    Math.floor((size + pads - dilation * (kernel - 1) - 1) / stride) + 1;
  return {
    in_height: height,
    in_width: width,
    in_channels: inputs,
    out_height: out(height, kernelHeight, strideHeight, dilationHeight, top + bottom),
    out_width: out(width, kernelWidth, strideWidth, dilationWidth, left + right),
    out_channels: outputs,
    kernel_height: kernelHeight,
    kernel_width: kernelWidth,
    stride_height: strideHeight,
    stride_width: strideWidth,
    pad_top: top,
    pad_left: left,
    dilation_height: dilationHeight,
    dilation_width: dilationWidth,
    groups: c.groups ?? 1,
  };
}

function convolutionExamples(c: ConvolutionCase, precision: Precision): NamedExample[] {
  const base = convolutionInts(c), batch = c.batch ?? FIVE;
  const dtype = imageTypeOf(precision);
  const make = new Arguments(c.name, batch.images, dtype);
  const inputs = [base.in_height, base.in_width, base.in_channels];
  const outputs = [base.out_height, base.out_width, base.out_channels];
  const weights = [
    base.out_channels,
    base.in_channels / base.groups,
    base.kernel_height,
    base.kernel_width,
  ];
  const x = make.pictures(inputs), dy = make.pictures(outputs), packed = make.numbers(weights);
  const bias = make.numbers([base.out_channels]), residual = make.pictures(outputs);
  const unknowns = weights[1] * weights[2] * weights[3] + 1;
  const named = (what: string, example: Omit<Example, keyof Batch>): NamedExample => ({
    ...batch,
    ...example,
    precision,
    name: `${example.op}${what}, ${c.name}, ${precision}`,
  });
  const forward = (what: string, relu: number, more: Record<string, Argument>, y: Argument) =>
    named(what, {
      op: "convolution",
      ints: { ...base, relu },
      inputs: { x, packed, ...more },
      outputs: { y },
    });
  const weightGradients = (what: string, gradient: Argument, more: Record<string, Argument>) =>
    named(what, {
      op: "convolution_backward_weights",
      ints: { ...base, precision: precisionInt(precision) },
      inputs: { x, dy: gradient },
      outputs: { dw: make.result(weights, "f32", 0), ...more },
    });
  const examples = [
    forward("", 0, {}, make.result(outputs)),
    forward(" + bias, relu", 1, { bias }, make.result(outputs)),
    forward(" + bias + residual, relu", 1, { bias, residual }, make.result(outputs)),
    named("", {
      op: "convolution_backward_data",
      ints: base,
      inputs: { dy, packed },
      outputs: { dx: make.result(inputs) },
    }),
    weightGradients("", dy, {}),
    weightGradients(" + bias", dy, { db: make.result([base.out_channels], "f32", 0) }),
  ];
  if (dtype === "bf16") {
    examples.push(forward(" to f32", 0, { bias }, make.result(outputs, "f32")));
    examples.push(weightGradients(" from f32", make.pictures(outputs, "f32"), {}));
  }
  const held = (shape: readonly number[]): Argument => ({
    ...make.numbers(shape),
    dtype: "f64",
  });
  // The oracle takes unknowns squared per pixel; convolutions alone differ between precisions.
  for (const accumulate of unknowns > 150 || precision === "f32-fast" ? [] : [0, 1]) {
    examples.push(named(accumulate ? " accumulated" : "", {
      op: "normal_equations",
      ints: { ...base, accumulate },
      inputs: { x, target: dy },
      outputs: {
        gram: held([base.groups, unknowns, unknowns]),
        cross: held([base.groups, unknowns, base.out_channels / base.groups]),
      },
    }));
  }
  return examples;
}

/** Every convolution example in one precision. */
export function allConvolutionExamples(precision: Precision): NamedExample[] {
  return CONVOLUTIONS.flatMap((each) => convolutionExamples(each, precision));
}
