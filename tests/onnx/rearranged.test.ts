/** Reshapes and transposes that move elements: shuffles of channels, blocks of pixels. */

import { describe, expect, it } from "vitest";
import { parseOnnx } from "../../src/formats/onnx/read/read.ts";
import { expectSameAnswers } from "../support/onnx/answers.ts";
import { built, type BuiltNode, floats, integers, node } from "../support/onnx/build.ts";

/** Gives each step's nodes and vectors names of their own; the last one writes "y". */
function chain(steps: readonly (readonly [string, ...(readonly number[])[]])[]) {
  const vectors: ReturnType<typeof integers>[] = [];
  const nodes = steps.map(([op, list, ...more], i): BuiltNode => {
    const from = i === 0 ? "c" : `v${i - 1}`, to = i === steps.length - 1 ? "y" : `v${i}`;
    if (op === "Transpose") return node(op, [from], to, { perm: list });
    if (op === "Softmax") return node(op, [from], to, { axis: list[0] });
    if (list === undefined) return node(op, [from], to);
    const names = [list, ...more].map((values, each) => {
      vectors.push(integers(`l${i}.${each}`, values, op === "Gather"));
      return `l${i}.${each}`;
    });
    return node(op, [from, ...names], to, op === "Gather" ? { axis: 0 } : {});
  });
  return { nodes: [node("Conv", ["x", "w"], "c"), ...nodes], vectors };
}

/** A model of a convolution to [images, 12, 6, 6] and these steps. */
function model(steps: Parameters<typeof chain>[0], images: number | "N" = "N"): Uint8Array {
  const { nodes, vectors } = chain(steps);
  return built({
    nodes,
    tensors: [floats("w", [12, 3, 3, 3]), ...vectors],
    input: [images, 3, 8, 8],
  });
}

const CASES: readonly (readonly [string, string[], Parameters<typeof chain>[0]])[] = [
  ["a shuffle of channels", ["channel_map"], [
    ["Reshape", [0, 3, 4, 6, 6]],
    ["Transpose", [0, 2, 1, 3, 4]],
    ["Reshape", [0, -1, 6, 6]],
  ]],
  ["a shuffle with an activation inside", ["relu", "channel_map"], [
    ["Reshape", [0, 2, 6, 36]],
    ["Transpose", [0, 2, 1, 3]],
    ["Relu"],
    ["Reshape", [0, 12, 6, 6]],
  ]],
  ["a shuffle in three parts", ["channel_map"], [
    ["Reshape", [0, 2, 3, 2, 6, 6]],
    ["Transpose", [0, 3, 1, 2, 4, 5]],
    ["Reshape", [0, 12, 6, 6]],
  ]],
  ["a shuffle that is undone", [], [
    ["Reshape", [0, 3, 4, 36]],
    ["Transpose", [0, 2, 1, 3]],
    ["Transpose", [0, 2, 1, 3]],
    ["Reshape", [0, 12, 6, 6]],
  ]],
  ["a sub-pixel convolution", ["depth_to_space"], [
    ["Reshape", [0, 3, 2, 2, 6, 6]],
    ["Transpose", [0, 1, 4, 2, 5, 3]],
    ["Reshape", [0, 3, 12, 12]],
  ]],
  ["blocks before channels", ["channel_map", "depth_to_space"], [
    ["Reshape", [0, 2, 2, 3, 6, 6]],
    ["Transpose", [0, 3, 4, 1, 5, 2]],
    ["Reshape", [0, 3, 12, 12]],
  ]],
  [
    "blocks gathered behind channels",
    ["slice", "slice", "slice", "slice", "concat", "channel_map"],
    [
      ["Reshape", [0, 12, 3, 2, 3, 2]],
      ["Transpose", [0, 1, 3, 5, 2, 4]],
      ["Reshape", [0, 48, 3, 3]],
    ],
  ],
  ["blocks gathered before channels", ["slice", "slice", "slice", "slice", "concat"], [
    ["Reshape", [0, 12, 3, 2, 3, 2]],
    ["Transpose", [0, 3, 5, 1, 2, 4]],
    ["Reshape", [0, 48, 3, 3]],
  ]],
  ["height and width changed places twice", ["relu"], [
    ["Transpose", [0, 3, 2, 1]],
    ["Relu"],
    ["Transpose", [0, 3, 2, 1]],
  ]],
  ["shares of channels that are the last axis", ["softmax"], [
    ["Transpose", [0, 3, 2, 1]],
    ["Softmax", [3]],
    ["Transpose", [0, 3, 2, 1]],
  ]],
];

describe("rearranged values", () => {
  it.each(CASES)("are %s", async (_what, operators, steps) => {
    const bytes = model(steps);
    await expectSameAnswers(bytes);
    const [, ...made] = parseOnnx(bytes, "x.onnx").graph.nodes.map(({ op }) => op);
    expect(made).toEqual(operators);
  });

  it("are every other channel, where images are fixed to one", async () => {
    const steps: Parameters<typeof chain>[0] = [
      ["Reshape", [6, 2, 36]],
      ["Transpose", [1, 0, 2]],
      ["Reshape", [2, -1, 6, 6, 6]],
      ["Gather", [1]],
    ];
    const bytes = model(steps, 1);
    await expectSameAnswers(bytes, 1);
    expect(parseOnnx(bytes, "x.onnx").graph.nodes.at(-1))
      .toMatchObject({ op: "channel_map", from: [1, 3, 5, 7, 9, 11] });
  });

  it("are blocks of pixels, as SpaceToDepth", async () => {
    const nodes = [
      node("Conv", ["x", "w"], "c"),
      node("SpaceToDepth", ["c"], "y", { blocksize: 3 }),
    ];
    await expectSameAnswers(built({ nodes, tensors: [floats("w", [5, 3, 3, 3])] }));
  });

  it("are refused where they end in another order", () => {
    expect(() => parseOnnx(model([["Transpose", [0, 3, 2, 1]], ["Relu"]]), "x.onnx"))
      .toThrow(/Relu, which ends in \[N, 6, 6, 12\], which is no picture or vector/);
    expect(() => parseOnnx(model([["Reshape", [0, 12, 36]]]), "x.onnx"))
      .toThrow(/Reshape, which ends in \[N, 12, 36\], which is no picture or vector/);
  });

  it("are refused where parts do not come together", () => {
    expect(() => parseOnnx(model([["Reshape", [0, 5, -1]]]), "x.onnx"))
      .toThrow(/Reshape/);
  });
});
