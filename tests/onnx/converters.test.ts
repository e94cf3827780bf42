/** What single converters write: zeros joined as channels, CoreML's own operators, pools that round up. */

import { describe, expect, it } from "vitest";
import { parseOnnx } from "../../src/formats/onnx/read/read.ts";
import { expectSameAnswers } from "../support/onnx/answers.ts";
import { built, floats, integers, node } from "../support/onnx/build.ts";

const conv = node("Conv", ["x", "w"], "c");
const tensors = [floats("w", [4, 3, 3, 3]), integers("zeros", [1, 3, 6, 6])];
const operatorsOf = (bytes: Uint8Array) =>
  parseOnnx(bytes, "x.onnx").graph.nodes.map(({ op }) => op);

describe("channels of zeros", () => {
  const zeros = node("ConstantOfShape", ["zeros"], "z");
  it.each([
    ["behind", ["c", "z"], ["channel_map"]],
    ["before", ["z", "c"], ["channel_map"]],
    ["between", ["c", "z", "d"], ["convolution", "concat", "channel_map"]],
  ])("%s others are a map of channels", async (_where, inputs, operators) => {
    const other = inputs.includes("d") ? [node("Conv", ["x", "w"], "d")] : [];
    const nodes = [conv, ...other, zeros, node("Concat", inputs, "y", { axis: 1 })];
    const bytes = built({ nodes, tensors, input: [1, 3, 8, 8] });
    await expectSameAnswers(bytes, 1);
    expect(operatorsOf(bytes)).toEqual(["convolution", ...operators]);
  });

  it("are told from others", () => {
    const ones = node("ConstantOfShape", ["zeros"], "z", { value: floats("", [1], [1]) });
    const nodes = [conv, ones, node("Concat", ["c", "z"], "y", { axis: 1 })];
    expect(() => parseOnnx(built({ nodes, tensors, input: [1, 3, 8, 8] }), "x.onnx"))
      .toThrow(/Concat, which joins constants of the shape \[1, 3, 6, 6\] that are not zero/);
  });
});

describe("operators that converters of CoreML models write", () => {
  const list = (name: string, values: number[]) => ({ name, type: 6, floats: values });

  it("scale pictures and move each of their channels", async () => {
    const scaler = node("ImageScaler", ["x"], "s", { scale: { float: 0.5 } });
    const nodes = [
      { ...scaler, attribute: [...scaler.attribute!, list("bias", [-1, 0.5, 2])] },
      node("Conv", ["s", "w"], "y"),
    ];
    await expectSameAnswers(built({ nodes, tensors, opset: 7 }));
  });

  it.each([
    ["a border", { border: [1, 0, 2, 3] }],
    ["a size", { border: [1, 2, 0, 0], scale: [3, 4] }],
  ])("cut pictures, by %s", async (_what, attributes) => {
    await expectSameAnswers(
      built({ nodes: [conv, node("Crop", ["c"], "y", attributes)], tensors, opset: 7 }),
    );
  });

  it("scale and move what a layer gives", async () => {
    const affine = node("Affine", ["t"], "y", { alpha: { float: 2.5 }, beta: { float: -0.5 } });
    await expectSameAnswers(
      built({ nodes: [conv, node("Tanh", ["c"], "t"), affine], tensors, opset: 7 }),
    );
  });
});

describe("pools that round up", () => {
  it.each([
    ["AveragePool", { count_include_pad: 1, pads: [1, 1, 1, 1] }],
    ["AveragePool", { count_include_pad: 1, pads: [1, 0, 0, 1] }],
    ["AveragePool", { count_include_pad: 1 }],
    ["AveragePool", { count_include_pad: 0, pads: [1, 1, 1, 1] }],
    ["MaxPool", { pads: [1, 1, 1, 1] }],
    ["MaxPool", {}],
  ])("%s, %j", async (op, attributes) => {
    const window = { kernel_shape: [3, 3], strides: [2, 2], ceil_mode: 1 };
    for (const extent of [8, 9]) {
      const nodes = [conv, node(op, ["c"], "y", { ...window, ...attributes })];
      await expectSameAnswers(
        built({ nodes, tensors, opset: 19, input: ["N", 3, extent, extent + 3] }),
      );
    }
  });
});

describe("transposed convolutions of a given size", () => {
  it.each([[[13, 14]], [[12, 14]], [[10, 12]]])(
    "of %j, which may be beyond their reach",
    async (size) => {
      const attributes = { strides: [2, 2], kernel_shape: [2, 3], output_shape: size };
      const nodes = [conv, node("ConvTranspose", ["c", "t"], "y", attributes)];
      const up = [...tensors, floats("t", [4, 2, 2, 3])];
      await expectSameAnswers(built({ nodes, tensors: up, opset: 11 }));
    },
  );
});
