/**
 * One picture, large enough for threads to share the work of each instruction: every kind of kernel
 * that divides a picture, in shapes that do not divide evenly.
 */

import { ACTIVATION_KINDS } from "../../../src/graph/graph.ts";
import { type Activation, Arguments, type NamedExample } from "./arguments.ts";
import type { Example } from "./one_instruction.ts";

const ONE = { images: 1, slice: 1 } as const;
const [HEIGHT, WIDTH, CHANNELS] = [41, 43, 70];

export function allSinglePictureExamples(dtype: Activation): NamedExample[] {
  const make = new Arguments("one picture", 1, dtype);
  const shape = [HEIGHT, WIDTH, CHANNELS], channels = [CHANNELS];
  const x = make.pictures(shape), second = make.pictures(shape), y = make.result(shape);
  const scale = make.numbers(channels), offset = make.numbers(channels);
  const mean = make.numbers(channels), variance = make.positive(channels);
  const [outHeight, outWidth] = [20, 21], pooled = make.result([outHeight, outWidth, CHANNELS]);
  const window = {
    in_height: HEIGHT,
    in_width: WIDTH,
    channels: CHANNELS,
    out_height: outHeight,
    out_width: outWidth,
    kernel_height: 5,
    kernel_width: 4,
    stride_height: 2,
    stride_width: 2,
    pad_top: 2,
    pad_left: 1,
  };
  const mixed = Float64Array.from({ length: CHANNELS }, (_, c) => (c * 37) % CHANNELS);
  const examples: Omit<Example, "images" | "slice">[] = [
    { op: "add", ints: { relu: 1 }, inputs: { a: x, b: second }, outputs: { y } },
    { op: "relu", inputs: { x }, outputs: { y } },
    {
      op: "activation",
      ints: { kind: ACTIVATION_KINDS.indexOf("silu") },
      floats: { alpha: 0, beta: 0 },
      inputs: { x },
      outputs: { y },
    },
    { op: "multiply", inputs: { a: x, b: second }, outputs: { y } },
    { op: "multiply", inputs: { a: x, b: make.pictures(channels) }, outputs: { y } },
    {
      op: "batch_norm_inference",
      ints: { relu: 1 },
      floats: { epsilon: 1e-5 },
      inputs: { x, scale, offset, mean, variance, residual: second },
      outputs: { y },
    },
    {
      op: "concat",
      inputs: { a: x, b: make.pictures([HEIGHT, WIDTH, 3]) },
      outputs: { y: make.result([HEIGHT, WIDTH, CHANNELS + 3]) },
    },
    {
      op: "gather",
      ints: {
        in_height: HEIGHT,
        in_width: WIDTH,
        in_channels: CHANNELS,
        out_height: HEIGHT + 1,
        out_width: WIDTH,
        out_channels: CHANNELS,
        start_row: -1,
        start_column: 1,
        stride_height: 1,
        stride_width: 1,
      },
      inputs: { x, map: { shape: channels, dtype: "i32", images: 0, data: mixed } },
      outputs: { y: make.result([HEIGHT + 1, WIDTH, CHANNELS]) },
    },
    { op: "max_pool", ints: window, inputs: { x }, outputs: { y: pooled } },
    {
      op: "average_pool",
      ints: { ...window, count_padding: 0 },
      inputs: { x },
      outputs: { y: pooled },
    },
  ];
  return examples.map((example, index) => ({
    ...ONE,
    ...example,
    name: `${example.op} of one picture, ${index}, ${dtype}`,
  }));
}
