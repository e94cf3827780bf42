// Channel groups of the ways networks join and split channels, and gates that several groups share.

import { describe, expect, it } from "vitest";
import { channelGroups, prunableGroups } from "../../src/graph/channels.ts";
import { cutGraph } from "../../src/graph/cut.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { shapesOf } from "../../src/graph/shapes.ts";
import { GraphBuilder } from "../../src/models/builder.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import { RandomStream } from "../../src/random.ts";
import { gameRequest, NetworkGame } from "../../src/shapley/game.ts";
import { checkCut } from "../../src/surgery/check.ts";
import { diverseGraph } from "../support/graphs/diverse.ts";

const range = (first: number, count: number) =>
  Array.from({ length: count }, (_, index) => first + index);

function finish(builder: GraphBuilder, value: string): Graph {
  const pooled = builder.flatten("flatten", builder.globalAveragePool("pool", value));
  return builder.finish(builder.linear("classifier", pooled, 3));
}

/** Two layers joined, normalised and read by a third. */
function joined(): Graph {
  const builder = new GraphBuilder("joined", [3, 6, 6], 1);
  const a = builder.convolution("a", builder.input, { out: 4, kernel: 3, padding: 1 });
  const b = builder.convolution("b", a, { out: 6, kernel: 3, padding: 1 });
  const norm = builder.batchNorm("norm", builder.concat("concat", [a, b]));
  const c = builder.convolution("c", builder.activation("silu", norm, "silu"), {
    out: 5,
    kernel: 1,
  });
  return finish(builder, c);
}

const summary = (graph: Graph) =>
  prunableGroups(graph, "all").map(({ name, players, sites }) => [name, players.length, sites]);

describe("channel groups", () => {
  it("keep the layers of a concatenation apart", () => {
    const graph = joined();
    expect(summary(graph)).toEqual([
      ["a", 4, ["a", "silu"]],
      ["b", 6, ["silu"]],
      ["c", 5, ["c"]],
    ]);
    const [, b] = prunableGroups(graph, "all");
    const cut = cutGraph(graph, [{ group: b, removed: [0, 5] }]);
    const parameter = (name: string) => cut.parameters.get(name)!.shape;
    expect([parameter("b.weight"), parameter("norm.weight"), parameter("c.weight")])
      .toEqual([[4, 4, 3, 3], [8], [5, 8, 1, 1]]);
  });

  it("gate squeeze-and-excitation on the product, and before the squeeze", () => {
    const builder = new GraphBuilder("excited", [3, 6, 6], 1);
    const x = builder.relu("relu", builder.convolution("a", builder.input, { out: 4, kernel: 3 }));
    let gate = builder.globalAveragePool("squeeze", x);
    gate = builder.convolution("down", gate, { out: 2, kernel: 1, bias: true });
    gate = builder.convolution("up", builder.relu("middle", gate), { out: 4, kernel: 1 });
    gate = builder.activation("sigmoid", gate, "sigmoid");
    const graph = finish(builder, builder.multiply("product", gate, x));
    expect(summary(graph)).toEqual([["a", 4, ["relu", "product"]], ["down", 2, ["middle"]]]);
    const [group] = prunableGroups(graph, "all");
    expect(group.producers).toEqual(["a", "up"]);
  });

  it("never empty a slice of a layer's channels", () => {
    const builder = new GraphBuilder("split", [3, 6, 6], 1);
    const a = builder.convolution("a", builder.input, { out: 6, kernel: 3 });
    const [left, right] = [range(0, 2), range(2, 4)].map((from, i) =>
      builder.convolution(`half${i}`, builder.channelMap(`slice${i}`, a, from), {
        out: 3,
        kernel: 1,
      })
    );
    const graph = finish(builder, builder.add("sum", left, right));
    const groups = prunableGroups(graph, "all");
    expect(groups.map(({ name, players }) => [name, players.length]))
      .toEqual([["a", 2], ["a#2", 4], ["half0", 3]]);
    const cut = cutGraph(graph, groups.slice(0, 2).map((group) => ({ group, removed: [0] })));
    expect(cut.nodes.filter(({ op }) => op === "channel_map")).toMatchObject([
      { from: [0] },
      { from: [1, 2, 3] },
    ]);
  });

  it("take both layers' channels where two share a weight", () => {
    const builder = new GraphBuilder("shared", [3, 6, 6], 1);
    const a = builder.convolution("a", builder.input, { out: 4, kernel: 3, padding: 1 });
    const b = builder.convolution("b", a, { out: 5, kernel: 3, padding: 1 });
    const small = builder.maxPool("small", a, 2, 2);
    const c = builder.convolution("c", small, { out: 5, kernel: 3, padding: 1 });
    const graph = finish(builder, builder.concat("concat", [builder.maxPool("max", b, 2, 2), c]));
    const nodes = graph.nodes.map((node) =>
      node.op === "convolution" && node.name === "c" ? { ...node, weight: "b.weight" } : node
    );
    const shared = { ...graph, nodes };
    const group = prunableGroups(shared, "all").find(({ name }) => name === "b")!;
    expect(group.producers).toEqual(["b", "c"]);
    const cut = cutGraph(shared, [{ group, removed: [1] }]);
    const shapes = shapesOf(cut);
    expect([shapes.get("b")![0], shapes.get("c")![0], shapes.get("concat")![0]]).toEqual([4, 4, 8]);
  });

  it("pin channels beside the model's input without pinning the layer's own", () => {
    const builder = new GraphBuilder("skip", [3, 6, 6], 1);
    const a = builder.convolution("a", builder.input, { out: 4, kernel: 3, padding: 1 });
    const both = builder.concat("concat", [builder.input, a]);
    const graph = finish(builder, builder.convolution("b", both, { out: 2, kernel: 1 }));
    expect(summary(graph)).toEqual([["a", 4, ["concat"]], ["b", 2, ["b"]]]);
    expect(channelGroups(graph).find(({ pinned }) => pinned)?.name).toBe("classifier");
  });
});

const IMAGES = 4;

function pictures(graph: Graph) {
  const random = new RandomStream(1, "pictures");
  const [channels, height, width] = graph.input.shape;
  const images = Float32Array.from(
    { length: IMAGES * channels * height * width },
    () => random.normal(),
  );
  return { images, labels: Int32Array.from({ length: IMAGES }, (_, i) => i % 3) };
}

describe("gates that groups share", () => {
  it("mask the players of one group alone", async () => {
    const graph = joined(), batch = pictures(graph);
    const groups = prunableGroups(graph, "all");
    using model = LoadedModel.open(
      graph,
      groups.map((group) => gameRequest(graph, group, IMAGES)),
      { dtype: "f32" },
    );
    const values = [];
    for (const group of groups) {
      const game = new NetworkGame(model, group, [batch]);
      const everyone = new Uint8Array(game.players).fill(1);
      values.push(await game.evaluate([everyone, everyone.map((_, i) => i === 0 ? 0 : 1)], {}));
    }
    for (const [all, without] of values) {
      expect(all).toEqual(values[0][0]);
      expect(without).not.toEqual(all);
    }
  });

  it("mask the players of several groups at once, natively", async () => {
    for (let seed = 300; seed < 308; seed++) {
      const graph = diverseGraph(seed);
      const removals = prunableGroups(graph, "all").map((group) => ({
        group,
        removed: range(0, group.players.length - 1).filter((player) => player % 2 === 0),
      }));
      const check = await checkCut(graph, cutGraph(graph, removals), removals, pictures(graph));
      expect(check.change).toBeGreaterThan(0);
    }
  });
});
