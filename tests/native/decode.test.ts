// Native code refuses programs that are damaged or lie, each with a coded sentence.

import { describe, expect, it } from "vitest";
import { SecateurError } from "../../src/errors.ts";
import { loadAddon } from "../../src/native/binding.ts";
import { encodeProgram } from "../../src/native/encode.ts";
import { Session } from "../../src/native/session.ts";
import type { Entry, Instruction, Program, Value } from "../../src/program/program.ts";
import { batchNormProgram, programOf, reluProgram } from "../support/programs.ts";

/** The error that a call throws. */
function thrown(call: () => unknown): Error & { code?: string } {
  try {
    call();
  } catch (error) {
    return error as Error & { code?: string };
  }
  throw new Error("nothing was thrown");
}

function openBytes(bytes: Uint8Array): void {
  const { Session: NativeSession } = loadAddon();
  new NativeSession(bytes, 1, "portable").dispose();
}

type Change = Partial<{
  values: Record<number, Partial<Value>>;
  instructions: Record<number, Partial<Instruction>>;
  entry: Partial<Entry>;
  arenas: Partial<Program["arenas"]>;
}>;

function changed(program: Program, change: Change): Program {
  const values = program.values.map((value, i) => ({ ...value, ...change.values?.[i] }));
  const instructions = program.instructions
    .map((instruction, i) => ({ ...instruction, ...change.instructions?.[i] }));
  const entries = program.entries.map((entry) => ({ ...entry, ...change.entry }));
  return { values, instructions, entries, arenas: { ...program.arenas, ...change.arenas } };
}

/** Numbers in 0 .. 2^32 - 1 from a seed (Marsaglia's xorshift, 2003). */
function* xorshift(seed: number): Generator<number, never> {
  for (let x = seed;;) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    yield x >>> 0;
  }
}

const relu = reluProgram(6, 4);

describe("decoding", () => {
  const bytes = encodeProgram(relu);

  it("accepts what the encoder writes", () => {
    expect(() => openBytes(bytes)).not.toThrow();
  });

  it("refuses every truncation", () => {
    for (let length = 0; length < bytes.length; length++) {
      expect(thrown(() => openBytes(bytes.subarray(0, length))).code, `${length} bytes`)
        .toBe("program-invalid");
    }
  });

  it("refuses bytes after the end, and other files", () => {
    const longer = new Uint8Array(bytes.length + 1);
    longer.set(bytes);
    expect(thrown(() => openBytes(longer)).message).toMatch(/after its end/);
    expect(thrown(() => openBytes(new Uint8Array(4096).fill(0x50))).message)
      .toMatch(/Expected a serialised program/);
  });

  it("refuses or loads, but survives, ten thousand damaged programs", () => {
    const numbers = xorshift(20);
    const interesting = [0, 1, 0x7f, 0x80, 0xff];
    let refused = 0;
    const originals = [relu, batchNormProgram(6, 4)].map(encodeProgram);
    for (let round = 0; round < 10_000; round++) {
      const damaged = originals[round % 2].slice();
      for (let left = 1 + numbers.next().value % 3; left > 0; left--) {
        const at = numbers.next().value % damaged.length;
        const choice = numbers.next().value;
        damaged[at] = choice % 2 === 0 ? interesting[(choice >>> 1) % 5] : choice >>> 8;
      }
      try {
        openBytes(damaged);
      } catch (error) {
        refused++;
        expect(["program-invalid", "addon-failed"]).toContain((error as { code?: string }).code);
      }
    }
    expect(refused).toBeGreaterThan(5000);
  });

  it("refuses numbers that its fields cannot hold", () => {
    for (const images of [1.5, NaN, 2 ** 60]) {
      expect(thrown(() => encodeProgram(changed(relu, { values: { 0: { images } } }))))
        .toBeInstanceOf(SecateurError);
    }
  });
});

describe("verification", () => {
  const cases: [string, Program, RegExp][] = [
    [
      "an offset off the grid",
      changed(relu, { values: { 0: { offset: 4 } } }),
      /multiple of 64.*'x'.*4/,
    ],
    ["a negative offset", changed(relu, { values: { 0: { offset: -64 } } }), /'x'.*-64/],
    [
      "a value beyond its arena",
      changed(relu, { values: { 2: { offset: 64 } } }),
      /'y' inside its arena of 128/,
    ],
    [
      "an arena too small",
      changed(relu, { arenas: { activations: 64 } }),
      /'y' inside its arena of 64/,
    ],
    ["a negative arena", changed(relu, { arenas: { weights: -1 } }), /arenas of 0 to 2\^46/],
    [
      "an arena beyond all machines",
      changed(relu, { arenas: { weights: 2 ** 50 } }),
      /arenas of 0 to 2\^46/,
    ],
    [
      "an empty dimension",
      changed(relu, { values: { 0: { shape: [0] } } }),
      /positive dimensions.*'x'/,
    ],
    [
      "a size that overflows",
      changed(relu, { values: { 0: { shape: [2 ** 40, 2 ** 40] } } }),
      /sensible size.*'x'/,
    ],
    [
      "too many dimensions",
      changed(relu, { values: { 0: { shape: new Array(9).fill(1) } } }),
      /at most 8 dimensions/,
    ],
    ["negative images", changed(relu, { values: { 0: { images: -6 } } }), /images.*'x'/],
    [
      "two values of one name",
      changed(relu, { values: { 0: { name: "y" } } }),
      /Two values are named 'y'/,
    ],
    [
      "a statistic in the slice arena",
      changed(relu, { values: { 1: { images: 0 } } }),
      /slice arena.*'between'/,
    ],
    [
      "a slice beyond the slice arena",
      changed(relu, { arenas: { slice: 32 } }),
      /between.*layer0.*does not fit/,
    ],
    [
      "a missing input",
      changed(relu, { instructions: { 0: { inputs: [] } } }),
      /1 inputs.*layer0.*found 0/,
    ],
    [
      "an absent input that is needed",
      changed(relu, { instructions: { 0: { inputs: [-1] } } }),
      /layer0.*-1/,
    ],
    [
      "an unknown value",
      changed(relu, { instructions: { 0: { inputs: [3] } } }),
      /3 values.*layer0.*found 3/,
    ],
    [
      "an attribute too many",
      changed(relu, { instructions: { 0: { ints: [1] } } }),
      /0 ints.*layer0.*found 1/,
    ],
    [
      "a range beyond the instructions",
      changed(relu, { entry: { count: 3 } }),
      /'main' within 2.*3 from 0/,
    ],
    ["empty slices", changed(relu, { entry: { slice: 0 } }), /at least one image.*'main'/],
    [
      "an entry without images",
      changed(relu, { entry: { images: 0, slice: 0 } }),
      /'main' has no images.*layer0/,
    ],
    [
      "other images than the entry's",
      changed(relu, { entry: { images: 3 } }),
      /layer0.*3 images.*found 6/,
    ],
    ["mixed types", changed(relu, { values: { 0: { dtype: "bf16" } } }), /between.*bf16.*f32/],
    [
      "a type no activation has",
      changed(relu, { values: { 0: { dtype: "i32" } } }),
      /'x'.*layer0.*i32/,
    ],
    [
      "a slice value nothing wrote",
      changed(relu, { instructions: { 0: { inputs: [1], outputs: [2] } } }),
      /between.*layer0.*does not hold/,
    ],
    [
      "an output over an input",
      changed(relu, {
        values: { 2: { arena: "feeds", offset: 64 } },
        instructions: { 0: { outputs: [2] } },
        arenas: { feeds: 256 },
      }),
      /y.*layer0.*shares bytes with x/,
    ],
    [
      "an infinite attribute",
      changed(batchNormProgram(6, 4), { instructions: { 0: { floats: [Infinity] } } }),
      /finite.*layer0/,
    ],
    [
      "an accumulator of the wrong type",
      changed(batchNormProgram(6, 4), { values: { 6: { dtype: "f64" } } }),
      /'mean'.*f64/,
    ],
  ];

  for (const [what, program, sentence] of cases) {
    it(`refuses ${what}`, () => {
      const error = thrown(() => Session.open(program, { threads: 1 }).dispose());
      expect(error).toBeInstanceOf(SecateurError);
      expect(error.code).toBe("program-invalid");
      expect(error.message).toMatch(sentence);
    });
  }

  it("refuses a slice value read in another segment than wrote it", () => {
    const images = 6;
    const program = batchNormProgram(images, 4);
    const values = program.values.map((value) =>
      value.name === "x" ? { ...value, arena: "slice" as const, offset: 0 } : value
    );
    const source: Value = { ...program.values[0], name: "source" };
    const copy: Instruction = {
      op: "relu",
      inputs: [values.length],
      outputs: [0],
      ints: [],
      floats: [],
      layer: "source",
    };
    const entry = { ...program.entries[0], count: 3 };
    const moved: Program = {
      values: [...values, source],
      instructions: [copy, ...program.instructions],
      entries: [entry],
      arenas: { ...program.arenas, slice: 4 * 48 },
    };
    // The statistics of x are in its segment, but normalising x must wait for all slices.
    expect(thrown(() => Session.open(moved)).message).toMatch(/Input x 'x' of layer 'layer1'/);
  });

  it("allows in place what the operation allows", () => {
    const inPlace = programOf(
      [
        { name: "a", arena: "feeds", shape: [4], images: 6 },
        { name: "b", arena: "feeds", shape: [4], images: 6 },
      ],
      [{ op: "add", inputs: ["a", "b"], outputs: ["a"], ints: [0] }],
      6,
      4,
    );
    expect(() => Session.open(inPlace, { threads: 1 }).dispose()).not.toThrow();
    const shifted = changed(inPlace, {
      values: { 1: { offset: 64 } },
      instructions: { 0: { outputs: [1] } },
    });
    expect(thrown(() => Session.open(shifted)).message).toMatch(/shares bytes with a 'a'/);
  });

  it("refuses more memory than the machine has, and impossible threads", () => {
    const huge = changed(relu, { arenas: { weights: 2 ** 45 } });
    expect(thrown(() => Session.open(huge, { threads: 1 }))).toMatchObject({
      code: "addon-failed",
      message: expect.stringMatching(/MiB of memory.*smaller batch/),
    });
    for (const threads of [0, -1, 1.5, 5000]) {
      expect(thrown(() => Session.open(relu, { threads })).code).toBe("option-invalid");
    }
  });
});
