/** The examples that the CUDA executor serves, and what they cost. */

import { EXAMPLES } from "../examples/all.ts";
import type { NamedExample } from "../examples/arguments.ts";
import type { Argument } from "../examples/one_instruction.ts";

/** f32-fast means something to convolutions alone. */
export const SERVED: readonly NamedExample[] = EXAMPLES.filter(({ op, precision }) =>
  precision !== "f32-fast" || op.startsWith("convolution")
);

function sizeOf({ shape, images }: Argument): number {
  return shape.reduce((product, extent) => product * extent, Math.max(1, images));
}

/** Whether its products are those of matrices, unless a thread computes each result. */
export const onTensorCores = ({ op, precision }: NamedExample): boolean =>
  op.startsWith("convolution") && precision !== "f32";

/** Products that an example takes, tiles counted whole, or its elements. */
export function workOf(example: NamedExample): number {
  const { op, ints, outputs, inputs } = example;
  const largest = Math.max(...[...Object.values(inputs), ...Object.values(outputs)].map(sizeOf));
  if (ints?.groups === undefined || ints.kernel_height === undefined) return largest;
  const { images } = Object.values(inputs)[0];
  const of = (name: string) => ints[name]!;
  const [sources, results] = [of("in_channels") / of("groups"), of("out_channels") / of("groups")];
  const rows = of("kernel_height") * of("kernel_width") * sources;
  const pixels = of("out_height") * of("out_width") * images;
  const matrix = onTensorCores(example);
  /** Of a group, unless a thread computes each result of few. */
  const product = (height: number, width: number, depth: number) => {
    if (of("groups") > 1 && width < 8) return of("groups") * height * width * depth;
    const [across, down] = matrix ? [width <= 16 ? 16 : width <= 32 ? 32 : 64, 128] : [64, 64];
    return of("groups") * Math.ceil(height / down) * down * Math.ceil(width / across) * across *
      depth;
  };
  if (op === "convolution") return product(pixels, results, rows);
  if (op === "convolution_backward_weights") return product(rows, results, pixels);
  // In f64, and the oracle is slower still.
  if (op === "normal_equations") return of("groups") * rows * (rows + results) * pixels * 2;
  const all = of("in_height") * of("in_width") * images;
  return product(all, sources, rows / sources * results);
}
