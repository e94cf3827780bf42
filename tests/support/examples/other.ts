/** Gathers, losses, ranks and what happens to weights. */

import { type Activation, Arguments, FIVE, given, type NamedExample } from "./arguments.ts";
import type { Argument } from "./one_instruction.ts";

interface GatherCase {
  readonly name: string;
  readonly input: readonly [number, number, number];
  readonly output: readonly [number, number];
  readonly start: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly map: readonly number[];
}

const GATHERS: readonly GatherCase[] = [
  {
    name: "option-A shortcut",
    input: [7, 8, 3],
    output: [4, 4],
    start: [0, 0],
    stride: [2, 2],
    map: [-1, 0, 1, 2, -1, -1],
  },
  {
    name: "padding",
    input: [3, 4, 5],
    output: [6, 6],
    start: [-1, -2],
    stride: [1, 1],
    map: [0, 1, 2, 3, 4],
  },
  {
    name: "a slice of channels",
    input: [3, 4, 20],
    output: [3, 4],
    start: [0, 0],
    stride: [1, 1],
    map: [3, 4, 5, 6, 7, 8, 9],
  },
  {
    name: "one channel used twice",
    input: [4, 4, 3],
    output: [2, 2],
    start: [1, 1],
    stride: [1, 2],
    map: [2, 0, 2, -1],
  },
];

function gatherExamples(g: GatherCase, dtype: Activation): NamedExample[] {
  const make = new Arguments(g.name, FIVE.images, dtype);
  const output = [...g.output, g.map.length];
  const ints = {
    in_height: g.input[0],
    in_width: g.input[1],
    in_channels: g.input[2],
    out_height: g.output[0],
    out_width: g.output[1],
    out_channels: g.map.length,
    start_row: g.start[0],
    start_column: g.start[1],
    stride_height: g.stride[0],
    stride_width: g.stride[1],
  };
  const map: Argument = {
    shape: [g.map.length],
    dtype: "i32",
    images: 0,
    data: Float64Array.from(g.map),
  };
  return [{
    ...FIVE,
    name: `gather, ${g.name}, ${dtype}`,
    op: "gather",
    ints,
    inputs: { x: make.pictures(g.input), map },
    outputs: { y: make.result(output) },
  }, {
    ...FIVE,
    name: `gather_backward, ${g.name}, ${dtype}`,
    op: "gather_backward",
    ints,
    inputs: { dy: make.pictures(output), map },
    outputs: { dx: make.result(g.input) },
  }];
}

/** Shares of the first label, of which some mix nothing. */
function shares(images: number): Argument {
  const data = Float64Array.from({ length: images }, (_, i) => [1, 0.25, 0.75, 0][i % 4]);
  return { shape: [1], dtype: "f32", images, data };
}

function lossExamples(dtype: Activation): NamedExample[] {
  const classes = 11, make = new Arguments("loss", FIVE.images, dtype);
  const logits = make.pictures([classes], "f32"), teacher = make.pictures([classes], "f32");
  // Large logits must not overflow.
  logits.data!.forEach((value, i) => logits.data![i] = i < classes ? 100 * value : value);
  const labels = make.integers([1], classes);
  const plain = { smoothing: 0, distill: 0, temperature: 1, gradient_scale: 0.25 };
  const loss = make.result([1], "f32"), dlogits = make.result([classes]);
  const inputs = { logits, labels };
  const op = "softmax_cross_entropy" as const;
  const name = (what: string) => `${op} ${what}, ${dtype}`;
  return [
    { ...FIVE, name: name("alone"), op, floats: plain, inputs, outputs: { loss } },
    {
      ...FIVE,
      name: name("smoothed"),
      op,
      floats: { ...plain, smoothing: 0.1 },
      inputs,
      outputs: { loss, dlogits },
    },
    {
      ...FIVE,
      name: name("distilled"),
      op,
      floats: { smoothing: 0.1, distill: 0.7, temperature: 3, gradient_scale: 0.5 },
      inputs: { ...inputs, teacher },
      outputs: { loss, dlogits },
    },
    {
      ...FIVE,
      name: name("of mixed pictures"),
      op,
      floats: { smoothing: 0.1, distill: 0.7, temperature: 3, gradient_scale: 0.5 },
      inputs: {
        ...inputs,
        teacher,
        other_labels: make.integers([1], classes),
        label_shares: shares(FIVE.images),
      },
      outputs: { loss, dlogits },
    },
  ];
}

function squaredErrorExamples(dtype: Activation): NamedExample[] {
  const shape = [3, 5, 4], make = new Arguments("squared error", FIVE.images, dtype);
  const output = make.pictures(shape, "f32"), wanted = make.pictures(shape, "f32");
  const loss = make.result([1], "f32"), dx = make.result(shape);
  const op = "squared_error" as const;
  const floats = { scale: 0.3, gradient_scale: 0.25 };
  const inputs = { output, wanted };
  return [
    { ...FIVE, name: `${op} alone, ${dtype}`, op, floats, inputs, outputs: { loss } },
    {
      ...FIVE,
      name: `${op} behind another, ${dtype}`,
      op,
      floats,
      inputs: { ...inputs, previous: make.pictures([1], "f32") },
      outputs: { loss, dx },
    },
  ];
}

/** Maps of known ranks: outer products plus a diagonal, far from the tolerance. */
function rankExample(dtype: Activation): NamedExample {
  const [height, width, channels] = [6, 5, 4];
  const make = new Arguments("rank", FIVE.images, dtype);
  const x = make.pictures([height, width, channels]);
  x.data!.forEach((_, i) => {
    const channel = i % channels, pixel = Math.floor(i / channels) % (height * width);
    const row = Math.floor(pixel / width), column = pixel % width;
    const diagonal = row === column && row < channel ? 4 : 0;
    x.data![i] = (row + 1) * (column % 3) + diagonal;
  });
  return {
    ...FIVE,
    name: `rank, ${dtype}`,
    op: "rank",
    inputs: { x },
    outputs: { ranks: make.result([channels], "f32") },
  };
}

/** Lengths within the norm and beyond it. */
function clipExamples(gradient: Argument): NamedExample[] {
  const whole = { images: 0, slice: 0 };
  const sum = (value: number): Argument => ({
    shape: [1],
    dtype: "f64",
    images: 0,
    data: Float64Array.of(value),
  });
  const total: Argument = { shape: [1], dtype: "f64", images: 0 };
  const scale: Argument = { shape: [1], dtype: "f32", images: 0 };
  return [
    ...([{}, { squares: sum(2.5) }] as Record<string, Argument>[]).map((more): NamedExample => ({
      ...whole,
      name: `sum_squares ${Object.keys(more)}`,
      op: "sum_squares",
      inputs: { gradient, ...more },
      outputs: { total },
    })),
    ...[0, 4, 100].map((squares): NamedExample => ({
      ...whole,
      name: `clip_scale of ${squares}`,
      op: "clip_scale",
      floats: { norm: 2.5 },
      inputs: { squares: sum(squares) },
      outputs: { scale },
    })),
  ];
}

function weightExamples(): NamedExample[] {
  const whole = { images: 0, slice: 0 };
  const make = new Arguments("weights", 0, "f32");
  const shape = [13, 3, 3, 3], one = [13];
  const weight = make.numbers(shape), gradient = make.numbers(shape);
  const result = (of: readonly number[]) => make.result(of, "f32", 0);
  const batchNorm = {
    scale: make.numbers(one),
    offset: make.numbers(one),
    mean: make.numbers(one),
    variance: make.positive(one),
  };
  const bias = make.numbers(one);
  const folded = { weight: result(shape), bias: result(one) };
  return [
    ...([{}, { bias }] as Record<string, Argument>[]).map((more) => ({
      ...whole,
      name: `fold_batch_norm ${Object.keys(more)}`,
      op: "fold_batch_norm" as const,
      floats: { epsilon: 1e-5 },
      inputs: { weight, ...more, ...batchNorm },
      outputs: folded,
    })),
    {
      ...whole,
      name: "sgd",
      op: "sgd",
      floats: { weight_decay: 1e-2 },
      inputs: { weight, gradient, velocity: make.numbers(shape), hyper: given(0.1, 0.9) },
      outputs: { weight: result(shape), velocity: result(shape) },
    },
    {
      ...whole,
      name: "adamw",
      op: "adamw",
      floats: { weight_decay: 1e-2 },
      inputs: {
        weight,
        gradient,
        first: make.numbers(shape),
        second: make.positive(shape),
        hyper: given(0.01, 0.9, 0.999, 1e-8, 3),
      },
      outputs: { weight: result(shape), first: result(shape), second: result(shape) },
    },
    {
      ...whole,
      name: "sgd, clipped",
      op: "sgd",
      floats: { weight_decay: 1e-2 },
      inputs: {
        weight,
        gradient,
        velocity: make.numbers(shape),
        hyper: given(0.1, 0.9),
        scale: given(0.25),
      },
      outputs: { weight: result(shape), velocity: result(shape) },
    },
    {
      ...whole,
      name: "adamw, clipped",
      op: "adamw",
      floats: { weight_decay: 1e-2 },
      inputs: {
        weight,
        gradient,
        first: make.numbers(shape),
        second: make.positive(shape),
        hyper: given(0.01, 0.9, 0.999, 1e-8, 3),
        scale: given(0.25),
      },
      outputs: { weight: result(shape), first: result(shape), second: result(shape) },
    },
    {
      ...whole,
      name: "average",
      op: "average",
      inputs: { weight, average: make.numbers(shape), pace: given(0.125) },
      outputs: { average: result(shape) },
    },
    ...clipExamples(gradient),
  ];
}

/** Every example of these families; those without activations come with "f32" only. */
export function allOtherExamples(dtype: Activation): NamedExample[] {
  return [
    ...GATHERS.flatMap((each) => gatherExamples(each, dtype)),
    ...lossExamples(dtype),
    ...squaredErrorExamples(dtype),
    rankExample(dtype),
    ...(dtype === "f32" ? weightExamples() : []),
  ];
}
