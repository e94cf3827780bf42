/** Padding with zeros, with a mirrored picture and with its edge. */

import { describe, expect, it } from "vitest";
import { parseOnnx } from "../../src/formats/onnx/read/read.ts";
import { encodeModel, parseModel } from "../../src/formats/model_file.ts";
import { expectSameAnswers } from "../support/onnx/answers.ts";
import { built, floats, integers, node } from "../support/onnx/build.ts";

const tensors = [floats("w", [5, 3, 3, 3])];

/** A convolution and padding (top, left, bottom, right) of its answer. */
function padded(mode: string, [top, left, bottom, right]: readonly number[]): Uint8Array {
  const pads = integers("pads", [0, 0, top, left, 0, 0, bottom, right]);
  const nodes = [node("Conv", ["x", "w"], "c"), node("Pad", ["c", "pads"], "y", { mode })];
  return built({ nodes, tensors: [...tensors, pads] });
}

describe("padding", () => {
  it.each([
    ["constant", [1, 0, 2, 3]],
    ["reflect", [1, 1, 1, 1]],
    ["reflect", [2, 0, 1, 3]],
    ["edge", [1, 1, 1, 1]],
    ["edge", [0, 7, 5, 2]],
  ])("in mode %s by %j", async (mode, pads) => {
    const bytes = padded(mode, pads);
    await expectSameAnswers(bytes);
    const { graph } = parseOnnx(bytes, "x.onnx");
    expect(parseModel(encodeModel(graph, "stored"), "stored")!.nodes).toEqual(graph.nodes);
  });

  it("does not mirror more than there is", () => {
    expect(() => parseOnnx(padded("reflect", [9, 0, 0, 0]), "x.onnx"))
      .toThrow(/Pad, which mirrors 9 x 0 cells of a picture of only \d+ x \d+/);
  });

  it("repeats cells of height and width alone", () => {
    expect(() => parseOnnx(padded("edge", [1, -1, 0, 0]), "x.onnx"))
      .toThrow(/Pad, which repeats cells of more than height and width/);
  });
});
