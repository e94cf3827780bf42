// Recordings run without JavaScript and are compared with what they expect.

import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { encodeRecording, type RecordedRun } from "../../src/native/recording.ts";
import { Session, type TypedArray } from "../../src/native/session.ts";
import { batchNormProgram } from "../support/programs.ts";
import { replay } from "../support/cuda/replay.ts";

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

  interface Replayed {
    readonly status: number;
    /** Standard output and error together. */
    readonly output: string;
  }

  function replayed(path: string, ...options: string[]): Promise<Replayed> {
    return new Promise((resolve) => {
      execFile(replay!, [path, ...options], (error, stdout, stderr) => {
        resolve({ status: error === null ? 0 : Number(error.code), output: stdout + stderr });
      });
    });
  }

  function run(recording: Uint8Array, ...options: string[]): Promise<Replayed> {
    const file = join(folder, "recording");
    writeFileSync(file, recording);
    return replayed(file, ...options);
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

  it("runs the recordings of a folder in order and counts those missed and refused", async () => {
    const several = join(folder, "several");
    mkdirSync(several);
    const write = (name: string, bytes: Uint8Array) => writeFileSync(join(several, name), bytes);
    write("notes.txt", new Uint8Array(3));
    const absent = await replayed(several);
    expect(absent.status).toBe(2);
    expect(absent.output).toMatch(/^replay: Expected files \*\.recording in .*, found none\.\n$/);
    const good = await recorded(0);
    write("b.recording", good);
    write("a.recording", good);
    const met = await replayed(several);
    expect(met.status, met.output).toBe(0);
    expect(met.output).toMatch(
      /^a\.recording\n[^]*\nb\.recording\n[^]*\n2 recordings, 0 missed\n$/,
    );
    write("c.recording", await recorded(0.01));
    write("d.recording", good.subarray(0, 40));
    const missed = await replayed(several);
    expect(missed.status).toBe(1);
    expect(missed.output).toMatch(/\nd\.recording\n {2}REFUSED: The .* ends/);
    expect(missed.output).toMatch(/\n4 recordings, 2 missed\n$/);
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
