/** Operator sets before 9, and operators that later ones dropped, as onnxruntime runs them. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseOnnx } from "../../src/formats/onnx/read/read.ts";
import { RandomStream } from "../../src/random.ts";
import { dataFolder } from "../support/data.ts";
import { randomImages } from "../support/interpreted.ts";
import { built, type BuiltNode, floats, integers, node } from "../support/onnx/build.ts";
import { largestDifference, runOnnx, runOracle } from "../support/onnx/files.ts";

const tensors = [
  floats("w", [4, 3, 3, 3]),
  floats("g", [4], [0.5, 1, 1.5, 2]),
  floats("b", [4]),
  floats("m", [4]),
  floats("v", [4], [1, 0.5, 2, 1]),
  floats("fc", [4, 5]),
  floats("zeros", [5], [0, 0, 0, 0, 0]),
  floats("scales", [4], [1, 1, 2, 3]),
  integers("flat", [0, -1]),
];

const scaled = (scales: readonly number[]) => ({
  name: "scales",
  type: 6,
  floats: [...scales],
});

const upsample = (mode: string, scales: readonly number[]): BuiltNode => {
  const made = node("Upsample", ["x"], "y", { mode });
  return { ...made, attribute: [...made.attribute!, scaled(scales)] };
};

const CASES: readonly (readonly [string, number, readonly BuiltNode[]])[] = [
  ["Upsample by an attribute, nearest", 7, [upsample("nearest", [1, 1, 2, 3])]],
  ["Upsample by an attribute, linear", 7, [upsample("linear", [1, 1, 2, 2])]],
  ["Upsample by an input", 9, [node("Upsample", ["x", "scales"], "y", { mode: "nearest" })]],
  ["Resize of set 10", 10, [node("Resize", ["x", "scales"], "y", { mode: "nearest" })]],
  ["Resize of set 10, linear", 10, [node("Resize", ["x", "scales"], "y", { mode: "linear" })]],
  ...[7, 8].map((opset) =>
    [
      `a classifier of set ${opset}`,
      opset,
      [
        node("Conv", ["x", "w"], "c", { pads: [1, 1, 1, 1] }),
        node("BatchNormalization", ["c", "g", "b", "m", "v"], "n"),
        node("Clip", ["n"], "k", { min: { float: -0.5 }, max: { float: 1.5 } }),
        node("MaxPool", ["k"], "p", { kernel_shape: [2, 2], strides: [2, 2] }),
        node("Dropout", ["p"], "d"),
        node("GlobalAveragePool", ["d"], "a"),
        node("Reshape", ["a", "flat"], "f"),
        node("Gemm", ["f", "fc", "zeros"], "y"),
      ],
    ] as const
  ),
];

describe("older operator sets", () => {
  it.each(CASES)("%s", async (what, opset, nodes) => {
    const bytes = built({ nodes, tensors, opset });
    const { graph } = parseOnnx(bytes, "x.onnx");
    const images = randomImages(graph, 2, new RandomStream(6, what));
    const expected = await runOnnx(bytes, images, graph.input.shape);
    expect(largestDifference(runOracle(graph, images), expected)).toBeLessThan(1e-5);
  });

  it("refuse scales of the batch or of channels, and statistics of every pixel", () => {
    const parse = (nodes: readonly BuiltNode[]) => () =>
      parseOnnx(built({ nodes, tensors, opset: 7 }), "x.onnx");
    expect(parse([upsample("nearest", [1, 2, 2, 2])])).toThrow(/has the scales \[1, 2, 2, 2\]/);
    expect(parse([upsample("cubic", [1, 1, 2, 2])])).toThrow(/has the mode "cubic"/);
    const norm = node("BatchNormalization", ["c", "g", "b", "m", "v"], "y", { spatial: 0 });
    expect(parse([node("Conv", ["x", "w"], "c"), norm])).toThrow(/every pixel/);
  });

  it.skipIf(dataFolder() === undefined)("of files that people ship", () => {
    const path = join(dataFolder()!, "models", "SqueezeNet_fp16.onnx");
    const { graph, notes } = parseOnnx(readFileSync(path), path);
    expect(notes.opset).toBe(7);
    expect(graph.nodes.filter(({ op }) => op === "convolution").length).toBe(26);
  });
});
