/** The ONNX project's own tests of single operators, and what the README says of them. */

import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { dataFolder } from "../support/data.ts";
import { runNodeTests } from "../support/onnx/node_tests.ts";
import { operatorSection, readmeSection } from "../support/onnx/operator_table.ts";

const data = dataFolder();

describe.skipIf(data === undefined)("ONNX node tests", () => {
  it("pass wherever the operator is imported or folded; the README has the others by reason", async () => {
    const results = await runNodeTests(join(data!, "onnx-node-tests"));
    expect(results.length).toBe(275);
    expect(results.filter(({ wrong }) => wrong.length > 0)).toEqual([]);
    const ran = (way: "folded" | "layer") => results.filter((each) => each.ran.includes(way));
    expect({ folded: ran("folded").length, layer: ran("layer").length }).toEqual({
      folded: 98,
      layer: 82,
    });
    // `deno task docs` writes it.
    expect(readmeSection().section).toBe(operatorSection(results));
  });
});
