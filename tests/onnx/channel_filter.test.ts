/** Efficient channel attention: a convolution of one axis, which is that of the channels. */

import { describe, expect, it } from "vitest";
import { encodeModel, parseModel } from "../../src/formats/model_file.ts";
import { encodeOnnx } from "../../src/formats/onnx/export/export.ts";
import { parseOnnx } from "../../src/formats/onnx/read/read.ts";
import { prunableGroups } from "../../src/graph/channels.ts";
import { cutGraph } from "../../src/graph/cut.ts";
import { GraphBuilder } from "../../src/models/builder.ts";
import { RandomStream } from "../../src/random.ts";
import { expectMaskedIsCut } from "../support/graphs/masked_is_cut.ts";
import { unsettle } from "../support/graphs/random.ts";
import { randomImages } from "../support/interpreted.ts";
import { runNative } from "../support/native_graph.ts";
import { expectSameAnswers } from "../support/onnx/answers.ts";
import { built, floats, integers, node } from "../support/onnx/build.ts";
import { largestDifference, runOnnx, runOracle } from "../support/onnx/files.ts";

const tensors = [
  ...[floats("w", [8, 3, 3, 3]), floats("k", [1, 1, 5]), floats("b", [1])],
  ...[integers("row", [0, 1, -1]), integers("back", [0, -1, 1, 1])],
];

/** Attention over the channels of a convolution, by nodes from "p" to "g". */
function attention(filter: ReturnType<typeof node>, expanded = false): Uint8Array {
  const nodes = [
    node("Conv", ["x", "w"], "c"),
    node("ReduceMean", ["c"], "p", { axes: [2, 3], keepdims: 0 }),
    node("Reshape", ["p", "row"], "r"),
    filter,
    node("Sigmoid", ["f"], "s"),
    node("Reshape", ["s", "back"], "g"),
    ...(expanded ? [node("Shape", ["c"], "size"), node("Expand", ["g", "size"], "e")] : []),
    node("Mul", ["c", expanded ? "e" : "g"], "y"),
  ];
  return built({ nodes, tensors });
}

/** Two layers with attention between them. */
function network(seed: number) {
  const builder = new GraphBuilder(`attention${seed}`, [3, 6, 5], seed);
  const options = { out: 7, kernel: 3, padding: 1, bias: true };
  const value = builder.relu("relu", builder.convolution("a", builder.input, options));
  const pooled = builder.globalAveragePool("pool", value);
  const gate = builder.activation("gate", builder.channelFilter("filter", pooled, 3), "sigmoid");
  const product = builder.multiply("product", value, gate);
  const last = builder.convolution("b", product, { ...options, out: 4 });
  const flat = builder.flatten("flatten", builder.globalAveragePool("mean", last));
  return unsettle(builder.finish(builder.linear("out", flat, 3)), new RandomStream(seed, "eca"));
}

describe("filters along channels", () => {
  it("are read, run and written", async () => {
    const bytes = attention(node("Conv", ["r", "k"], "f", { pads: [2, 2], kernel_shape: [5] }));
    await expectSameAnswers(bytes);
    const { graph } = parseOnnx(bytes, "x.onnx");
    expect(graph.nodes.map(({ op }) => op)).toContain("channel_filter");
    expect(parseModel(encodeModel(graph, "stored"), "stored")!.nodes).toEqual(graph.nodes);
  });

  it("have a bias and uneven padding, and gates that the file repeats over pixels", async () => {
    await expectSameAnswers(attention(node("Conv", ["r", "k", "b"], "f", { pads: [1, 3] }), true));
  });

  it("are refused where they change the number of channels", () => {
    expect(() => parseOnnx(attention(node("Conv", ["r", "k"], "f")), "x.onnx"))
      .toThrow(/Conv, which has pads of \[0, 0\] for 5 taps/);
  });

  it("lose channels, masked as cut, whatever lies between those that stay", async () => {
    for (let seed = 0; seed < 5; seed++) {
      const graph = network(seed);
      const random = new RandomStream(seed, "attention");
      await expectMaskedIsCut(graph, random);
      const [group] = prunableGroups(graph, "all");
      const cut = cutGraph(graph, [{ group, removed: [1, 2, 5] }]);
      expect(cut.nodes.find(({ op }) => op === "channel_filter"))
        .toMatchObject({ extent: 7, positions: [0, 3, 4, 6] });
      const images = randomImages(cut, 2, random);
      const expected = runOracle(cut, images);
      expect(largestDifference(await runNative(cut, images), expected)).toBeLessThan(1e-4);
      const written = encodeOnnx(cut);
      expect(largestDifference(await runOnnx(written, images, cut.input.shape), expected))
        .toBeLessThan(1e-5);
      const again = parseOnnx(written, "again").graph;
      expect(largestDifference(runOracle(again, images), expected)).toBeLessThan(1e-5);
    }
  });
});
