/** What an executor must refuse: arguments of the wrong shape and attributes without sense. */

import { EXAMPLES } from "./all.ts";
import type { NamedExample } from "./arguments.ts";
import type { Argument } from "./one_instruction.ts";

/** One example of every operation, and every argument it can have. */
function firstOfEachOperation(): NamedExample[] {
  const first = new Map<string, NamedExample>();
  const size = (example: NamedExample) => argumentsOf(example).length;
  for (const example of EXAMPLES) {
    const known = first.get(example.op);
    if (!known || size(known) < size(example)) first.set(example.op, example);
  }
  return [...first.values()];
}

type Kind = "inputs" | "outputs";

/** Arguments with a place of their own: outputs in place are tested as inputs. */
function argumentsOf(example: NamedExample): (readonly [string, Kind])[] {
  const outputs = Object.keys(example.outputs).filter((name) => !(name in example.inputs));
  return [
    ...Object.keys(example.inputs).map((name) => [name, "inputs"] as const),
    ...outputs.map((name) => [name, "outputs"] as const),
  ];
}

function withArgument(
  example: NamedExample,
  name: string,
  kind: Kind,
  change: (argument: Argument) => Argument,
): NamedExample {
  return { ...example, [kind]: { ...example[kind], [name]: change(example[kind][name]) } };
}

/** One more in the last dimension. */
function grown(argument: Argument): Argument {
  const shape = argument.shape.with(-1, argument.shape[argument.shape.length - 1] + 1);
  const count = shape.reduce((product, extent) => product * extent, Math.max(1, argument.images));
  return { ...argument, shape, data: new Float64Array(count) };
}

type Run = (example: NamedExample) => Promise<unknown>;

async function refused(run: Run, example: NamedExample): Promise<boolean> {
  try {
    await run(example);
    return false;
  } catch (thrown) {
    return (thrown as { code?: string }).code === "program-invalid";
  }
}

/** Numbers that no attribute can have. */
function senseless(op: string, name: string, pads: boolean): number[] {
  const dilates = op.startsWith("convolution") && name.startsWith("dilation");
  return [2 ** 40, -(2 ** 40), ...(pads && dilates ? [2 ** 19] : [])];
}

/** Arguments whose shape may be wrong without an error. */
export async function acceptedShapes(run: Run): Promise<string[]> {
  const accepted: string[] = [];
  for (const example of firstOfEachOperation()) {
    for (const [name, kind] of argumentsOf(example)) {
      // Nothing says what shape a sum over all elements is of.
      if (example.op === "sum_squares" && name === "gradient") continue;
      const wrong = withArgument(example, name, kind, grown);
      if (!await refused(run, wrong)) accepted.push(`${example.name}: ${kind} ${name}`);
    }
  }
  return accepted;
}

/**
 * Integer attributes that may be senseless without an error. Wide dilations are, where an executor
 * pads pictures with zeros: it would need vast ones.
 */
export async function acceptedNumbers(
  run: Run,
  { pads }: { readonly pads: boolean },
): Promise<string[]> {
  const accepted: string[] = [];
  for (const example of firstOfEachOperation()) {
    for (const name of Object.keys(example.ints ?? {})) {
      for (const number of senseless(example.op, name, pads)) {
        const wrong = { ...example, ints: { ...example.ints, [name]: number } };
        if (!await refused(run, wrong)) accepted.push(`${example.op}: ${name} ${number}`);
      }
    }
  }
  return accepted;
}
