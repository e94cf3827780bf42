/** Activations, products, concatenation, normalisation within pixels, resizing. */

import { ACTIVATION_KINDS, type ActivationKind } from "../../../src/graph/graph.ts";
import type { OperationName } from "../../../src/program/operations.ts";
import { type Activation, Arguments, FIVE, type NamedExample } from "./arguments.ts";
import type { Argument } from "./one_instruction.ts";

type Named = Readonly<Record<string, Argument>>;

const PARAMETERS: Partial<Record<ActivationKind, readonly [number, number]>> = {
  hard_sigmoid: [0.2, 0.5],
  hard_swish: [1 / 6, 0.5],
  leaky_relu: [0.1, 0],
  clip: [-1.5, 2],
  elu: [0.7, 0],
};

function activationExamples(
  kind: ActivationKind,
  shape: readonly number[],
  dtype: Activation,
): NamedExample[] {
  const make = new Arguments(`${kind} ${shape}`, FIVE.images, dtype);
  const [alpha, beta] = PARAMETERS[kind] ?? [0, 0];
  const x = make.pictures(shape), dy = make.pictures(shape), result = make.result(shape);
  x.data!.forEach((value, i) => x.data![i] = 4 * value);
  // Far into both tails.
  if (shape.length === 1) x.data!.set([100, -100, 0, -1000, 20, -20, 1e-6]);
  const common = {
    ...FIVE,
    ints: { kind: ACTIVATION_KINDS.indexOf(kind) },
    floats: { alpha: Math.fround(alpha), beta: Math.fround(beta) },
  };
  const name = `${kind}, [${shape}], ${dtype}`;
  return [
    {
      ...common,
      name: `activation ${name}`,
      op: "activation",
      inputs: { x },
      outputs: { y: result },
    },
    {
      ...common,
      name: `activation_backward ${name}`,
      op: "activation_backward",
      inputs: { dy, x },
      outputs: { dx: result },
    },
  ];
}

function multiplyExamples(shape: readonly number[], dtype: Activation): NamedExample[] {
  const make = new Arguments(`multiply ${shape}`, FIVE.images, dtype);
  const channels = [shape[shape.length - 1]];
  const a = make.pictures(shape), b = make.pictures(shape), result = make.result(shape);
  const example = (op: OperationName, what: string, inputs: Named, outputs: Named) => ({
    ...FIVE,
    name: `${op}${what}, [${shape}], ${dtype}`,
    op,
    inputs,
    outputs,
  });
  return [
    example("multiply", "", { a, b }, { y: result }),
    example("multiply", " of channels", { a, b: make.pictures(channels) }, { y: result }),
    example("multiply_backward", "", { dy: a, x: b }, { dx: make.result(channels) }),
  ];
}

function concatExample(channels: readonly number[], dtype: Activation): NamedExample {
  const make = new Arguments(`concat ${channels}`, FIVE.images, dtype);
  const names = ["a", "b", "c", "d", "e", "f", "g", "h"];
  const together = channels.reduce((sum, each) => sum + each, 0);
  return {
    ...FIVE,
    name: `concat of ${channels}, ${dtype}`,
    op: "concat",
    inputs: Object.fromEntries(channels.map((each, i) => [names[i], make.pictures([3, 2, each])])),
    outputs: { y: make.result([3, 2, together]) },
  };
}

/** Instructions over the channels of each pixel. */
function pixelExamples(shape: readonly number[], dtype: Activation): NamedExample[] {
  const make = new Arguments(`pixels ${shape}`, FIVE.images, dtype);
  const one = [shape[shape.length - 1]];
  const x = make.pictures(shape), dy = make.pictures(shape), result = make.result(shape);
  const slope = make.numbers(one), scale = make.numbers(one), offset = make.numbers(one);
  const sums = () => make.result(one, "f32", 0);
  // Shares, as softmax leaves them.
  const y = make.pictures(shape);
  y.data!.forEach((value, i) => y.data![i] = Math.abs(value) / 8);
  const epsilon = { epsilon: 1e-5 };
  const response = {
    ints: { size: 4 },
    floats: { alpha: 0.5, beta: 0.75, bias: 2 },
  };
  const example = (
    op: OperationName,
    inputs: Named,
    outputs: Named,
    more: Partial<NamedExample> = {},
  ) => ({ ...FIVE, name: `${op}, [${shape}], ${dtype}`, op, inputs, outputs, ...more });
  return [
    example("prelu", { x, slope }, { y: result }),
    example("prelu_backward", { dy, x, slope }, { dx: result }),
    example("prelu_backward_slope", { dy, x }, { dslope: sums() }),
    example("layer_norm", { x, scale, offset }, { y: result }, { floats: epsilon }),
    example("layer_norm_backward", { dy, x, scale }, { dx: result }, { floats: epsilon }),
    example("layer_norm_backward_parameters", { dy, x }, { dscale: sums(), doffset: sums() }, {
      floats: epsilon,
    }),
    example("local_response_norm", { x }, { y: result }, response),
    example("local_response_norm_backward", { dy, x }, { dx: result }, response),
    example("softmax", { x }, { y: result }),
    example("softmax_backward", { dy, y }, { dx: result }),
  ];
}

function groupNormExamples(
  shape: readonly number[],
  groups: number,
  dtype: Activation,
): NamedExample[] {
  const make = new Arguments(`groups ${shape}`, FIVE.images, dtype);
  const one = [shape[shape.length - 1]];
  const x = make.pictures(shape), dy = make.pictures(shape), result = make.result(shape);
  const scale = make.numbers(one), offset = make.numbers(one);
  const sums = () => make.result(one, "f32", 0);
  const example = (op: OperationName, inputs: Named, outputs: Named) => ({
    ...FIVE,
    name: `${op} of ${groups}, [${shape}], ${dtype}`,
    op,
    inputs,
    outputs,
    ints: { groups },
    floats: { epsilon: 1e-5 },
  });
  return [
    example("group_norm", { x, scale, offset }, { y: result }),
    example("group_norm_backward", { dy, x, scale }, { dx: result }),
    example("group_norm_backward_parameters", { dy, x }, { dscale: sums(), doffset: sums() }),
  ];
}

const GROUPS: readonly (readonly [readonly number[], number])[] = [
  [[3, 4, 13], 13],
  [[7, 5, 12], 3],
  [[2, 2, 64], 1],
  [[38], 2],
];

function resizeExamples(taps: number, dtype: Activation): NamedExample[] {
  const make = new Arguments(`resize ${taps}`, FIVE.images, dtype);
  const ints = { in_height: 4, in_width: 3, channels: 13, out_height: 7, out_width: 5, taps };
  const picture = [4, 3, 13], resized = [7, 5, 13];
  const tables = {
    rows: make.integers([7, taps], 4, 0),
    row_shares: make.numbers([7, taps]),
    columns: make.integers([5, taps], 3, 0),
    column_shares: make.numbers([5, taps]),
  };
  return [
    {
      ...FIVE,
      name: `resize by ${taps} taps, ${dtype}`,
      op: "resize",
      ints,
      inputs: { x: make.pictures(picture), ...tables },
      outputs: { y: make.result(resized) },
    },
    {
      ...FIVE,
      name: `resize_backward by ${taps} taps, ${dtype}`,
      op: "resize_backward",
      ints,
      inputs: { dy: make.pictures(resized), ...tables },
      outputs: { dx: make.result(picture) },
    },
  ];
}

function gradientExample(): NamedExample {
  const make = new Arguments("gradients", 0, "f32"), shape = [7, 3, 3, 3];
  return {
    images: 0,
    slice: 0,
    name: "add_gradients",
    op: "add_gradients",
    inputs: { gradient: make.numbers(shape), more: make.numbers(shape) },
    outputs: { sum: make.result(shape, "f32", 0) },
  };
}

/** Every example of these families with activations of one type. */
export function allOperatorExamples(dtype: Activation): NamedExample[] {
  const shapes = [[3, 4, 13], [5, 7, 1], [2, 2, 64], [37]];
  return [
    ...ACTIVATION_KINDS.flatMap((kind) =>
      [[3, 4, 13], [37]].flatMap((shape) => activationExamples(kind, shape, dtype))
    ),
    ...shapes.flatMap((shape) => multiplyExamples(shape, dtype)),
    ...shapes.flatMap((shape) => pixelExamples(shape, dtype)),
    ...GROUPS.flatMap(([shape, groups]) => groupNormExamples(shape, groups, dtype)),
    ...[1, 2].flatMap((taps) => resizeExamples(taps, dtype)),
    ...(dtype === "f32" ? [gradientExample()] : []),
    ...[[3, 1], [16, 5, 64], [1, 2, 3, 4, 5, 6, 7, 8]].map((each) => concatExample(each, dtype)),
  ];
}
