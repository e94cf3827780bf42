/** Every instruction on every engine and instruction set, against the f64 oracle. */

import process from "node:process";
import { afterEach, describe, expect, it } from "vitest";
import type { Engine } from "../../src/native/addon.ts";
import { cpuFeatures, packedBytes, type TypedArray } from "../../src/native/session.ts";
import { OPERATIONS } from "../../src/program/operations.ts";
import type { NamedExample } from "../support/examples/arguments.ts";
import { EXAMPLES, problems, sameBytes } from "../support/examples/all.ts";
import { type Argument, runNative } from "../support/examples/one_instruction.ts";
import { acceptedNumbers, acceptedShapes } from "../support/examples/refusals.ts";

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
    // Dot products of bf16, whether or not they are worth it here.
    ...(hasOnednn() && features.avx512Bf16
      ? [{ engine: "onednn", isa: "avx512-bf16" } as const]
      : []),
    // Winograd's method where it is faster: in f32-fast, and without AMX in bf16.
    ...(features.avx512 ? [{ engine: "automatic", isa: "avx512" } as const] : []),
    // Dot products of pairs, whichever are worth it here.
    ...(features.avx512Vnni ? [{ engine: "automatic", isa: "avx512-vnni" } as const] : []),
    ...(features.avx512Bf16 ? [{ engine: "automatic", isa: "avx512-bf16" } as const] : []),
  ];
}

/** Of sums of int16 products that are kept in f32; rounding them to bf16 would cost up to 4e-3. */
const INT16_ERROR = 1e-3;

function errorAllowed({ op, inputs }: NamedExample, { isa }: Setting): number {
  const bf16 = op.startsWith("convolution") && Object.values(inputs)[0].dtype === "bf16";
  return bf16 && isa === "avx512-vnni" ? INT16_ERROR : 0;
}

async function run(
  example: NamedExample,
  { engine, isa }: Setting,
  threads: number,
): Promise<Record<string, TypedArray>> {
  process.env.SECATEUR_ISA = isa;
  return await runNative(example, { threads, engine });
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
    expect(new Set(Object.values(seen[0]))).toEqual(new Set([false]));
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

  const portable = (example: NamedExample) =>
    runNative(example, { threads: 1, engine: "portable" });

  it("an argument of the wrong shape is refused by name", async () => {
    const accepted = await acceptedShapes(portable);
    expect(accepted, accepted.join("\n")).toEqual([]);
  });

  it("senseless numbers are refused before they cost memory or time", async () => {
    const accepted = await acceptedNumbers(portable, { pads: true });
    expect(accepted, accepted.join("\n")).toEqual([]);
  });

  for (const setting of settings()) {
    const examples = setting.engine === "portable" ? EXAMPLES : EXAMPLES.filter(byEngine);
    const families = new Set(examples.map(({ op }) => op));
    for (const op of families) {
      it(`${op} agrees with the oracle: ${setting.engine}, ${setting.isa}`, async () => {
        const found: string[] = [];
        for (const example of examples.filter((each) => each.op === op)) {
          const allowed = errorAllowed(example, setting);
          found.push(...problems(example, await run(example, setting, 2), allowed));
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
