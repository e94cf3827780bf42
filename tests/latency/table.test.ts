import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type LatencyTable, parseTable, readTable, writeTable } from "../../src/latency/table.ts";

const table: LatencyTable = {
  format: 1,
  machine: "2 x imagined avx2",
  runtime: "onnxruntime",
  version: "1.2.3",
  dtype: "f32",
  batch: 1,
  threads: 2,
  model: "small",
  layers: [{ name: "conv", geometry: "3x3", inWidth: 3, outWidth: 8, curve: 0 }],
  curves: [{
    inWidths: [3],
    outWidths: [2, 4, 8],
    byIn: [0.8],
    byOut: [0.2, 0.4, 0.8],
    inner: { inWidths: [], outWidths: [], milliseconds: [] },
  }],
  overhead: 0.01,
  scale: 1.1,
  whole: [{ share: 1, layers: 0.8, measured: 0.9 }],
};

describe("a table of layer times", () => {
  it("is read as it was written", async () => {
    const folder = mkdtempSync(join(tmpdir(), "secateur-table-"));
    try {
      const path = join(folder, "table.json");
      await writeTable(path, table);
      expect(await readTable(path)).toEqual(table);
      await expect(readTable(join(folder, "other.json"))).rejects
        .toMatchObject({ code: "file-missing" });
      writeFileSync(path, Uint8Array.of(0xff, 0x00, 0x7b));
      await expect(readTable(path)).rejects.toMatchObject({ code: "format-corrupt" });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  const [curve] = table.curves;
  const damages: Readonly<Record<string, [object | string, RegExp]>> = {
    "is cut off": [JSON.stringify(table).slice(0, 200), /as JSON, but/],
    "is something else": [[1, 2], /the whole is wrong/],
    "is of another format": [{ ...table, format: 2 }, /but format is wrong/],
    "is of an unknown runtime": [{ ...table, runtime: "tvm" }, /runtime is wrong/],
    "lacks a field": [{ ...table, machine: undefined }, /machine is wrong/],
    "has no layers": [{ ...table, layers: [] }, /layers is wrong/],
    "misses a curve": [{ ...table, curves: [] }, /a curve for every layer/],
    "has a time below nothing": [
      { ...table, curves: [{ ...curve, byIn: [-1] }] },
      /curves\[0\]\.byIn\[0\] is wrong/,
    ],
    "has a time that is no number": [
      JSON.stringify(table).replace("0.4", "1e999"),
      /curves\[0\]\.byOut\[1\] is wrong/,
    ],
    "has fewer times than widths": [
      { ...table, curves: [{ ...curve, byOut: [0.2, 0.8] }] },
      /curves\[0\] is wrong \(.*as many times as there are widths/,
    ],
    "has widths out of order": [
      { ...table, curves: [{ ...curve, outWidths: [4, 2, 8] }] },
      /curves\[0\]\.outWidths is wrong \(.*ascending/,
    ],
    "has a lattice beyond the lines": [
      { ...table, curves: [{ ...curve, inner: { ...curve.inner, inWidths: [5] } }] },
      /curves\[0\] is wrong/,
    ],
    "has a scale of nothing": [{ ...table, scale: 0 }, /scale is wrong/],
  };

  for (const [what, [content, sentence]] of Object.entries(damages)) {
    it(`is refused where it ${what}`, () => {
      const text = typeof content === "string" ? content : JSON.stringify(content);
      let thrown: unknown;
      try {
        parseTable(text, "t.json");
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toMatchObject({ code: "format-corrupt" });
      const { message } = thrown as Error;
      expect(message).toMatch(sentence);
      expect(message).toMatch(/^t\.json: expected a table of layer times .*secateur profile/);
    });
  }
});
