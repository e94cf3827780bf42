/** The boundary between the addon and an executor in a library of its own. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { doctor } from "../../src/commands/doctor.ts";
import { loadAddon } from "../../src/native/binding.ts";
import { findGpu } from "../../src/native/cuda.ts";
import { addonPath } from "../../src/native/setup/sources.ts";
import { Session } from "../../src/native/session.ts";
import { buildFirst, emulator, missing } from "../support/cuda/emulator.ts";
import { batchNormProgram, programOf, reluProgram } from "../support/programs.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-plugin-"));
afterAll(() => rmSync(folder, { recursive: true }));

const inherited = process.env.SECATEUR_CUDA_PLUGIN;
afterEach(() => {
  if (inherited === undefined) delete process.env.SECATEUR_CUDA_PLUGIN;
  else process.env.SECATEUR_CUDA_PLUGIN = inherited;
});

function reasonFor(plugin: string): string {
  process.env.SECATEUR_CUDA_PLUGIN = plugin;
  const found = findGpu(loadAddon());
  return "reason" in found ? found.reason : `none: ${found.description}`;
}

/** Losses of logits [3] for labels. */
function lossProgram(images: number) {
  return programOf(
    [
      { name: "logits", arena: "feeds", shape: [3], images },
      { name: "labels", arena: "feeds", shape: [1], images, dtype: "i32" },
      { name: "loss", arena: "activations", shape: [1], images },
    ],
    [{
      op: "softmax_cross_entropy",
      inputs: ["logits", "labels", undefined, undefined, undefined],
      outputs: ["loss", undefined],
      floats: [0, 0, 1, 1],
    }],
    images,
    images,
  );
}

describe("what is no plugin is refused with the reason", () => {
  it("where there is no file, no library, and another library", () => {
    expect(reasonFor(join(folder, "absent.so"))).toMatch(/was not built; `deno task build --cuda`/);
    const text = join(folder, "text.so");
    writeFileSync(text, "no library");
    expect(reasonFor(text)).toMatch(/^The plugin could not be opened \(.*text\.so/);
    // A library that is there on every machine that runs this.
    expect(reasonFor(addonPath())).toMatch(
      /^Expected a plugin of secateur in .*secateur\.node, found another library$/,
    );
  });

  it("and a session says the same", () => {
    const device = { plugin: addonPath(), index: 0 };
    expect(() => Session.open(reluProgram(2, 1), { device }))
      .toThrow(expect.objectContaining({ code: "addon-failed" }));
  });
});

describe.skipIf(missing !== undefined)(`the emulator${missing ? `: ${missing}` : ""}`, () => {
  buildFirst(emulator);

  it("is described by doctor, and has one device", () => {
    process.env.SECATEUR_CUDA_PLUGIN = emulator().plugin;
    const { findings } = doctor({ write: () => {} });
    const { found, note } = findings.find(({ name }) => name === "GPU")!;
    expect(found).toMatch(/^emulator: emulator on this CPU \(sm_90, 4096 MiB, .*\)$/);
    expect(note).toMatch(/the CPU is used/);
    expect(findGpu(loadAddon(), 1)).toEqual({ reason: "Expected one of 1 GPUs, found number 1" });
  });

  it("runs slices through the slice arena and keeps values between runs", async () => {
    for (const slice of [1, 3, 7]) {
      using session = Session.open(reluProgram(7, slice), { device: emulator() });
      expect(await session.read("y")).toEqual(new Float32Array(28));
      const x = Float32Array.from({ length: 28 }, (_, i) => i % 2 === 0 ? i : -i);
      const { y } = await session.run("main", { feeds: { x }, fetch: ["y"] });
      expect(y).toEqual(x.map((value) => Math.max(value, 0)));
    }
  });

  it("tells the memory it holds and the time of each instruction", async () => {
    using session = Session.open(batchNormProgram(9, 2), { device: emulator() });
    const { arenas, partials } = session.memory();
    expect(arenas).toBeGreaterThan(9 * 12 * 4);
    expect(partials).toBeGreaterThan(0);
    await session.run("main", { profile: true });
    const [statistics, apply] = session.profile();
    expect(statistics.nanoseconds).toBeGreaterThan(0);
    expect(apply.nanoseconds).toBeGreaterThan(0);
  });

  it("carries coded errors across: bad labels, by image and number", async () => {
    using session = Session.open(lossProgram(4), { device: emulator() });
    const feeds = { logits: new Float32Array(12), labels: Int32Array.of(0, 2, 3, -1) };
    await expect(session.run("main", { feeds })).rejects.toMatchObject({
      code: "data-mismatch",
      message: "Expected labels from 0 to 2, found 3 for image 2 of the batch.",
    });
    // The session lives on.
    const good = { ...feeds, labels: Int32Array.of(0, 1, 2, 0) };
    const { loss } = await session.run("main", { feeds: good, fetch: ["loss"] });
    for (const each of loss) expect(each).toBeCloseTo(Math.log(3), 5);
  });

  it("stops when it is cancelled", async () => {
    using session = Session.open(reluProgram(1 << 14, 1), { device: emulator() });
    const stop = new AbortController();
    const running = session.run("main", { signal: stop.signal });
    stop.abort();
    await expect(running).rejects.toMatchObject({ code: "cancelled" });
  });

  it("serves two sessions at once", async () => {
    const sessions = [1, 2].map(() => Session.open(reluProgram(64, 8), { device: emulator() }));
    const results = await Promise.all(sessions.map(async (session, i) => {
      const x = new Float32Array(256).fill(i + 1);
      const { y } = await session.run("main", { feeds: { x }, fetch: ["y"] });
      session.dispose();
      return y[17];
    }));
    expect(results).toEqual([1, 2]);
  });
});
