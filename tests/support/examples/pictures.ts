/** Batch norm, element-wise instructions, pooling. */

import { runInstruction } from "../../oracle/instructions.ts";
import {
  type Activation,
  Arguments,
  type Batch,
  FIVE,
  given,
  type NamedExample,
} from "./arguments.ts";
import type { Argument, Example } from "./one_instruction.ts";

/** Height, width, channels: vectors of channels full, partial, and repeated over pixels. */
const PICTURES: readonly (readonly number[])[] = [
  [5, 7, 1],
  [8, 8, 16],
  [6, 5, 9],
  [3, 4, 13],
  [4, 4, 45],
  [2, 3, 64],
  [3, 3, 100],
  [37],
];

function batchNormExamples(shape: readonly number[], dtype: Activation): NamedExample[] {
  const make = new Arguments(`batch norm ${shape}`, FIVE.images, dtype);
  const channels = shape[shape.length - 1], one = [channels];
  const x = make.pictures(shape), dy = make.pictures(shape), y = make.pictures(shape);
  const residual = make.pictures(shape);
  const mean = make.numbers(one), inverse_deviation = make.positive(one);
  const scale = make.numbers(one), offset = make.numbers(one), variance = make.positive(one);
  const dscale = make.numbers(one), doffset = make.numbers(one);
  const statistics = () => make.result(one, "f32", 0);
  const named = (what: string, example: Omit<Example, keyof Batch>): NamedExample => ({
    ...FIVE,
    ...example,
    name: `${example.op}${what}, [${shape}], ${dtype}`,
  });
  const affine = (relu: number, more: Record<string, Argument>) => [
    named(relu ? " + residual, relu" : "", {
      op: "batch_norm_apply",
      ints: { relu },
      inputs: { x, mean, inverse_deviation, scale, offset, ...more },
      outputs: { y: make.result(shape) },
    }),
    named(relu ? " + residual, relu" : "", {
      op: "batch_norm_inference",
      ints: { relu },
      floats: { epsilon: 1e-5 },
      inputs: { x, scale, offset, mean, variance, ...more },
      outputs: { y: make.result(shape) },
    }),
  ];
  const gradients = (more: Record<string, Argument>, dresidual: Record<string, Argument>) => [
    named(more.y ? ", relu" : "", {
      op: "batch_norm_backward_reduce",
      inputs: { dy, x, mean, inverse_deviation, ...more },
      outputs: { dscale: statistics(), doffset: statistics() },
    }),
    named(`${more.y ? ", relu" : ""}${dresidual.dresidual ? " + residual" : ""}`, {
      op: "batch_norm_backward_apply",
      inputs: { dy, x, mean, inverse_deviation, scale, dscale, doffset, ...more },
      outputs: { dx: make.result(shape), ...dresidual },
    }),
  ];
  return [
    named("", {
      op: "batch_norm_statistics",
      floats: { epsilon: 1e-5 },
      inputs: { x, momentum: given(0.1), running_mean: mean, running_variance: variance },
      outputs: {
        mean: statistics(),
        inverse_deviation: statistics(),
        running_mean: statistics(),
        running_variance: statistics(),
      },
    }),
    ...affine(0, {}),
    ...affine(1, { residual }),
    ...gradients({}, {}),
    ...gradients({ y }, { dresidual: make.result(shape) }),
    ...gradients({ y }, {}).slice(1),
  ];
}

function elementwiseExamples(shape: readonly number[], dtype: Activation): NamedExample[] {
  const make = new Arguments(`elementwise ${shape}`, FIVE.images, dtype);
  const a = make.pictures(shape), b = make.pictures(shape);
  const other = dtype === "f32" ? "bf16" : "f32";
  const named = (
    what: string,
    example: Omit<Example, keyof Batch>,
    batch = FIVE,
  ): NamedExample => ({
    ...batch,
    ...example,
    name: `${example.op}${what}, [${shape}], ${dtype}`,
  });
  const y = make.result(shape), channels = shape[shape.length - 1];
  const gates = (rows: number) => make.numbers([rows, channels], (random) => random.integer(2));
  return [
    named("", { op: "relu", inputs: { x: a }, outputs: { y } }),
    named("", { op: "relu_backward", inputs: { dy: a, y: b }, outputs: { dx: y } }),
    named("", { op: "add", ints: { relu: 0 }, inputs: { a, b }, outputs: { y } }),
    named(", relu", { op: "add", ints: { relu: 1 }, inputs: { a, b }, outputs: { y } }),
    named("", { op: "cast", inputs: { x: a }, outputs: { y: make.result(shape, other) } }),
    named("", { op: "gate", inputs: { x: a, gates: gates(1) }, outputs: { y } }),
    named(" of 6 coalitions", {
      op: "gate",
      inputs: { x: make.pictures(shape, dtype, 2), gates: gates(6) },
      outputs: { y: make.result(shape, dtype, 12) },
    }, { images: 12, slice: 5 }),
  ];
}

const WINDOWS: readonly (readonly number[])[] = [
  // height width channels, kernel, stride, pad
  [8, 8, 16, 2, 2, 2, 2, 0, 0],
  [9, 7, 13, 3, 3, 2, 2, 1, 1],
  [5, 6, 45, 3, 2, 1, 1, 1, 0],
  [8, 8, 64, 8, 8, 1, 1, 0, 0],
  [4, 3, 9, 4, 3, 1, 1, 0, 0],
];

function poolExamples(window: readonly number[], dtype: Activation): NamedExample[] {
  const [in_height, in_width, channels, kernel_height, kernel_width] = window;
  const [stride_height, stride_width, pad_top, pad_left] = window.slice(5);
  const out = (size: number, kernel: number, stride: number, pad: number) =>
    Math.floor((size + 2 * pad - kernel) / stride) + 1;
  const ints = {
    in_height,
    in_width,
    channels,
    out_height: out(in_height, kernel_height, stride_height, pad_top),
    out_width: out(in_width, kernel_width, stride_width, pad_left),
    kernel_height,
    kernel_width,
    stride_height,
    stride_width,
    pad_top,
    pad_left,
  };
  const make = new Arguments(`pool ${window}`, FIVE.images, dtype);
  const input = [in_height, in_width, channels];
  const output = [ints.out_height, ints.out_width, channels];
  const x = make.pictures(input), dy = make.pictures(output);
  // Few distinct numbers, so that windows hold ties.
  x.data!.forEach((value, i) => x.data![i] = Math.round(2 * value) / 2);
  const winners: Argument = {
    ...make.result(output, "i32"),
    data: new Float64Array(dy.data!.length),
  };
  const pooled = { shape: output, images: FIVE.images, data: new Float64Array(dy.data!.length) };
  const order = Object.values(ints);
  runInstruction("max_pool", order, [], [{ ...x, data: x.data! }], [
    pooled,
    { ...winners, data: winners.data! },
  ]);
  const named = (what: string, example: Omit<Example, keyof Batch>): NamedExample => ({
    ...FIVE,
    ...example,
    name: `${example.op}${what}, [${window}], ${dtype}`,
  });
  const examples = [
    named("", {
      op: "max_pool",
      ints,
      inputs: { x },
      outputs: { y: make.result(output), winners: make.result(output, "i32") },
    }),
    named(" alone", { op: "max_pool", ints, inputs: { x }, outputs: { y: make.result(output) } }),
    named("", {
      op: "max_pool_backward",
      ints,
      inputs: { dy, winners },
      outputs: { dx: make.result(input) },
    }),
  ];
  for (const count_padding of [0, 1]) {
    const what = count_padding ? " with padding" : "", more = { ...ints, count_padding };
    examples.push(
      named(what, {
        op: "average_pool",
        ints: more,
        inputs: { x },
        outputs: { y: make.result(output) },
      }),
      named(what, {
        op: "average_pool_backward",
        ints: more,
        inputs: { dy },
        outputs: { dx: make.result(input) },
      }),
    );
  }
  return examples;
}

/** Every example of these families with activations of one type. */
export function allPictureExamples(dtype: Activation): NamedExample[] {
  return [
    ...PICTURES.flatMap((shape) => batchNormExamples(shape, dtype)),
    ...PICTURES.flatMap((shape) => elementwiseExamples(shape, dtype)),
    ...WINDOWS.flatMap((window) => poolExamples(window, dtype)),
  ];
}
