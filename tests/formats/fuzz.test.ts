// Damaged files of every kind: read, or refused in one sentence with a code, soon, in little memory.
// `deno task fuzz` runs millions.

import { describe, expect, it } from "vitest";
import { fuzz } from "../support/fuzz/fuzz.ts";
import { READERS } from "../support/fuzz/readers.ts";

const COUNT = 5000;
/** Outcomes that the inputs of every reader reach, so that they test more than its first lines. */
const REACHED: Readonly<Record<string, readonly string[]>> = {
  onnx: ["accepted", "format-corrupt", "graph-invalid", "graph-unsupported"],
  safetensors: ["accepted", "format-corrupt", "format-unknown"],
  zip: ["accepted", "format-corrupt", "format-unknown", "format-unsafe"],
  pickle: ["accepted", "format-corrupt", "format-unknown", "format-unsafe"],
};

describe("fuzzed files", () => {
  for (const reader of READERS) {
    it(`${COUNT} of ${reader.name} are read or refused`, () => {
      const { outcomes, findings } = fuzz(reader, { seed: 20260101, count: COUNT });
      expect(findings).toEqual([]);
      for (const outcome of REACHED[reader.name]) {
        expect(outcomes.get(outcome) ?? 0, outcome).toBeGreaterThan(50);
      }
    });
  }

  it("are told apart from what they should be", () => {
    const broken = {
      name: "broken",
      seeds: [Uint8Array.of(1, 2, 3)],
      change: (bytes: Uint8Array) => bytes,
      read: () => {
        throw new TypeError("no sentence");
      },
    };
    const { findings } = fuzz(broken, { seed: 1, count: 2 });
    expect(findings.map(({ index }) => index)).toEqual([0, 1]);
    expect(findings[0].what).toContain("TypeError");
  });
});
