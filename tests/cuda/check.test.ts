/** cuda/check.sh, which machines with a GPU run, on recordings for the emulator. */

import { execFile } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { ROOT } from "../../src/native/setup/sources.ts";
import { buildFirst, EMULATED_TIMEOUT, emulator, missing } from "../support/cuda/emulator.ts";
import { SERVED, workOf } from "../support/cuda/examples.ts";
import { exampleRecording, networkRecording } from "../support/cuda/recordings.ts";
import { replay } from "../support/cuda/replay.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-check-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function check(...options: string[]): Promise<{ status: number; output: string }> {
  return new Promise((resolve) => {
    execFile("bash", [join(ROOT, "cuda", "check.sh"), ...options], (error, stdout, stderr) => {
      resolve({ status: error === null ? 0 : Number(error.code), output: stdout + stderr });
    });
  });
}

/** The cheapest recorded example of an operation, in a type. */
function cheapest(op: string, dtype: string): Uint8Array {
  const [example] = SERVED
    .filter((each) => each.op === op && Object.values(each.inputs)[0].dtype === dtype)
    .sort((a, b) => workOf(a) - workOf(b));
  return exampleRecording(example, emulator());
}

const skipped = missing ?? (replay === undefined ? "no build left a replay" : undefined);

describe.skipIf(skipped !== undefined)(
  `check.sh with the emulator${skipped ? ` (skipped: ${skipped})` : ""}`,
  () => {
    buildFirst(emulator);

    /** Writes recordings into a folder of their own, runs the script on them, and reads its result. */
    async function checked(name: string, recordings: Readonly<Record<string, Uint8Array>>) {
      const [from, out] = [join(folder, name), join(folder, `${name}-out`)];
      mkdirSync(from);
      for (const [file, bytes] of Object.entries(recordings)) {
        writeFileSync(join(from, `${file}.recording`), bytes);
      }
      const built = ["--replay", replay!, "--plugin", emulator().plugin];
      const { status, output } = await check(from, out, "--emulator", ...built);
      const result = JSON.parse(readFileSync(join(out, "result.json"), "utf8"));
      return { status, output, result, log: readFileSync(join(out, "replay.log"), "utf8") };
    }

    it("passes operations and the steps of a network, and writes what it found", async () => {
      const network = { name: "resnet8", images: 2, side: 8, rate: 0.01 };
      const { status, output, result, log } = await checked("good", {
        "0000-convolution": cheapest("convolution", "bf16"),
        "0001-gradient": cheapest("convolution_backward_weights", "f32"),
        "resnet8": await networkRecording(network, "f32", emulator()),
      });
      expect(status, output + log).toBe(0);
      expect(result).toMatchObject({ emulator: true, recordings: 3, missed: 0, passed: true });
      expect(result.stages).toEqual([
        { stage: "replay", status: 0, seconds: expect.any(Number) },
        { stage: "memcheck", skipped: "it looks at GPUs" },
        { stage: "racecheck", skipped: "it looks at GPUs" },
      ]);
      // Losses and logits before, of three steps, and after.
      expect(log.match(/ of 0\.001$/gm)).toHaveLength(10);
    }, EMULATED_TIMEOUT);

    it("fails where an expectation is wrong, a recording damaged, or none there", async () => {
      const good = cheapest("convolution", "f32");
      const wrong = good.slice();
      // In the exponent of the last number that is expected.
      wrong[wrong.length - 1] ^= 0x40;
      const planted = await checked("wrong", { good, wrong });
      expect(planted.status, planted.output).toBe(1);
      expect(planted.result).toMatchObject({ recordings: 2, missed: 1, passed: false });
      expect(planted.result.stages[0]).toMatchObject({ stage: "replay", status: 1 });
      expect(planted.log).toMatch(/\nwrong\.recording\n[^]* MISSED\n/);

      const damaged = await checked("damaged", { damaged: good.subarray(0, good.length / 2) });
      expect(damaged.status).toBe(1);
      expect(damaged.result).toMatchObject({ recordings: 1, missed: 1, passed: false });

      const none = await checked("none", {});
      expect(none.status).toBe(1);
      expect(none.result).toMatchObject({ recordings: 0, passed: false });
    }, EMULATED_TIMEOUT);
  },
);

describe("check.sh refuses", () => {
  it("arguments that make no sense, before it writes", async () => {
    const out = join(folder, "never");
    for (
      const [options, reason] of [
        [[], "Expected: cuda/check.sh RECORDINGS OUT, where RECORDINGS is a folder.\n"],
        [[join(folder, "absent"), out], /^Expected: cuda\/check\.sh RECORDINGS OUT/],
        [[folder, out, "--gpu"], /^Expected --emulator, .* got --gpu\.\n$/],
        [[folder, out, "--replay"], "Expected a file, found none: \n"],
        [[folder, out, "--plugin", "absent.so"], "Expected a file, found none: absent.so\n"],
      ] as const
    ) {
      const { status, output } = await check(...options);
      expect(status, output).toBe(2);
      expect(output).toMatch(reason);
    }
    expect(existsSync(out)).toBe(false);
  });
});
