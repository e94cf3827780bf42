/** Written models run in onnxruntime, agree with ours, and read back as the same graph. */

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { encodeOnnx, type ExportOptions } from "../../src/formats/onnx/export/export.ts";
import {
  GraphProtoSchema,
  ModelProtoSchema,
  TensorProtoSchema,
} from "../../src/formats/onnx/proto/onnx_pb.ts";
import { parseOnnx, readOnnx } from "../../src/formats/onnx/read/read.ts";
import { writeOnnx } from "../../src/formats/onnx/export/write.ts";
import { prunableGroups } from "../../src/graph/channels.ts";
import { cutGraph } from "../../src/graph/cut.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { GraphBuilder } from "../../src/models/builder.ts";
import { createModel } from "../../src/models/models.ts";
import { RandomStream } from "../../src/random.ts";
import { diverseGraph } from "../support/graphs/diverse.ts";
import { randomImages } from "../support/interpreted.ts";
import {
  largestDifference,
  onnxFixture,
  runOnnx,
  runOracle,
  sameParameters,
} from "../support/onnx/files.ts";
import { randomGraph } from "../support/graphs/random.ts";

/** A small graph of all operators. */
function everyOperator(): Graph {
  const builder = new GraphBuilder("every", [3, 9, 10], 4);
  let value = builder.convolution("conv", "input", { out: 6, kernel: 3, groups: 3, bias: true });
  value = builder.relu("relu", builder.batchNorm("bn", value));
  value = builder.maxPool("max", value, 3, 2, 1);
  value = builder.subsample("slice", value, 2);
  const mapped = builder.channelMap("map", value, [5, -1, 0, 0, 2, 1, -1]);
  value = builder.add("add", builder.channelMap("map2", value, [0, 1, 2, 3, 4, 5, 0]), mapped);
  value = builder.flatten("flatten", builder.globalAveragePool("pool", value));
  const graph = builder.finish(builder.linear("linear", value, 5));
  const at = graph.nodes.findIndex(({ name }) => name === "slice");
  const subsample = graph.nodes[at];
  const [averaged, padded] = ["averaged", "padded"];
  return {
    ...graph,
    nodes: [
      ...graph.nodes.slice(0, at),
      {
        op: "average_pool",
        name: averaged,
        inputs: subsample.inputs,
        output: averaged,
        kernel: [2, 3],
        stride: [1, 1],
        padding: [1, 0, 0, 2],
        countPadding: true,
      },
      // Not before a pool: onnxruntime would fuse the two, and then refuse so much padding.
      { op: "pad", name: padded, inputs: [averaged], output: padded, padding: [1, 0, 2, 3] },
      { ...subsample, inputs: [padded] },
      ...graph.nodes.slice(at + 1),
    ],
  };
}

/** A residual network with option-A shortcuts, some channels of every group removed. */
function pruned(): Graph {
  const graph = createModel("resnet8", { classes: 4, shape: [3, 8, 8] });
  const removals = prunableGroups(graph, "all").map((group, index) => ({
    group,
    removed: group.players.map((_, player) => player).filter((player) => player % 3 === index % 2),
  }));
  return cutGraph(graph, removals);
}

async function agreement(graph: Graph, options: ExportOptions = {}): Promise<number> {
  const images = randomImages(graph, 2, new RandomStream(8, graph.name));
  const actual = await runOnnx(encodeOnnx(graph, options), images, graph.input.shape);
  return largestDifference(runOracle(graph, images), actual);
}

describe("ONNX export", () => {
  it.each([13, 15, 17, 18, 19, 21, 23])("runs in onnxruntime at opset %d", async (opset) => {
    expect(await agreement(everyOperator(), { opset })).toBeLessThan(1e-5);
    expect(parseOnnx(encodeOnnx(everyOperator(), { opset }), "x").notes.opset).toBe(opset);
  });

  it("agrees on random and on pruned networks", async () => {
    for (let seed = 0; seed < 20; seed++) {
      expect(await agreement(randomGraph(seed, 3))).toBeLessThan(1e-4);
    }
    expect(await agreement(pruned())).toBeLessThan(1e-4);
  });

  it("agrees on networks of every activation, products, concatenations and shuffles", async () => {
    for (let seed = 0; seed < 60; seed++) {
      const opset = 13 + seed % 11;
      expect(await agreement(diverseGraph(seed), { opset }), `seed ${seed}`).toBeLessThan(1e-4);
    }
    const builder = new GraphBuilder("flat product", [3, 4, 4], 1);
    const gates = builder.linear("gates", builder.flatten("flat", builder.input), 3);
    const product = builder.multiply("product", gates, builder.input);
    const flat = builder.flatten("flatten", product);
    expect(await agreement(builder.finish(builder.linear("out", flat, 2)))).toBeLessThan(1e-5);
  });

  it("reads back what computes the same, of every operator", () => {
    for (let seed = 0; seed < 40; seed++) {
      const graph = diverseGraph(seed);
      const again = parseOnnx(encodeOnnx(graph, { opset: 13 + seed % 10 }), "x").graph;
      const images = randomImages(graph, 1, new RandomStream(seed, "again"));
      const [expected, found] = [graph, again].map((each) => runOracle(each, images));
      expect(largestDifference(found, expected), `seed ${seed}`).toBeLessThan(1e-5);
      const groups = (of: Graph) =>
        prunableGroups(of, "all").map(({ players }) => players.length).sort();
      expect(groups(again), `seed ${seed}`).toEqual(groups(graph));
    }
  });

  it("shuffles channels, splits and activations as exporters write them", () => {
    const builder = new GraphBuilder("shuffle", [3, 6, 6], 1);
    const a = builder.convolution("a", builder.input, { out: 12, kernel: 3 });
    const graph = builder.finish(builder.globalAveragePool("pool", a));
    const model = fromBinary(ModelProtoSchema, encodeOnnx(graph, { opset: 17 }));
    const vector = (name: string, values: readonly number[]) =>
      create(TensorProtoSchema, {
        name,
        dataType: 7,
        dims: [BigInt(values.length)],
        int64Data: values.map(BigInt),
      });
    const ints = (name: string, values: readonly number[]) => ({
      name,
      type: 7,
      ints: values.map(BigInt),
    });
    const added = create(GraphProtoSchema, {
      node: [
        {
          opType: "Split",
          input: ["a", "halves"],
          output: ["left", "right"],
          attribute: [
            { name: "axis", type: 2, i: 1n },
          ],
        },
        { opType: "Sigmoid", input: ["left"], output: ["share"] },
        { opType: "Mul", input: ["left", "share"], output: ["silu"] },
        {
          opType: "Concat",
          input: ["silu", "right"],
          output: ["joined"],
          attribute: [
            { name: "axis", type: 2, i: 1n },
          ],
        },
        { opType: "Reshape", input: ["joined", "grouped"], output: ["five"] },
        {
          opType: "Transpose",
          input: ["five"],
          output: ["turned"],
          attribute: [
            ints("perm", [0, 2, 1, 3, 4]),
          ],
        },
        { opType: "Reshape", input: ["turned", "flat"], output: ["shuffled"] },
      ],
      initializer: [
        vector("halves", [4, 8]),
        vector("grouped", [-1, 3, 4, 4, 4]),
        vector("flat", [-1, 12, 4, 4]),
      ],
    });
    const [conv, pool] = model.graph!.node;
    model.graph!.node = [conv, ...added.node, { ...pool, input: ["shuffled"] }];
    model.graph!.initializer.push(...added.initializer);
    const found = parseOnnx(toBinary(ModelProtoSchema, model), "x").graph;
    expect(found.nodes.map((node) => node.op === "activation" ? node.kind : node.op)).toEqual([
      ...["convolution", "channel_map", "channel_map", "silu", "concat", "channel_map"],
      "global_average_pool",
    ]);
    const shuffle = found.nodes[5];
    expect(shuffle.op === "channel_map" && shuffle.from)
      .toEqual([0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
  });

  it("reads back as the same graph, names and weights included", () => {
    for (const graph of [everyOperator(), pruned(), ...[5, 6, 7].map((s) => randomGraph(s, 3))]) {
      for (const opset of [13, 28]) {
        const again = parseOnnx(encodeOnnx(graph, { opset }), "x").graph;
        expect(again.nodes).toEqual(graph.nodes);
        expect(sameParameters(again, graph)).toBe(true);
        expect([again.name, again.input, again.outputs])
          .toEqual([graph.name, graph.input, graph.outputs]);
      }
    }
  });

  it("reads back what was imported", async () => {
    for (const name of ["pad_everything", "slice_everything", "matmul_bias", "conv_add_bias"]) {
      const { graph } = await readOnnx(onnxFixture(`${name}.onnx`));
      const again = parseOnnx(encodeOnnx(graph), "x").graph;
      expect(again.nodes).toEqual(graph.nodes);
      expect(sameParameters(again, graph)).toBe(true);
    }
  });

  it("gives equal bytes for equal graphs, and a fixed or a named batch", () => {
    const graph = everyOperator();
    expect(encodeOnnx(graph)).toEqual(encodeOnnx(everyOperator()));
    const batchOf = (options: ExportOptions) =>
      parseOnnx(encodeOnnx(graph, options), "x").notes.batch;
    expect(batchOf({})).toBe("N");
    expect(batchOf({ batch: "images" })).toBe("images");
    expect(batchOf({ batch: 3 })).toBe(3);
  });

  it("keeps metadata, and gives way where a parameter has a value's name", async () => {
    const graph = createModel("resnet8", { classes: 2, shape: [3, 4, 4] });
    const [first] = graph.nodes;
    const clash = {
      ...graph,
      nodes: graph.nodes.map((node) =>
        node.op === "convolution" && node === first ? { ...node, weight: "bn1" } : node
      ),
      parameters: new Map(
        [...graph.parameters].map(([name, data]) => [name === "conv1.weight" ? "bn1" : name, data]),
      ),
    };
    const { graph: again, notes } = parseOnnx(
      encodeOnnx(clash, { metadata: { labels: "cat,dog" }, version: "1.2" }),
      "x",
    );
    expect(Object.fromEntries(notes.metadata)).toEqual({ labels: "cat,dog" });
    expect(notes.producer).toBe("secateur 1.2");
    expect(again.nodes[0]).toMatchObject({ weight: "bn1.2" });
    expect(await agreement(clash)).toBeLessThan(1e-5);
  });

  it("writes the whole file or none", async () => {
    const folder = mkdtempSync(join(tmpdir(), "secateur-onnx-"));
    try {
      await writeOnnx(join(folder, "a.onnx"), everyOperator());
      expect((await readOnnx(join(folder, "a.onnx"))).graph.nodes).toEqual(everyOperator().nodes);
      await expect(writeOnnx(join(folder, "none", "a.onnx"), everyOperator()))
        .rejects.toMatchObject({ code: "file-unwritable" });
      expect(readdirSync(folder)).toEqual(["a.onnx"]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("refuses what it cannot write", () => {
    const graph = everyOperator();
    const code = (options: ExportOptions, of = graph) => {
      try {
        encodeOnnx(of, options);
        return "none";
      } catch (thrown) {
        return (thrown as { code: string }).code;
      }
    };
    expect(code({ opset: 12 })).toBe("option-invalid");
    expect(code({ opset: 29 })).toBe("option-invalid");
    expect(code({ batch: 0 })).toBe("option-invalid");
    const huge = { shape: [2 ** 15, 2 ** 14], data: new Float32Array(0) };
    expect(code({}, { ...graph, parameters: new Map([["linear.weight", huge]]) }))
      .toBe("graph-unsupported");
  });
});
