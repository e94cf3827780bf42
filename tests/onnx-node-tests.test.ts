/** The ONNX project's own tests of single operators. */

import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { dataFolder } from "./support/data.ts";
import { type NodeTestResult, runNodeTests } from "./support/onnx_node_tests.ts";

const data = dataFolder();

/** Kinds of reasons for which tests are skipped, the first that fits. */
const REASONS: readonly (readonly [string, RegExp])[] = [
  ["an operator that is not imported", /^the operator /],
  [
    "axes that are not [batch, channels, height, width] or [batch, features]",
    /but it has \d+ axes/,
  ],
  ["more outputs than one", /with one output, but it has/],
  ["a softmax alone, which is left out", /does not depend on any layer/],
  ["resizing that is neither nearest nor linear", /^Resize, which/],
  ["an input that is no tensor", /^tensor "" of shape/],
];

function reasonFor({ skipped }: NodeTestResult): string {
  const known = REASONS.find(([, pattern]) => pattern.test(skipped!));
  return known === undefined ? skipped! : known[0];
}

describe.skipIf(data === undefined)("ONNX node tests", () => {
  it("pass wherever the operator is imported or folded; the others have known reasons", async () => {
    const results = await runNodeTests(join(data!, "onnx-node-tests"));
    expect(results.length).toBe(275);
    expect(results.filter(({ wrong }) => wrong.length > 0)).toEqual([]);
    const ran = (way: "folded" | "layer") => results.filter((each) => each.ran.includes(way));
    expect({ folded: ran("folded").length, layer: ran("layer").length }).toEqual({
      folded: 67,
      layer: 73,
    });
    const reasons = new Map<string, number>();
    for (const result of results.filter((each) => each.ran.length === 0)) {
      const reason = reasonFor(result);
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    }
    expect(Object.fromEntries(reasons)).toEqual({
      "an operator that is not imported": 68,
      "axes that are not [batch, channels, height, width] or [batch, features]": 25,
      "more outputs than one": 16,
      "resizing that is neither nearest nor linear": 16,
      "a softmax alone, which is left out": 3,
      "an input that is no tensor": 1,
      "casts to element type 10": 1,
      "Pad, which pads with 1.2000000476837158 instead of zeros": 2,
      "Gemm, which transposes its input": 2,
      "Gemm, which adds a constant of the shape [3, 4]": 1,
      "MatMul, which has weights of the shape [1, 2, 4, 3]": 1,
      "MatMul, which has weights of the shape [3]": 1,
    });
  });
});
