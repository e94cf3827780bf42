// Recordings run without JavaScript and are compared with what they expect.

import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { encodeRecording, type RecordedRun } from "../../src/native/recording.ts";
import { Session, type TypedArray } from "../../src/native/session.ts";
import { ROOT } from "../../src/native/setup/sources.ts";
import { batchNormProgram } from "../support/programs.ts";

/** The newest replay that a build left, undefined where only the addon was brought along. */
const replay = ["onednn", "portable"]
  .map((variant) => join(ROOT, "build", variant, "replay"))
  .filter((path) => existsSync(path))
  .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0];

const images = 9;
const program = batchNormProgram(images, 2);
const feeds: Record<string, TypedArray> = {
  x: Float32Array.from({ length: images * 12 }, (_, i) => Math.sin(i * i)),
  momentum: Float32Array.of(0.1),
  scale: Float32Array.of(1, 2, 3),
};

describe.skipIf(replay === undefined)("replay (skipped where no build left one)", () => {
  const folder = mkdtempSync(join(tmpdir(), "secateur-replay-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  /** Exit status, and standard output and error together. */
  function run(
    recording: Uint8Array,
    ...options: string[]
  ): Promise<{ status: number; output: string }> {
    const file = join(folder, "recording");
    writeFileSync(file, recording);
    return new Promise((resolve) => {
      execFile(replay, [file, ...options], (error, stdout, stderr) => {
        resolve({ status: error === null ? 0 : Number(error.code), output: stdout + stderr });
      });
    });
  }

  async function recorded(shift: number): Promise<Uint8Array> {
    using session = Session.open(program, { threads: 1 });
    const found = await session.run("main", { feeds, fetch: ["y", "mean"] });
    found.y[3] += shift;
    const expectations = Object.entries(found)
      .map(([value, data]) => ({ value, data, tolerance: 1e-5 }));
    const runs: RecordedRun[] = [{ feeds, expectations: [] }, {
      entry: "main",
      feeds: {},
      expectations,
    }];
    return encodeRecording(program, runs);
  }

  it("meets what the session computed, on any number of threads", async () => {
    for (const threads of ["1", "3"]) {
      const { status, output } = await run(await recorded(0), threads, "portable", "2");
      expect(status, output).toBe(0);
      expect(output.match(/^main: .* ms$/gm)).toHaveLength(2);
      expect(output.match(/^ {2}y: \S+ of 1e-05$/gm)).toHaveLength(2);
    }
  });

  it("tells what it misses", async () => {
    const { status, output } = await run(await recorded(0.01));
    expect(status).toBe(1);
    expect(output).toMatch(/ {2}y: 0\.00\d+ of 1e-05 MISSED/);
    expect(output).not.toMatch(/mean: .* MISSED/);
  });

  it("refuses damaged recordings and impossible options in one sentence", async () => {
    const recording = await recorded(0);
    for (const length of [0, 7, 40, 400, recording.length - 1]) {
      const { status, output } = await run(recording.subarray(0, length));
      expect(status, `${length} bytes`).toBe(2);
      expect(output).toMatch(/^replay: The (recording|program) ends.*\n$/);
    }
    expect(await run(recording, "none")).toEqual({
      status: 2,
      output: "replay: Expected a number from 1, found none.\n",
    });
  });
});
