/** Programs of one instruction, for holding a backend to the oracle. */

import type { Engine } from "../../../src/native/addon.ts";
import { type Device, packedBytes, Session, type TypedArray } from "../../../src/native/session.ts";
import { type OperationName, OPERATIONS } from "../../../src/program/operations.ts";
import { type Precision, precisionInt } from "../../../src/program/precision.ts";
import {
  type Arena,
  bytesOf,
  type DType,
  elementsOf,
  type Instruction,
  type Program,
  type Value,
} from "../../../src/program/program.ts";
import { type Operand, runInstruction } from "../../oracle/instructions.ts";

/** One argument; outputs without data start as NaN, so that what is not written shows. */
export interface Argument {
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** 0 where the value does not belong to images. */
  readonly images: number;
  readonly data?: Float64Array;
}

/** An instruction with its arguments by name; absent ones are left out. */
export interface Example {
  readonly op: OperationName;
  readonly ints?: Readonly<Record<string, number>>;
  readonly floats?: Readonly<Record<string, number>>;
  readonly inputs: Readonly<Record<string, Argument>>;
  readonly outputs: Readonly<Record<string, Argument>>;
  readonly images: number;
  readonly slice: number;
  /** Of packed weights; that of the first argument by default. */
  readonly precision?: Precision;
}

const bare = (name: string) => name.replace("?", "");

/** Outputs that are the input of the same name, updated in place. */
const IN_PLACE: Partial<Record<OperationName, readonly string[]>> = {
  batch_norm_statistics: ["running_mean", "running_variance"],
  sgd: ["weight", "velocity"],
  adamw: ["weight", "first", "second"],
  average: ["average"],
};

/** Where this lies among the operation's direction: 1 for the transpose. */
const directionOf = (op: OperationName) => op === "convolution_backward_data" ? 1 : 0;

class Builder {
  readonly values: Value[] = [];
  readonly arenas: Record<Arena, number> = {
    weights: 0,
    state: 0,
    feeds: 0,
    activations: 0,
    slice: 0,
  };

  add(name: string, arena: Arena, { shape, dtype, images }: Argument, slice: number): number {
    const value = { name, dtype, shape, images, arena, offset: this.arenas[arena] };
    this.arenas[arena] += Math.ceil(bytesOf(value, slice) / 64) * 64;
    return this.values.push(value) - 1;
  }
}

/** The attributes of one operation in order, from their names. */
function ordered(names: readonly string[], of: Readonly<Record<string, number>> = {}): number[] {
  return names.map((name) => {
    if (of[name] === undefined) throw new Error(`no ${name}`);
    return of[name];
  });
}

/** A program whose entry "run" is the example; packed weights are packed first. */
export function programOf(example: Example, engine: Engine, device?: Device): Program {
  const { op, images, slice } = example;
  const operation = OPERATIONS[op];
  const builder = new Builder();
  const instructions: Instruction[] = [];
  const input = (name: string): number => {
    const argument = example.inputs[bare(name)];
    if (argument === undefined) return -1;
    const arena = argument.images > 0 ? "feeds" : "weights";
    const index = builder.add(bare(name), arena, argument, slice);
    return name === "packed" ? pack(index) : index;
  };
  const pack = (weight: number): number => {
    const first = example.inputs[bare(operation.inputs[0])].dtype === "bf16" ? "bf16" : "f32";
    const ints = ordered(OPERATIONS.pack_convolution.ints, {
      ...example.ints,
      direction: directionOf(op),
      precision: precisionInt(example.precision ?? first),
      slice,
    });
    const form: Argument = {
      shape: [packedBytes(ints, engine, device)],
      dtype: "bytes",
      images: 0,
    };
    const packed = builder.add("packed form", "state", form, slice);
    const [inputs, outputs] = [[weight], [packed]];
    instructions.push({ op: "pack_convolution", inputs, outputs, ints, floats: [], layer: "test" });
    return packed;
  };
  const inputs = operation.inputs.map(input);
  const outputs = operation.outputs.map((name) => {
    const argument = example.outputs[bare(name)];
    if (argument === undefined) return -1;
    const shared = IN_PLACE[op]?.includes(bare(name));
    if (shared) return inputs[operation.inputs.indexOf(name as never)];
    const arena = argument.images > 0 ? "activations" : "state";
    return builder.add(`out ${bare(name)}`, arena, argument, slice);
  });
  instructions.push({
    op,
    inputs,
    outputs,
    ints: ordered(operation.ints, example.ints),
    floats: ordered(operation.floats, example.floats),
    layer: "test",
  });
  return {
    values: builder.values,
    arenas: builder.arenas,
    instructions,
    entries: [{ name: "run", first: 0, count: instructions.length, images, slice }],
  };
}

export function typed(dtype: DType, data: Float64Array): TypedArray {
  if (dtype === "i32") return Int32Array.from(data);
  return dtype === "f64" ? data : Float32Array.from(data);
}

const countOf = ({ shape, images }: Argument) => elementsOf({ shape }) * Math.max(1, images);

/** What is written before a program of `programOf` runs, by value, and which values it leaves. */
export function exchangeOf(
  example: Example,
  { values, instructions }: Program,
): { feeds: Record<string, TypedArray>; fetch: string[] } {
  const { outputs } = instructions[instructions.length - 1];
  const fetch = outputs.filter((index) => index >= 0).map((index) => values[index].name);
  const feeds = Object.entries(example.inputs)
    .map(([name, { dtype, data }]) => [name, typed(dtype, data!)] as const);
  const fresh = Object.entries(example.outputs)
    .map(([name, argument]) => [`out ${name}`, argument] as const)
    .filter(([name]) => fetch.includes(name))
    .map(([name, argument]) => {
      const data = argument.data ?? new Float64Array(countOf(argument)).fill(NaN);
      return [name, typed(argument.dtype, data)] as const;
    });
  return { feeds: Object.fromEntries([...feeds, ...fresh]), fetch };
}

/** Runs an example natively; outputs by name. */
export async function runNative(
  example: Example,
  options: { readonly threads: number; readonly engine: Engine; readonly device?: Device },
): Promise<Record<string, TypedArray>> {
  const program = programOf(example, options.engine, options.device);
  const session = Session.open(program, options);
  try {
    const results = await session.run("run", exchangeOf(example, program));
    return Object.fromEntries(
      Object.entries(results).map(([name, data]) => [name.replace("out ", ""), data]),
    );
  } finally {
    session.dispose();
  }
}

/** Runs an example in the oracle; outputs by name. */
export function runOracle(example: Example): Record<string, Float64Array> {
  const operation = OPERATIONS[example.op];
  const operand = (argument: Argument | undefined): Operand | undefined =>
    argument && {
      shape: argument.shape,
      images: argument.images,
      data: argument.data?.slice() ?? new Float64Array(countOf(argument)),
    };
  const inputs = operation.inputs.map((name) => operand(example.inputs[bare(name)]));
  const outputs = operation.outputs.map((name) => operand(example.outputs[bare(name)]));
  runInstruction(
    example.op,
    ordered(operation.ints, example.ints),
    ordered(operation.floats, example.floats),
    inputs,
    outputs,
  );
  const named = operation.outputs.map((name, i) => [bare(name), outputs[i]?.data] as const);
  return Object.fromEntries(named.filter(([, data]) => data !== undefined)) as Record<
    string,
    Float64Array
  >;
}
