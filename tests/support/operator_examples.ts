/** Activations, products and concatenation. */

import { ACTIVATION_KINDS, type ActivationKind } from "../../src/graph/graph.ts";
import type { OperationName } from "../../src/program/operations.ts";
import { type Activation, Arguments, FIVE, type NamedExample } from "./example_arguments.ts";
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

/** Every example of these families with activations of one type. */
export function allOperatorExamples(dtype: Activation): NamedExample[] {
  const shapes = [[3, 4, 13], [5, 7, 1], [2, 2, 64], [37]];
  return [
    ...ACTIVATION_KINDS.flatMap((kind) =>
      [[3, 4, 13], [37]].flatMap((shape) => activationExamples(kind, shape, dtype))
    ),
    ...shapes.flatMap((shape) => multiplyExamples(shape, dtype)),
    ...[[3, 1], [16, 5, 64], [1, 2, 3, 4, 5, 6, 7, 8]].map((each) => concatExample(each, dtype)),
  ];
}
