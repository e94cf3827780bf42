import { describe, expect, it } from "vitest";
import { prunableGroups } from "../../src/graph/channels.ts";
import { costOf } from "../../src/graph/cost.ts";
import { cutGraph, cutShapes, parameterCuts } from "../../src/graph/cut.ts";
import { shapesOf } from "../../src/graph/shapes.ts";
import { GraphBuilder } from "../../src/models/builder.ts";
import { createModel } from "../../src/models/models.ts";

describe("cost", () => {
  // The figures the pruning literature quotes for the option-A network.
  it("counts ResNet-56 as the papers do", () => {
    const cost = costOf(createModel("resnet56", { classes: 10 }));
    expect(cost.macs).toBe(125_485_696);
    expect(cost.parameters).toBe(853_018);
  });

  it("counts ResNet-20 as the papers do", () => {
    const cost = costOf(createModel("resnet20", { classes: 10 }));
    expect(cost.macs).toBe(40_551_040);
    expect(cost.parameters).toBe(269_722);
  });
});

describe("padding", () => {
  const padded = (extent: number, channels: number, padding: number, dilation = 1) => {
    const builder = new GraphBuilder("padded", [channels, extent, extent], 0);
    return builder.convolution("conv", builder.input, { out: 1, kernel: 3, padding, dilation });
  };

  it("is taken at sizes that filters need, and refused far beyond", () => {
    expect(() => padded(33, 2048, 36, 36)).not.toThrow();
    expect(() => padded(1, 3, 16)).not.toThrow();
    expect(() => padded(4096, 16, 1)).not.toThrow();
    expect(() => padded(5, 3, 262_145)).toThrow(/has padding 262145, .*of a filter's size/);
    expect(() => padded(32, 3, 4096)).toThrow(/makes \[3, 8224, 8224\] of \[3, 32, 32\]/);
  });
});

describe("channel groups", () => {
  const graph = createModel("resnet20", { classes: 10 });

  it("finds inner groups and one stream a stage", () => {
    const groups = prunableGroups(graph, "all");
    const streams = groups.filter((group) => group.kind === "stream");
    expect(streams.map((group) => [group.name, group.players.length])).toEqual([
      ["conv1", 16],
      ["layer2.0.conv2", 32],
      ["layer3.0.conv2", 64],
    ]);
    expect(groups.length - streams.length).toBe(9);
    expect(prunableGroups(graph, "inner").every((group) => group.kind === "inner")).toBe(true);
  });

  it("gates a stream after every activation that a convolution reads", () => {
    const [stream] = prunableGroups(graph, "all");
    expect(stream.sites).toEqual([
      "relu1",
      "layer1.0.relu2",
      "layer1.1.relu2",
      "layer1.2.relu2",
    ]);
  });

  it("never offers the classes", () => {
    const names = prunableGroups(graph, "all").map((group) => group.name);
    expect(names).not.toContain("linear");
  });
});

describe("cutting", () => {
  const graph = createModel("resnet20", { classes: 10, seed: 3 });
  const groups = prunableGroups(graph, "all");
  const removals = groups.map((group, i) => ({ group, removed: [0, 2 + i % 5] }));

  it("leaves a graph that still fits together, with the counted cost", () => {
    const cut = cutGraph(graph, removals);
    expect(shapesOf(cut).get(cut.outputs[0])).toEqual([10]);
    expect(costOf(cut).macs).toBeLessThan(costOf(graph).macs);
    expect(costOf(cutShapes(graph, removals))).toEqual(costOf(cut));
  });

  it("turns a removed source of an option-A shortcut into a zero", () => {
    const [stream] = groups;
    const cut = cutGraph(graph, [{ group: stream, removed: [3] }]);
    const map = cut.nodes.find((node) => node.name === "layer2.0.shortcut.pad");
    if (map?.op !== "channel_map") throw new Error("the shortcut is a channel map");
    expect(map.from[8 + 3]).toBe(-1);
    expect(map.from[8 + 4]).toBe(3);
  });

  it("keeps exactly the listed indices of every parameter", () => {
    const cut = cutGraph(graph, removals);
    for (const { parameter, axis, kept } of parameterCuts(graph, removals)) {
      expect(cut.parameters.get(parameter)!.shape[axis]).toBe(kept.length);
    }
    const weight = graph.parameters.get("linear.weight")!;
    const rows = parameterCuts(graph, removals).find((one) => one.parameter === "linear.weight")!;
    const expected = rows.kept.map((index) => weight.data[weight.shape[1] + index]);
    const after = cut.parameters.get("linear.weight")!;
    expect([...after.data.subarray(after.shape[1], 2 * after.shape[1])]).toEqual(expected);
  });
});
