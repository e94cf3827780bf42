/** Every instruction on every engine and instruction set, against the f64 oracle. */

import process from "node:process";
import { afterEach, describe, expect, it } from "vitest";
import type { Engine } from "../../src/native/addon.ts";
import { cpuFeatures, packedBytes, type TypedArray } from "../../src/native/session.ts";
import { OPERATIONS } from "../../src/program/operations.ts";
import { PRECISIONS } from "../../src/program/precision.ts";
import { allConvolutionExamples } from "../support/examples/convolution.ts";
import type { NamedExample } from "../support/examples/arguments.ts";
import { type Argument, runNative, runOracle } from "../support/examples/one_instruction.ts";
import { allOtherExamples } from "../support/examples/other.ts";
import { allOperatorExamples } from "../support/examples/operators.ts";
import { allPictureExamples } from "../support/examples/pictures.ts";
import { allSinglePictureExamples } from "../support/examples/single_picture.ts";

const EXAMPLES: readonly NamedExample[] = [
  ...PRECISIONS.flatMap((precision) => allConvolutionExamples(precision)),
  ...(["f32", "bf16"] as const).flatMap((dtype) => [
    ...allPictureExamples(dtype),
    ...allOtherExamples(dtype),
    ...allOperatorExamples(dtype),
    ...allSinglePictureExamples(dtype),
  ]),
];

/** Largest error, as a share of the largest expected magnitude. */
const TOLERANCE = { f32: 1e-5, bf16: 5e-3, f64: 1e-12, i32: 0, bytes: 0 };

/** Only convolutions differ between engines. */
const byEngine = ({ op }: NamedExample) => op.startsWith("convolution");

function hasOnednn(): boolean {
  const ints = [4, 4, 16, 4, 4, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0, 4];
  try {
    return packedBytes(ints, "onednn") > 0;
  } catch {
    return false;
  }
}

interface Setting {
  readonly engine: Engine;
  /** SECATEUR_ISA. */
  readonly isa: string;
}

function settings(): Setting[] {
  const features = cpuFeatures();
  const isas = [
    "portable",
    ...(features.avx2 ? ["avx2"] : []),
    ...(features.avx512 ? ["avx512"] : []),
    // The highest setting, where it adds anything.
    ...(features.avx512Bf16 ? ["amx"] : []),
  ];
  const portable = isas.map((isa) => ({ engine: "portable", isa }) as const);
  return [
    ...portable,
    ...(hasOnednn() ? [{ engine: "onednn", isa: "amx" } as const] : []),
    // Winograd's method where it is faster: in f32-fast, and without AMX in bf16.
    ...(features.avx512 ? [{ engine: "automatic", isa: "avx512" } as const] : []),
  ];
}

function difference(found: TypedArray, expected: Float64Array): number {
  if (found.length !== expected.length) return Infinity;
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-30);
  let error = 0;
  found.forEach((value, i) => {
    const distance = Math.abs(value - expected[i]);
    error = Number.isNaN(distance) ? Infinity : Math.max(error, distance);
  });
  return error / largest;
}

/** The oracle's answers, which all settings share. */
const answers = new Map<NamedExample, Record<string, Float64Array>>();

/** What is wrong with a result, or nothing. */
function problems(example: NamedExample, results: Record<string, TypedArray>): string[] {
  const expected = answers.get(example) ?? runOracle(example);
  answers.set(example, expected);
  return Object.entries(example.outputs).flatMap(([name, { dtype }]: [string, Argument]) => {
    const error = difference(results[name], expected[name]);
    return error <= TOLERANCE[dtype] ? [] : [`${example.name}: ${name} is off by ${error}`];
  });
}

function sameBytes(a: TypedArray, b: TypedArray): boolean {
  const bytes = (of: TypedArray) => new Uint8Array(of.buffer, of.byteOffset, of.byteLength);
  const [left, right] = [bytes(a), bytes(b)];
  return left.length === right.length && left.every((byte, i) => byte === right[i]);
}

async function run(
  example: NamedExample,
  { engine, isa }: Setting,
  threads: number,
): Promise<Record<string, TypedArray>> {
  process.env.SECATEUR_ISA = isa;
  return await runNative(example, { threads, engine });
}

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

async function refusalOf(example: NamedExample): Promise<{ code?: string } | undefined> {
  try {
    await runNative(example, { threads: 1, engine: "portable" });
    return undefined;
  } catch (thrown) {
    return thrown as { code?: string };
  }
}

/** Numbers that no attribute can have; wide dilations would need vast pictures around pictures. */
function senseless(op: string, name: string): number[] {
  const dilates = op.startsWith("convolution") && name.startsWith("dilation");
  return [2 ** 40, -(2 ** 40), ...(dilates ? [2 ** 19] : [])];
}

const inherited = process.env.SECATEUR_ISA;

describe("kernels", () => {
  afterEach(() => {
    if (inherited === undefined) delete process.env.SECATEUR_ISA;
    else process.env.SECATEUR_ISA = inherited;
  });

  it("the table has every operation but pack_convolution, which all convolutions use", () => {
    const tested = new Set<string>(EXAMPLES.map(({ op }) => op));
    const untested = Object.keys(OPERATIONS).filter((op) => !tested.has(op));
    expect(untested).toEqual(["pack_convolution"]);
  });

  it("weights are packed for the directions and precisions that there are", () => {
    const geometry = [8, 8, 16, 8, 8, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1];
    for (const engine of ["automatic", "portable"] as const) {
      for (const [direction, precision] of [[0, 3], [0, -1], [2, 0]]) {
        expect(() => packedBytes([...geometry, direction, precision, 4], engine))
          .toThrow(expect.objectContaining({ code: "program-invalid" }));
      }
    }
  });

  it("numbers that no instruction can hold are refused, not wrapped", () => {
    const bytesFor = (height: number) =>
      packedBytes([height, 8, 16, 8, 8, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0, 4]);
    for (const height of [2 ** 40, 2 ** 40 + 8, -(2 ** 40)]) {
      expect(() => bytesFor(height)).toThrow(expect.objectContaining({ code: "program-invalid" }));
    }
    for (const height of [8.5, NaN, Infinity]) {
      expect(() => bytesFor(height)).toThrow("Expected a whole number.");
    }
  });

  it("SECATEUR_ISA limits the instruction sets", () => {
    const seen = settings().map(({ isa }) => {
      process.env.SECATEUR_ISA = isa;
      return cpuFeatures();
    });
    expect(seen[0]).toEqual({ avx2: false, avx512: false, avx512Bf16: false, amxBf16: false });
    settings().forEach(({ isa }, i) => {
      expect(seen[i].avx2).toBe(isa !== "portable" && seen[seen.length - 1].avx2);
      if (isa === "avx2") expect(seen[i].avx512).toBe(false);
    });
  });

  it("bf16 rounds ties to even and keeps infinities and NaN; relu keeps NaN", async () => {
    const pairs: [number, number][] = [
      [1 + 2 ** -8, 1],
      [1 + 3 * 2 ** -8, 1 + 2 ** -6],
      [1 + 2 ** -8 + 2 ** -20, 1 + 2 ** -7],
      [3.4e38, Infinity],
      [-Infinity, -Infinity],
      [NaN, NaN],
      [-0, -0],
    ];
    // Once in whole vectors, once in what is left over.
    const values = [...Array(16).fill(pairs).flat(), ...pairs];
    const shape = [values.length], data = Float64Array.from(values, ([from]) => from);
    const x: Argument = { shape, dtype: "f32", images: 1, data };
    const batch = { images: 1, slice: 1 };
    for (const setting of settings()) {
      const y: Argument = { shape, dtype: "bf16", images: 1 };
      const cast: NamedExample = { ...batch, name: "", op: "cast", inputs: { x }, outputs: { y } };
      expect([...(await run(cast, setting, 1)).y]).toEqual(values.map(([, to]) => to));
      const relu: NamedExample = {
        ...batch,
        name: "",
        op: "relu",
        inputs: { x },
        outputs: { y: { ...y, dtype: "f32" } },
      };
      const rectified = [...(await run(relu, setting, 1)).y].map(Math.fround);
      const expected = values.map(([from]) =>
        Number.isNaN(from) || from > 0 ? Math.fround(from) : 0
      );
      expect(rectified.map((value) => value + 0)).toEqual(expected);
    }
  });

  it("an argument of the wrong shape is refused by name", async () => {
    const accepted: string[] = [];
    for (const example of firstOfEachOperation()) {
      for (const [name, kind] of argumentsOf(example)) {
        // Nothing says what shape a sum over all elements is of.
        if (example.op === "sum_squares" && name === "gradient") continue;
        const wrong = withArgument(example, name, kind, grown);
        const refusal = await refusalOf(wrong);
        if (refusal?.code !== "program-invalid") accepted.push(`${example.name}: ${kind} ${name}`);
      }
    }
    expect(accepted, accepted.join("\n")).toEqual([]);
  });

  it("senseless numbers are refused before they cost memory or time", async () => {
    const accepted: string[] = [];
    for (const example of firstOfEachOperation()) {
      for (const name of Object.keys(example.ints ?? {})) {
        for (const number of senseless(example.op, name)) {
          const refusal = await refusalOf({
            ...example,
            ints: { ...example.ints, [name]: number },
          });
          if (refusal?.code !== "program-invalid") {
            accepted.push(`${example.op}: ${name} ${number}`);
          }
        }
      }
    }
    expect(accepted, accepted.join("\n")).toEqual([]);
  });

  for (const setting of settings()) {
    const examples = setting.engine === "portable" ? EXAMPLES : EXAMPLES.filter(byEngine);
    const families = new Set(examples.map(({ op }) => op));
    for (const op of families) {
      it(`${op} agrees with the oracle: ${setting.engine}, ${setting.isa}`, async () => {
        const found: string[] = [];
        for (const example of examples.filter((each) => each.op === op)) {
          found.push(...problems(example, await run(example, setting, 2)));
        }
        expect(found, found.join("\n")).toEqual([]);
      });
    }

    it(`one and two threads give the same bytes: ${setting.engine}, ${setting.isa}`, async () => {
      const different: string[] = [];
      for (const example of examples) {
        const one = await run(example, setting, 1), two = await run(example, setting, 2);
        for (const name of Object.keys(one)) {
          if (!sameBytes(one[name], two[name])) different.push(`${example.name}: ${name}`);
        }
      }
      expect(different, different.join("\n")).toEqual([]);
    });
  }
});
