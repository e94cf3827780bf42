// The native machine: order, slices, segments, threads, cancellation and ends of all kinds.

import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { SecateurError } from "../../src/errors.ts";
import { encodeProgram } from "../../src/native/encode.ts";
import { loadAddon } from "../../src/native/binding.ts";
import { choleskySolve, numericalRanks } from "../../src/native/linear_algebra.ts";
import { cpuFeatures, packedBytes, Session, type TypedArray } from "../../src/native/session.ts";
import { addonPath } from "../../src/native/setup/sources.ts";
import type { Program } from "../../src/program/program.ts";
import { batchNormProgram, programOf, reluProgram } from "../support/programs.ts";

const threads = 2;

/** n numbers that look random, around zero. */
function numbers(n: number, seed = 1): Float32Array<ArrayBuffer> {
  return Float32Array.from(
    { length: n },
    (_, i) => Math.fround(Math.sin((i + 1) * 12.9898 * seed) * 3),
  );
}

async function rejection(promise: Promise<unknown>): Promise<SecateurError> {
  try {
    await promise;
  } catch (error) {
    expect(error).toBeInstanceOf(SecateurError);
    return error as SecateurError;
  }
  throw new Error("nothing was rejected");
}

/** Long enough to be interrupted: many small slices. */
const LONG = reluProgram(1 << 20, 1);

describe("running", () => {
  it("feeds, runs slice by slice and fetches in one job", async () => {
    for (const slice of [1, 3, 7, 100]) {
      using session = Session.open(reluProgram(7, slice), { threads });
      const x = numbers(28);
      const { y } = await session.run("main", { feeds: { x }, fetch: ["y"] });
      expect(y).toEqual(x.map((value) => Math.max(value, 0)));
    }
  });

  it("starts from zeros and keeps values between runs", async () => {
    using session = Session.open(reluProgram(7, 3), { threads });
    expect(await session.read("y")).toEqual(new Float32Array(28));
    session.write("x", numbers(28).map(Math.abs));
    await session.run("main");
    expect(await session.read("y")).toEqual(numbers(28).map(Math.abs));
  });

  it("does writes, runs and reads in the order they were asked for", async () => {
    using session = Session.open(reluProgram(1000, 10), { threads });
    const results: Promise<TypedArray>[] = [];
    for (let round = 1; round <= 20; round++) {
      const x = new Float32Array(4000).fill(round);
      session.write("x", x);
      x.fill(-1); // the session has its own copy
      session.run("main");
      results.push(session.read("y"));
    }
    (await Promise.all(results)).forEach((y, i) => {
      expect(new Set(y as Float32Array)).toEqual(new Set([i + 1]));
    });
  });

  it("combines reductions before what needs them", async () => {
    const images = 5;
    using session = Session.open(batchNormProgram(images, 2), { threads });
    const x = numbers(images * 12);
    const { y, mean, running_mean, running_variance } = await session.run("main", {
      feeds: {
        x,
        momentum: Float32Array.of(0.1),
        scale: Float32Array.of(1, 2, 1),
        offset: Float32Array.of(0, 0, 5),
      },
      fetch: ["y", "mean", "running_mean", "running_variance"],
    });
    const count = images * 4;
    [0, 1, 2].forEach((channel) => {
      const own = [...x].filter((_, i) => i % 3 === channel);
      const average = own.reduce((sum, value) => sum + value, 0) / count;
      const spread = own.reduce((sum, value) => sum + (value - average) ** 2, 0);
      expect(mean[channel]).toBeCloseTo(average, 5);
      expect(running_mean[channel]).toBeCloseTo(0.1 * average, 5);
      expect(running_variance[channel]).toBeCloseTo(0.1 * spread / (count - 1), 5);
      const found = [...y].filter((_, i) => i % 3 === channel);
      const expected = own.map((value) =>
        (value - average) / Math.sqrt(spread / count + 1e-5) * [1, 2, 1][channel] +
        [0, 0, 5][channel]
      );
      found.forEach((value, i) => expect(value).toBeCloseTo(expected[i], 4));
    });
  });

  it("gives the same bytes for any number of threads", async () => {
    const x = numbers(301 * 12);
    const outputs = await Promise.all([1, 2, 3, 8].map(async (count) => {
      using session = Session.open(batchNormProgram(301, 4), { threads: count });
      const fetched = await session.run("main", {
        feeds: { x, scale: Float32Array.of(1, 2, 3), momentum: Float32Array.of(0.1) },
        fetch: ["y", "mean", "running_variance"],
      });
      return Object.values(fetched).map((array) => [...new Int32Array(array.buffer)]);
    }));
    for (const output of outputs) expect(output).toEqual(outputs[0]);
  });

  it("keeps whole instructions that depend on one another in order", async () => {
    const rounds = 12;
    const parts = ["w", "v", "u"];
    const program = programOf(
      [
        { name: "hyper", arena: "feeds", shape: [2] },
        ...parts.flatMap((part) => [
          { name: part, arena: "weights" as const, shape: [1000] },
          { name: `${part}.gradient`, arena: "state" as const, shape: [1000] },
          { name: `${part}.velocity`, arena: "state" as const, shape: [1000] },
        ]),
      ],
      Array.from({ length: rounds }, () => parts).flat().map((part) => ({
        op: "sgd",
        inputs: [part, `${part}.gradient`, `${part}.velocity`, "hyper", undefined],
        outputs: [part, `${part}.velocity`],
        floats: [0],
      })),
      0,
      0,
    );
    using session = Session.open(program, { threads: 3 });
    for (const part of parts) session.write(`${part}.gradient`, new Float32Array(1000).fill(1));
    const { w, u } = await session.run("main", {
      feeds: { hyper: Float32Array.of(0.5, 0) },
      fetch: ["w", "u"],
    });
    expect(new Set(w as Float32Array)).toEqual(new Set([-rounds / 2]));
    expect(u).toEqual(w);
  });

  it("repeats a prefix that has fewer images", async () => {
    const program = programOf(
      [
        { name: "x", arena: "feeds", shape: [2], images: 3 },
        { name: "gates", arena: "feeds", shape: [2, 2] },
        { name: "y", arena: "activations", shape: [2], images: 6 },
      ],
      [{ op: "gate", inputs: ["x", "gates"], outputs: ["y"] }],
      6,
      2,
    );
    using session = Session.open(program, { threads });
    const { y } = await session.run("main", {
      feeds: { x: Float32Array.of(1, 2, 3, 4, 5, 6), gates: Float32Array.of(1, 0, 0, 10) },
      fetch: ["y"],
    });
    expect([...y]).toEqual([1, 0, 3, 0, 5, 0, 0, 20, 0, 40, 0, 60]);
  });

  it("rounds to bf16 on the way in, to nearest even", async () => {
    const program = programOf(
      [
        { name: "x", arena: "feeds", shape: [6], images: 1, dtype: "bf16" },
        { name: "y", arena: "activations", shape: [6], images: 1 },
      ],
      [{ op: "cast", inputs: ["x"], outputs: ["y"] }],
      1,
      1,
    );
    using session = Session.open(program, { threads });
    const ulp = 2 ** -7;
    const x = Float32Array.of(1, 1 + ulp / 2, 1 + 1.5 * ulp, 1 + 0.51 * ulp, -Infinity, NaN);
    const { y } = await session.run("main", { feeds: { x }, fetch: ["y"] });
    expect([...y]).toEqual([1, 1, 1 + 2 * ulp, 1 + ulp, -Infinity, NaN]);
    expect(await session.read("x")).toEqual(y);
  });

  it("profiles when asked to", async () => {
    using session = Session.open(reluProgram(4096, 64), { threads });
    await session.run("main");
    expect(session.profile().map(({ nanoseconds }) => nanoseconds)).toEqual([0, 0]);
    await session.run("main", { profile: true });
    const [first, second] = session.profile();
    expect(first).toMatchObject({ op: "relu", layer: "layer0" });
    for (const { nanoseconds } of [first, second]) {
      expect(nanoseconds).toBeGreaterThan(100);
      expect(nanoseconds).toBeLessThan(1e9);
    }
  });

  it("leaves the event loop free and memory flat over ten thousand runs", async () => {
    using session = Session.open(reluProgram(64, 8), { threads });
    const x = numbers(256);
    let ticks = 0;
    const ticker = setInterval(() => ticks++, 1);
    const resident = () => process.memoryUsage().rss / 2 ** 20;
    for (let i = 0; i < 2000; i++) await session.run("main", { feeds: { x }, fetch: ["y"] });
    const before = resident();
    for (let i = 0; i < 10_000; i++) await session.run("main", { feeds: { x }, fetch: ["y"] });
    clearInterval(ticker);
    expect(ticks).toBeGreaterThan(10);
    expect(resident() - before).toBeLessThan(32);
  });
});

describe("refusals", () => {
  it("names unknown values and entries, and what there is", async () => {
    using session = Session.open(reluProgram(4, 4), { threads });
    expect(() => session.write("z", new Float32Array(1))).toThrow(/no value named "z".*x, between/);
    expect((await rejection(session.read("z"))).code).toBe("program-invalid");
    expect((await rejection(session.run("forward"))).message).toMatch(/no entry.*"forward".*main/);
    expect((await rejection(session.run("main", { fetch: ["q"] }))).message).toMatch(/"q"/);
  });

  it("refuses other types, other sizes and the slice arena", async () => {
    using session = Session.open(reluProgram(4, 4), { threads });
    expect(() => session.write("x", new Int32Array(16))).toThrow(/Float32Array.*"x".*Int32Array/);
    expect(() => session.write("x", new Float32Array(15))).toThrow(/16 elements.*4 x \[4\].*15/);
    const feeds = { x: new Float32Array(17) };
    expect((await rejection(session.run("main", { feeds }))).message).toMatch(/found 17/);
    expect((await rejection(session.read("between"))).message).toMatch(/slice arena/);
    expect(() => session.write("between", new Float32Array(16))).toThrow(/slice arena/);
  });

  it("refuses shared memory wherever it takes numbers", async () => {
    const shared = <T>(make: (buffer: SharedArrayBuffer) => T) => make(new SharedArrayBuffer(64));
    const floats = shared((buffer) => new Float32Array(buffer));
    const doubles = shared((buffer) => new Float64Array(buffer));
    using session = Session.open(reluProgram(4, 4), { threads });
    const refusal = { code: "program-invalid", message: /SharedArrayBuffer; give a copy/ };
    const refused = async (call: () => unknown) => {
      const error = await Promise.resolve().then(call).then(() => undefined, (thrown) => thrown);
      expect(error).toMatchObject({ code: refusal.code });
      expect(error.message).toMatch(refusal.message);
    };
    await refused(() => session.write("x", floats));
    await refused(() => session.run("main", { feeds: { x: floats } }));
    await refused(() => numericalRanks(floats, 1, 4, 4));
    await refused(() => choleskySolve(doubles, new Float64Array(2), 2, 1, 0));
    await refused(() => choleskySolve(new Float64Array(4), doubles, 2, 4, 0));
    // Whoever calls the addon itself gets a code as well.
    const ranks = () => loadAddon().ranks(floats, 1, 4, 4);
    expect(ranks).toThrow(expect.objectContaining({ code: "program-invalid" }));
    session.write("x", floats.slice());
  });

  it.each([[262_145, 0], [0, 262_145], [4096, 4096]])(
    "refuses a convolution whose padding is beyond sense: %s, %s",
    (top, left) => {
      const [height, width] = [5 + 2 * top, 5 + 2 * left];
      const ints = [5, 5, 3, height - 2, width - 2, 1, 3, 3, 1, 1, top, left, 1, 1, 1];
      expect(() => packedBytes([...ints, 0, 0, 1])).toThrow(/padding and dilation of a sensible/);
    },
  );

  it("refuses instructions no kernel fits, naming every layer", () => {
    const program = programOf(
      [
        { name: "x", arena: "feeds", shape: [4], images: 2 },
        { name: "y", arena: "activations", shape: [5], images: 2 },
      ],
      [{ op: "relu", inputs: ["x"], outputs: ["y"] }, {
        op: "relu_backward",
        inputs: ["x", "x"],
        outputs: ["y"],
      }],
      2,
      2,
    );
    expect(() => Session.open(program)).toThrow(/layer0.*layer1/s);
  });
});

describe("instruction sets", () => {
  const before = process.env.SECATEUR_ISA;
  afterEach(() => {
    if (before === undefined) delete process.env.SECATEUR_ISA;
    else process.env.SECATEUR_ISA = before;
  });

  it("are limited by SECATEUR_ISA", () => {
    process.env.SECATEUR_ISA = "portable";
    expect(cpuFeatures()).toEqual({
      avx2: false,
      avx512: false,
      avx512Bf16: false,
      avx512Vnni: false,
      bf16Dot: false,
      int16Dot: false,
      amxBf16: false,
    });
    process.env.SECATEUR_ISA = "avx2";
    expect(cpuFeatures()).toMatchObject({ avx512: false, avx512Bf16: false, amxBf16: false });
  });

  it("are refused by unknown names", () => {
    process.env.SECATEUR_ISA = "mmx";
    expect(() => cpuFeatures()).toThrow(
      /portable, avx2, avx512, avx512-vnni, avx512-bf16 or amx, found mmx/,
    );
    expect(() => Session.open(reluProgram(4, 4))).toThrow(SecateurError);
  });
});

describe("ending", () => {
  it("cancels before and during a run, and runs on afterwards", async () => {
    using session = Session.open(LONG, { threads });
    expect((await rejection(session.run("main", { signal: AbortSignal.abort() }))).code)
      .toBe("cancelled");
    const controller = new AbortController();
    const runs = [0, 1, 2].map(() => session.run("main", { signal: controller.signal }));
    setTimeout(() => controller.abort(), 2);
    for (const run of runs) expect((await rejection(run)).code).toBe("cancelled");
    const { y } = await session.run("main", { fetch: ["y"] });
    expect(y.length).toBe(4 << 20);
  });

  it("disposes once, cancelling what runs, and refuses use afterwards", async () => {
    const session = Session.open(LONG, { threads });
    const runs = [0, 1, 2].map(() => session.run("main"));
    session.dispose();
    session.dispose();
    for (const run of runs) expect((await rejection(run)).code).toBe("cancelled");
    session.dispose();
    expect((await rejection(session.run("main"))).message).toMatch(/disposed/);
    expect(() => session.write("x", new Float32Array(4 << 20))).toThrow(/disposed/);
    expect(() => session.memory()).toThrow(/disposed/);
  });

  it("keeps sessions apart", async () => {
    using a = Session.open(reluProgram(500, 5), { threads });
    using b = Session.open(reluProgram(500, 5), { threads });
    const inputs = [new Float32Array(2000).fill(1), new Float32Array(2000).fill(2)];
    const runs = Array.from(
      { length: 50 },
      (_, i) => [a, b][i % 2].run("main", { feeds: { x: inputs[i % 2] }, fetch: ["y"] }),
    );
    (await Promise.all(runs)).forEach(({ y }, i) => expect(y).toEqual(inputs[i % 2]));
  });

  it("tells what it holds", () => {
    using session = Session.open(batchNormProgram(5, 2), { threads });
    const { arenas, partials, scratch } = session.memory();
    expect(arenas).toBeGreaterThanOrEqual(2 * 5 * 12 * 4);
    expect(partials).toBeGreaterThanOrEqual(3 * 64); // three slices
    expect(scratch).toBeGreaterThanOrEqual(0);
  });
});

describe("processes and workers", () => {
  const folder = mkdtempSync(join(tmpdir(), "secateur-session-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  const script = fileURLToPath(new URL("../support/native_child.mjs", import.meta.url));

  /** Exit status and output of this runtime running a task of native_child.mjs, by way of `starter`. */
  function child(
    what: string,
    program: Program,
    starter: readonly string[] = [],
  ): Promise<{ status: number; output: string }> {
    const file = join(folder, `${what}.program`);
    writeFileSync(file, encodeProgram(program));
    const isDeno = "deno" in process.versions;
    const flags = isDeno ? ["run", "-A", "--v8-flags=--expose-gc"] : ["--expose-gc"];
    const addon = process.env.SECATEUR_ADDON ?? addonPath();
    return new Promise((resolve) => {
      const [first, ...rest] = [...starter, process.execPath, ...flags, script, addon, file, what];
      execFile(
        first,
        rest,
        { timeout: 60_000 },
        (error, stdout, stderr) =>
          resolve({
            status: error === null ? 0 : Number(error.code ?? -1),
            output: stdout + stderr,
          }),
      );
    });
  }

  it("survives exit and uncaught errors while native work runs", async () => {
    for (const [what, status] of [["exit", 3], ["throw", 1]] as const) {
      const ended = await child(what, LONG);
      expect(ended.status, `${what}: ${ended.output}`).toBe(status);
    }
  });

  it("does not keep a process that has nothing left to do", async () => {
    expect(await child("idle", LONG)).toEqual({ status: 0, output: "" });
  });

  it("serves several worker threads at once, and survives their termination", async () => {
    expect(await child("workers", reluProgram(100, 3)))
      .toEqual({ status: 0, output: "[1600,1600]\n" });
    expect(await child("terminate", LONG)).toEqual({ status: 0, output: "terminated\n" });
  });

  it("is freed with its object", async () => {
    const { status, output } = await child("collect", reluProgram(100, 3));
    expect(status, output).toBe(0);
    const { opened, left } = JSON.parse(output);
    expect(opened).toBe(80); // a thread of its own and one worker each
    expect(left).toBeLessThan(40);
  });

  it("tells the garbage collector of what a reproduction holds", async () => {
    const { status, output } = await child("pressure", reluProgram(1, 1));
    expect(status, output).toBe(0);
    expect(Number(output)).toBeGreaterThan(7);
    expect(Number(output)).toBeLessThan(512); // of 1024
  });

  // What another addon was built with, such as a sanitizer, may need more memory than this leaves.
  it.skipIf(process.env.SECATEUR_ADDON !== undefined)(
    "refuses arguments that memory has no room for",
    async () => {
      const limited = ["sh", "-c", `ulimit -d ${4 << 20}; exec "$@"`, "sh"];
      const refused = await child("refusal", reluProgram(1, 1), limited);
      expect(refused).toEqual({ status: 0, output: "addon-failed\n" });
    },
  );
});
