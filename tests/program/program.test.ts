import { describe, expect, it } from "vitest";
import { prunableGroups } from "../../src/graph/channels.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { GraphBuilder } from "../../src/models/builder.ts";
import { createModel } from "../../src/models/models.ts";
import type { EntryRequest } from "../../src/program/compile.ts";
import { print } from "../../src/program/print.ts";
import type { Instruction, Program } from "../../src/program/program.ts";
import { compilePlain } from "../support/compiled.ts";

/** A small network: convolution, batch norm, ReLU, pool, linear. */
function tiny(): Graph {
  const builder = new GraphBuilder("tiny", [3, 4, 4], 1);
  let value = builder.convolution("conv", builder.input, { out: 2, kernel: 3, padding: 1 });
  value = builder.relu("relu", builder.batchNorm("bn", value));
  value = builder.flatten("flatten", builder.maxPool("pool", value, 2, 2));
  return builder.finish(builder.linear("fc", value, 5));
}

const FORWARD: EntryRequest = { kind: "forward", name: "forward", images: 16 };
const STEP: EntryRequest = {
  kind: "step",
  name: "step",
  images: 16,
  loss: { smoothing: 0 },
  optimizer: { kind: "sgd", weightDecay: 1e-4 },
};

function instructionsOf(program: Program, entry: string): readonly Instruction[] {
  const { first, count } = program.entries.find(({ name }) => name === entry)!;
  return program.instructions.slice(first, first + count);
}

function countOps(program: Program, entry: string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { op } of instructionsOf(program, entry)) counts[op] = (counts[op] ?? 0) + 1;
  return counts;
}

describe("compile", () => {
  it("takes values called like its own", () => {
    const builder = new GraphBuilder("names", [3, 4, 4], 1);
    let value = builder.relu(
      "loss",
      builder.convolution("labels", builder.input, {
        out: 4,
        kernel: 3,
      }),
    );
    value = builder.flatten("gates", builder.globalAveragePool("teacher", value));
    const graph = builder.finish(builder.linear("logits", value, 5));
    const coalitions: EntryRequest = {
      kind: "coalitions",
      name: "game",
      images: 4,
      coalitions: [2],
      gates: [{ value: "loss" }],
      loss: { smoothing: 0 },
    };
    const names = compilePlain(graph, [FORWARD, STEP, coalitions]).program.values
      .map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
  });

  it("prints what it made", () => {
    const { program } = compilePlain(tiny(), [FORWARD]);
    const lines = print(program).split("\n").map((line) => line.replace(/ \{.*\}$/, ""));
    expect(lines).toEqual([
      "prepare: 0 images in slices of 0",
      "  0 fold_batch_norm bn: weight=conv.weight f32[2,3,3,3] weights@0 216 B, " +
      "scale=bn.weight f32[2] weights@256 8 B, offset=bn.bias f32[2] weights@320 8 B, " +
      "mean=bn.running_mean f32[2] weights@384 8 B, " +
      "variance=bn.running_var f32[2] weights@448 8 B -> " +
      "weight=folded/conv.weight f32[2,3,3,3] state@0 216 B, " +
      "bias=folded/conv.bias f32[2] state@256 8 B",
      "  1 pack_convolution conv: weight=folded/conv.weight f32[2,3,3,3] state@0 216 B -> " +
      "packed=packed/2/4x4,4x4,1x1,1x1,1x1,1/folded/conv.weight bytes[216] state@320 216 B",
      "  2 pack_convolution fc: weight=fc.weight f32[5,2,2,2] weights@512 160 B -> " +
      "packed=packed/2/2x2,1x1,1x1,0x0,1x1,1/fc.weight bytes[160] state@576 160 B",
      "forward: 16 images in slices of 2",
      "  0 convolution conv: x=forward/input f32 16x[4,4,3] feeds@0 3.07 kB, " +
      "packed=packed/2/4x4,4x4,1x1,1x1,1x1,1/folded/conv.weight bytes[216] state@320 216 B, " +
      "bias=folded/conv.bias f32[2] state@256 8 B -> " +
      "y=forward/relu f32 16x[4,4,2] slice@0 256 B",
      "  1 max_pool pool: x=forward/relu f32 16x[4,4,2] slice@0 256 B -> " +
      "y=forward/pool f32 16x[2,2,2] slice@256 64 B",
      "  2 convolution fc: x=forward/pool f32 16x[2,2,2] slice@256 64 B, " +
      "packed=packed/2/2x2,1x1,1x1,0x0,1x1,1/fc.weight bytes[160] state@576 160 B, " +
      "bias=fc.bias f32[5] weights@704 20 B -> y=forward/fc f32 16x[5] activations@0 320 B",
      "weights: 768 B",
      "state: 768 B",
      "feeds: 3.07 kB",
      "activations: 320 B",
      "slice: 320 B",
      "",
    ]);
  });

  it("folds and fuses inference down to convolutions, gathers and the pool", () => {
    const forward = (name: string) =>
      countOps(compilePlain(createModel(name, { classes: 10 }), [FORWARD]).program, "forward");
    expect(forward("resnet20")).toEqual({ convolution: 20, gather: 2, average_pool: 1 });
    expect(forward("resnet20-b")).toEqual({ convolution: 22, average_pool: 1 });
    expect(countOps(compilePlain(tiny(), [FORWARD]).program, "forward"))
      .toEqual({ convolution: 2, max_pool: 1 });
  });

  it("fuses residual sums and ReLUs into training's batch norms", () => {
    const { program } = compilePlain(createModel("resnet20", { classes: 10 }), [{
      ...STEP,
      recompute: false,
    }]);
    expect(countOps(program, "step")).toEqual({
      pack_convolution: 20 + 19,
      convolution: 20,
      batch_norm_statistics: 19,
      batch_norm_apply: 19,
      gather: 2,
      average_pool: 1,
      softmax_cross_entropy: 1,
      average_pool_backward: 1,
      batch_norm_backward_reduce: 19,
      batch_norm_backward_apply: 19,
      // The pictures need no gradient.
      convolution_backward_data: 19,
      convolution_backward_weights: 20,
      gather_backward: 2,
      // One sum per residual block.
      add: 9,
      sgd: 20 + 1 + 2 * 19,
    });
  });

  it("decays kernels, and batch norm and biases only when asked to", () => {
    const decays = (decayNormAndBias: boolean) => {
      const optimizer = { kind: "adamw", weightDecay: 0.5, decayNormAndBias } as const;
      const { program } = compilePlain(tiny(), [{ ...STEP, optimizer }]);
      const updates = instructionsOf(program, "step").filter(({ op }) => op === "adamw");
      return Object.fromEntries(updates.map(({ layer, floats }) => [layer, floats[0]]));
    };
    const kernels = { "fc.weight": 0.5, "conv.weight": 0.5 };
    expect(decays(false)).toEqual({ "fc.bias": 0, "bn.weight": 0, "bn.bias": 0, ...kernels });
    expect(decays(true)).toEqual({ "fc.bias": 0.5, "bn.weight": 0.5, "bn.bias": 0.5, ...kernels });
  });

  it("leaves frozen parameters alone and stops where nothing below trains", () => {
    const frozen = new Set(["conv.weight", "bn.weight", "bn.bias"]);
    const { program, entries } = compilePlain(tiny(), [{ ...STEP, frozen }]);
    const counts = countOps(program, "step");
    expect(counts.sgd).toBe(2);
    expect(counts.convolution_backward_data).toBeUndefined();
    expect(counts.batch_norm_backward_reduce).toBeUndefined();
    expect([...entries.get("step")!.optimizerState.keys()].sort()).toEqual([
      "fc.bias",
      "fc.weight",
    ]);
  });

  it("keeps what is fetched, gated or tapped out of fusion", () => {
    const { program, entries } = compilePlain(tiny(), [{
      ...FORWARD,
      fetch: ["conv"],
      gates: [{ value: "relu" }],
      ranks: ["relu"],
      means: ["relu"],
      loss: { smoothing: 0 },
    }]);
    const { values, ranks, means, feeds } = entries.get("forward")!;
    expect(values.get("conv")).toBe("forward/conv");
    expect(countOps(program, "forward")).toEqual({
      convolution: 2,
      batch_norm_inference: 1,
      rank: 1,
      average_pool: 1,
      max_pool: 1,
      gate: 1,
      softmax_cross_entropy: 1,
    });
    const named = (name: string | undefined) =>
      program.values.find((value) => value.name === name)!;
    expect(named(ranks.get("relu")).shape).toEqual([2]);
    expect(named(means.get("relu")).shape).toEqual([2]);
    expect(named(feeds.gates.get("relu")).shape).toEqual([1, 2]);
  });

  it("computes in bf16 around f32 logits, statistics and means", () => {
    const { program, entries } = compilePlain(
      tiny(),
      [{ ...FORWARD, means: ["relu"] }, STEP],
      { precision: "bf16" },
    );
    const dtype = (name: string | undefined) =>
      program.values.find((value) => value.name === name)!.dtype;
    const { logits, feeds, means } = entries.get("forward")!;
    expect([dtype(logits), dtype(feeds.images), dtype(means.get("relu"))])
      .toEqual(["f32", "bf16", "f32"]);
    expect(dtype(entries.get("step")!.loss)).toBe("f32");
    expect(dtype("step/relu")).toBe("bf16");
    expect(dtype("grad/conv.weight")).toBe("f32");
  });

  it("runs a game's prefix once and replays only what gates reach", () => {
    const graph = createModel("resnet20", { classes: 10 });
    const group = prunableGroups(graph, "inner").find(({ name }) => name === "layer2.1.conv1")!;
    const { program, entries } = compilePlain(graph, [{
      kind: "coalitions",
      name: "game",
      images: 4,
      coalitions: [3, 8],
      gates: group.sites.map((value) => ({ value })),
      loss: { smoothing: 0 },
    }]);
    // conv1, three blocks, layer2.0 with its shortcut's gather, layer2.1.conv1.
    expect(countOps(program, "game/prefix")).toEqual({ convolution: 1 + 6 + 2 + 1, gather: 1 });
    expect(countOps(program, "game/suffix/3")).toEqual({
      // The gated value, and the residual beside it repeated with ones.
      gate: 2,
      convolution: 1 + 2 + 6 + 1,
      gather: 1,
      average_pool: 1,
      softmax_cross_entropy: 1,
    });
    const { images, feeds, logits } = entries.get("game/suffix/8")!;
    expect(images).toBe(32);
    const value = (name: string | undefined) => program.values.find((v) => v.name === name)!;
    expect(value(feeds.gates.get(group.sites[0]))).toMatchObject({ shape: [8, 32], images: 0 });
    expect(value(feeds.labels).images).toBe(32);
    expect(value(logits)).toMatchObject({ shape: [10], images: 32 });
  });

  it("gates behind pools, so that they run once and not per coalition", () => {
    const { program } = compilePlain(tiny(), [{
      kind: "coalitions",
      name: "game",
      images: 4,
      coalitions: [2],
      gates: [{ value: "relu" }],
      loss: { smoothing: 0 },
    }]);
    expect(countOps(program, "game/prefix")).toEqual({ convolution: 1, max_pool: 1 });
    expect(countOps(program, "game/suffix/2"))
      .toEqual({ gate: 1, convolution: 1, softmax_cross_entropy: 1 });
  });

  it("re-estimates batch norm without the layers behind the last of them", () => {
    const { program } = compilePlain(createModel("resnet20", { classes: 10 }), [
      { kind: "statistics", name: "statistics", images: 64 },
    ]);
    const counts = countOps(program, "statistics");
    expect(counts).toMatchObject({ convolution: 19, batch_norm_statistics: 19 });
    expect(counts.average_pool).toBeUndefined();
  });

  it("composes a shortcut's slice and channel map, but not across cells that padding zeroed", () => {
    const builder = new GraphBuilder("gathers", [2, 5, 5], 1);
    const sliced = builder.subsample("slice", builder.input, 2);
    const mapped = builder.channelMap("map", sliced, [-1, 1, 0, -1]);
    const value = builder.convolution("conv", mapped, { out: 3, kernel: 3 });
    const graph = builder.finish(builder.linear("fc", builder.flatten("flatten", value), 2));
    const { program, constants } = compilePlain(graph, [FORWARD]);
    const [gather, ...more] = instructionsOf(program, "forward").filter(({ op }) =>
      op === "gather"
    );
    expect(more).toEqual([]);
    expect(gather.ints).toEqual([5, 5, 2, 3, 3, 4, 0, 0, 2, 2]);
    expect(constants.get(program.values[gather.inputs[1]].name)).toEqual(
      Int32Array.of(-1, 1, 0, -1),
    );
    // Slicing cells 1 to 3 and padding them with zeros again must not bring back cells 0 and 4.
    const cropped: Graph = {
      ...graph,
      nodes: [
        {
          op: "slice",
          name: "slice",
          inputs: ["input"],
          output: "slice",
          starts: [1, 1],
          ends: [4, 4],
          strides: [1, 1],
        },
        { op: "pad", name: "pad", inputs: ["slice"], output: "map", padding: [1, 1, 1, 1] },
        ...graph.nodes.slice(2).map((node) =>
          node.op === "convolution" ? { ...node, kernel: [5, 5] as const } : node
        ),
      ],
      parameters: new Map([
        ["conv.weight", { shape: [3, 2, 5, 5], data: new Float32Array(150) }],
        ["fc.weight", { shape: [2, 3], data: new Float32Array(6) }],
        ["fc.bias", { shape: [2], data: new Float32Array(2) }],
      ]),
    };
    expect(countOps(compilePlain(cropped, [FORWARD]).program, "forward").gather).toBe(2);
  });

  it("refuses what a graph lacks or instructions cannot say", () => {
    const graph = tiny();
    const attempt = (...requests: EntryRequest[]) => () => compilePlain(graph, requests);
    expect(attempt({ ...FORWARD, fetch: ["nowhere"] })).toThrow("no value nowhere to fetch");
    expect(attempt({ ...FORWARD, gates: [{ value: "nowhere" }] })).toThrow("no value nowhere");
    expect(attempt({ ...FORWARD, gates: [{ value: "flatten" }] })).toThrow("flattened picture");
    expect(attempt(FORWARD, FORWARD)).toThrow("Two entries are called forward");
    expect(attempt({ ...FORWARD, images: 0 })).toThrow("positive integer");
    expect(attempt({ kind: "equations", name: "e", images: 4, layer: "bn" }))
      .toThrow("no convolution or linear layer");
    const headless: Graph = { ...graph, outputs: ["relu"], nodes: graph.nodes.slice(0, 3) };
    expect(() => compilePlain(headless, [{ ...FORWARD, loss: { smoothing: 0 } }]))
      .toThrow("a picture of [2, 4, 4]");
  });
});
