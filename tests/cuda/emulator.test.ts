/** The emulator itself: planted mistakes are found, and sound kernels are left alone. */

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { describe, expect, it } from "vitest";
import { buildFirst, buildTarget, missing, ORDERS } from "../support/cuda/emulator.ts";

function outputOf(
  folder: string,
  name: string,
  order: string,
): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(join(folder, "emulator_faults"), [name], {
    encoding: "utf8",
    env: { ...process.env, SECATEUR_EMULATOR_ORDER: order },
  });
  return { status, output: stdout + stderr };
}

/** What the kernel leaves in each order. */
function numbers(folder: string, name: string): number[][] {
  return ORDERS.map((order) => {
    const { status, output } = outputOf(folder, name, order);
    expect(status, output).toBe(0);
    return output.trimEnd().split("\n").map(Number);
  });
}

const THREADS = 48;
const count = Array.from({ length: THREADS }, (_, i) => i);

describe.skipIf(missing !== undefined)(`the emulator${missing ? `: ${missing}` : ""}`, () => {
  const folder = () => buildTarget("emulator_faults", "cuda");
  const sanitized = () =>
    buildTarget("emulator_faults", "cuda-address", "-DSECATEUR_SANITIZE=address");
  buildFirst(() => [folder(), sanitized()]);

  it("runs sound kernels alike in every order", () => {
    const reversed = count.toReversed();
    const shifted = count.map((i) => (i + 2) % THREADS);
    for (const found of numbers(folder(), "reverse")) expect(found).toEqual(reversed);
    for (const found of numbers(folder(), "shift twice")) expect(found).toEqual(shifted);
  });

  it("exchanges values between lanes as CUDA describes it", () => {
    const expected = count.map((i) => {
      const down = i % 16 === 15 ? i : i + 1;
      return 10000 * down + 100 * (i ^ 2) + (i < 32 ? 0 : 32) + 0.5;
    });
    for (const found of numbers(folder(), "lanes")) {
      found.forEach((value, i) => expect(value).toBeCloseTo(expected[i], 0));
    }
  });

  it("multiplies matrices as tensor cores do, from rows and from columns", () => {
    // left[row][k] = row + 2k, right[k][column] = column - k.
    const product = (row: number, column: number) =>
      Array.from({ length: 16 }, (_, k) => (row + 2 * k) * (column - k)).reduce((a, b) => a + b);
    const expected = Array.from({ length: 32 }, (_, lane) => {
      const row = Math.floor(lane / 4), column = lane % 4 * 2;
      return product(row, column) + 0.5 + 1000 * product(row + 8, column + 1);
    });
    for (const found of numbers(folder(), "multiply")) {
      found.slice(0, 32).forEach((value, i) => expect(value / expected[i]).toBeCloseTo(1, 6));
    }
  });

  it("lets copies arrive when they are waited for, and no sooner", () => {
    const expected = count.map((i) => i >= 8 && i < 12 ? 0 : i);
    for (const found of numbers(folder(), "copy")) expect(found).toEqual(expected);
    for (const found of numbers(folder(), "copy without waiting")) {
      expect(found.every(Number.isNaN)).toBe(true);
    }
  });

  it("shows a missing barrier, before or after shared memory is read", () => {
    for (const name of ["reverse without barrier", "shift twice without barrier"]) {
      const [forward, backward, random] = numbers(folder(), name);
      expect([backward, random]).not.toEqual([forward, forward]);
    }
    // What was not written yet is poison.
    expect(numbers(folder(), "reverse without barrier")[0].filter(Number.isNaN)).toHaveLength(
      THREADS / 2,
    );
  });

  it("shows a read beyond an allocation as poison", () => {
    for (const found of numbers(folder(), "read beyond")) {
      expect(found.slice(0, -1)).toEqual(count.slice(1));
      expect(found.at(-1)).toBeNaN();
    }
  });

  it.each([
    ["write beyond", "a kernel wrote beyond an allocation"],
    ["write beyond shared memory", "a kernel wrote beyond its shared memory"],
    ["leave a warp", "a warp waits for a lane that has ended or never was"],
    ["meet in different operations", "lanes of a warp met in different operations"],
    [
      "copy from between vectors",
      "a kernel used an address that is not aligned for the access",
    ],
    ["wait for ever", "threads wait for others that never come"],
  ])("ends a grid with a reason: %s", (name, reason) => {
    for (const order of ORDERS) {
      expect(outputOf(folder(), name, order)).toEqual({
        status: 1,
        output: `ended: ${reason}\n`,
      });
    }
  });

  it("lets AddressSanitizer see reads and writes beyond memory", () => {
    for (const found of numbers(sanitized(), "reverse")) expect(found).toEqual(count.toReversed());
    for (const name of ["read beyond", "write beyond", "write beyond shared memory"]) {
      const { status, output } = outputOf(sanitized(), name, "forward");
      expect(status, output).not.toBe(0);
      expect(output).toMatch(/AddressSanitizer: use-after-poison/);
    }
  });
});
