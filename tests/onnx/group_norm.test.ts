/** Instance and group norm: as operators, and in groups as PyTorch writes it. */

import { describe, expect, it } from "vitest";
import { encodeModel, parseModel } from "../../src/formats/model_file.ts";
import { encodeOnnx } from "../../src/formats/onnx/export/export.ts";
import { parseOnnx } from "../../src/formats/onnx/read/read.ts";
import { channelGroups } from "../../src/graph/channels.ts";
import { cutGraph } from "../../src/graph/cut.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { GraphBuilder } from "../../src/models/builder.ts";
import { RandomStream } from "../../src/random.ts";
import { expectMaskedIsCut } from "../support/graphs/masked_is_cut.ts";
import { unsettle } from "../support/graphs/random.ts";
import { expectSameAnswers } from "../support/onnx/answers.ts";
import { built, floats, integers, node } from "../support/onnx/build.ts";

const conv = node("Conv", ["x", "w"], "c");
const tensors = [
  ...[floats("w", [6, 3, 3, 3]), floats("s", [6]), floats("o", [6])],
  ...[floats("s2", [2]), floats("o2", [2]), floats("s2c", [6, 1, 1]), floats("o2c", [6, 1, 1])],
  ...[integers("rows", [0, 2, -1]), integers("back", [0, 6, 6, 6])],
  ...[floats("ones", [2], [1, 1]), floats("zeros", [2], [0, 0])],
];
const epsilon = { epsilon: { float: 1e-3 } };

/** A network whose norm has so many groups of six channels. */
function network(groups: number, seed: number): Graph {
  const builder = new GraphBuilder(`groups${groups}`, [3, 7, 6], seed);
  const options = { out: 6, kernel: 3, padding: 1, bias: true };
  let value = builder.convolution("a", builder.input, options);
  value = builder.relu("relu", builder.groupNorm("norm", value, groups, 1e-3));
  value = builder.convolution("b", value, { ...options, out: 5 });
  value = builder.flatten("flatten", builder.globalAveragePool("pool", value));
  return unsettle(builder.finish(builder.linear("out", value, 4)), new RandomStream(seed, "norm"));
}

describe("instance and group norm", () => {
  it("of every channel by itself", async () => {
    const nodes = [conv, node("InstanceNormalization", ["c", "s", "o"], "y", epsilon)];
    const bytes = built({ nodes, tensors });
    await expectSameAnswers(bytes);
    const { graph } = parseOnnx(bytes, "x.onnx");
    expect(graph.nodes.at(-1)).toMatchObject({
      op: "group_norm",
      groups: 6,
      scale: "s",
      offset: "o",
    });
    expect(parseModel(encodeModel(graph, "stored"), "stored")!.nodes).toEqual(graph.nodes);
  });

  it("of groups, as GroupNormalization", async () => {
    const attributes = { ...epsilon, num_groups: 2 };
    const nodes = [conv, node("GroupNormalization", ["c", "s", "o"], "y", attributes)];
    await expectSameAnswers(built({ nodes, tensors, opset: 21 }));
  });

  it("of groups, with a scale each, as GroupNormalization was at first", async () => {
    const attributes = { ...epsilon, num_groups: 2 };
    const nodes = [conv, node("GroupNormalization", ["c", "s2", "o2"], "y", attributes)];
    await expectSameAnswers(built({ nodes, tensors, opset: 18 }));
  });

  it("of groups, as PyTorch writes it: one layer with the file's own scale", async () => {
    const nodes = [
      conv,
      node("Reshape", ["c", "rows"], "r"),
      node("InstanceNormalization", ["r", "ones", "zeros"], "n", epsilon),
      node("Reshape", ["n", "back"], "b"),
      node("Mul", ["b", "s2c"], "m"),
      node("Add", ["m", "o2c"], "y"),
    ];
    const bytes = built({ nodes, tensors });
    await expectSameAnswers(bytes);
    const { graph } = parseOnnx(bytes, "x.onnx");
    expect(graph.nodes.map(({ op }) => op)).toEqual(["convolution", "group_norm"]);
    expect(graph.nodes[1]).toMatchObject({ groups: 2, scale: "s2c", offset: "o2c" });
  });

  it("lose whole groups of channels, masked as cut", async () => {
    for (const groups of [6, 3, 2]) {
      const graph = network(groups, groups);
      const [first] = channelGroups(graph);
      expect([first.pinned, first.players.length]).toEqual([undefined, groups]);
      await expectMaskedIsCut(graph, new RandomStream(groups, "groups"));
      const cut = cutGraph(graph, [{ group: first, removed: [0] }]);
      expect(cut.nodes[1]).toMatchObject({ op: "group_norm", groups: groups - 1 });
      const again = parseOnnx(encodeOnnx(cut), "again").graph;
      expect(again.nodes.map(({ op }) => op)).toEqual(cut.nodes.map(({ op }) => op));
    }
  });

  it("keep all channels that are one group", () => {
    const [first] = channelGroups(network(1, 1));
    expect(first.pinned).toBe("its norm divides by the deviation of all channels");
  });
});
