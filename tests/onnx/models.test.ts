/** Whole networks as exporters write them: the same logits as the checkpoints they came from. */

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { normalisations } from "../../src/data/dataset.ts";
import { SecateurError } from "../../src/errors.ts";
import { readWeights } from "../../src/formats/checkpoint.ts";
import { encodeOnnx } from "../../src/formats/onnx/export/export.ts";
import { parseOnnx, readOnnx } from "../../src/formats/onnx/read/read.ts";
import { prunableGroups } from "../../src/graph/channels.ts";
import { costOf } from "../../src/graph/cost.ts";
import { cutGraph } from "../../src/graph/cut.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { bindWeights } from "../../src/models/bind.ts";
import { GraphBuilder } from "../../src/models/builder.ts";
import { createModel } from "../../src/models/models.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import { writeCheckedOnnx } from "../../src/pruning/export.ts";
import { RandomStream } from "../../src/random.ts";
import { reestimate } from "../../src/surgery/reestimate.ts";
import { dataFolder } from "../support/data.ts";
import { randomImages, toNhwc } from "../support/interpreted.ts";
import { largestDifference, runOnnx, sameParameters } from "../support/onnx/files.ts";
import { smallPictures } from "../support/pictures/small.ts";

const data = dataFolder();
const IMAGES = 8;

interface Exported {
  readonly file: string;
  readonly model: string;
  readonly weights: string;
  readonly folded: number;
}

const EXPORTED: readonly Exported[] = [
  {
    file: "resnet20-folded-op17",
    model: "resnet20",
    weights: "resnet20-12fca82f.th",
    folded: 19,
  },
  { file: "resnet56-bn-op17", model: "resnet56", weights: "resnet56-4bfd9763.th", folded: 0 },
  { file: "resnet20-dynamo", model: "resnet20", weights: "resnet20-12fca82f.th", folded: 19 },
];

async function checkpoint({ model, weights }: Exported): Promise<Graph> {
  const path = join(data!, "weights", weights);
  return bindWeights(createModel(model, { classes: 10 }), await readWeights(path), path);
}

async function logitsOf(graph: Graph, images: readonly Float64Array[]): Promise<Float32Array> {
  const request = { kind: "forward", name: "forward", images: images.length } as const;
  using model = LoadedModel.open(graph, [request], { dtype: "f32" });
  const { feeds, logits } = model.entry("forward");
  const pictures = Float32Array.from(toNhwc(images, graph.input.shape));
  const results = await model.run("forward", {
    feeds: { [feeds.images!]: pictures },
    fetch: [logits!],
  });
  return results[logits!] as Float32Array;
}

/** Every third channel of every group removed. */
function pruned(graph: Graph): Graph {
  return cutGraph(
    graph,
    prunableGroups(graph, "all").map((group) => ({
      group,
      removed: group.players.map((_, player) => player).filter((player) => player % 3 === 0),
    })),
  );
}

describe("checked export", () => {
  it("writes what onnxruntime and the engine agree on, and nothing else", async () => {
    const folder = mkdtempSync(join(tmpdir(), "secateur-onnx-"));
    try {
      const graph = pruned(createModel("resnet8", { classes: 3, shape: [3, 8, 8] }));
      const path = join(folder, "pruned.onnx");
      const { difference, tolerance } = await writeCheckedOnnx(path, graph, { opset: 18 });
      expect(difference).toBeLessThan(tolerance);
      expect((await readOnnx(path)).notes).toMatchObject({ opset: 18, batch: "N" });
      const broken = new Map(graph.parameters);
      const [name, { shape, data }] = [...broken].find(([each]) => each === "linear.bias")!;
      broken.set(name, { shape, data: Float32Array.from(data).fill(NaN) });
      await expect(writeCheckedOnnx(join(folder, "b.onnx"), { ...graph, parameters: broken }))
        .rejects.toBeInstanceOf(SecateurError);
      expect(readdirSync(folder)).toEqual(["pruned.onnx"]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe("a network without batch norm", () => {
  it("has nothing to re-estimate", async () => {
    const builder = new GraphBuilder("plain", [3, 8, 8]);
    const value = builder.convolution("conv", builder.input, { out: 4, kernel: 3, bias: true });
    const pooled = builder.globalAveragePool("pool", builder.relu("relu", value));
    const graph = builder.finish(builder.linear("linear", builder.flatten("flat", pooled), 4));
    const imported = parseOnnx(encodeOnnx(graph), "plain.onnx");
    // The bias bears the name of the convolution's own, so no batch norm was folded.
    expect(imported.notes.foldedBatchNorm).toEqual([]);
    const options = { normalisation: normalisations.imagenet, dtype: "f32" } as const;
    expect(await reestimate(imported.graph, smallPictures(16), options)).toBe(imported.graph);
  });
});

describe.skipIf(data === undefined)("exported networks", () => {
  it.each(EXPORTED)("$file gives the checkpoint's logits", async (exported) => {
    const { graph, notes } = await readOnnx(
      join(data!, "onnx-models", `${exported.file}.onnx`),
    );
    const original = await checkpoint(exported);
    const images = randomImages(graph, IMAGES, new RandomStream(1, exported.file));
    const expected = await logitsOf(original, images);
    expect(Math.max(...expected)).toBeGreaterThan(1); // else agreement would prove little
    expect(largestDifference(await logitsOf(graph, images), expected)).toBeLessThan(1e-4);
    expect(notes.foldedBatchNorm.length).toBe(exported.folded);
    expect(notes.batch).toBe("N");
    expect(costOf(graph).macs).toBe(costOf(original).macs);
  });

  it.each(EXPORTED)("$file can be pruned and exported again", async ({ file }) => {
    const { graph } = await readOnnx(join(data!, "onnx-models", `${file}.onnx`));
    const groups = prunableGroups(graph, "all");
    expect(groups.length).toBeGreaterThan(file.startsWith("resnet56") ? 27 : 9);
    const cut = pruned(graph);
    expect(costOf(cut).macs).toBeLessThan(0.6 * costOf(graph).macs);
    const written = encodeOnnx(cut);
    expect(parseOnnx(written, `${file}.onnx`).graph.nodes).toEqual(cut.nodes);
    const images = randomImages(cut, 2, new RandomStream(4, file));
    const theirs = await runOnnx(written, images, cut.input.shape);
    expect(largestDifference(await logitsOf(cut, images), theirs)).toBeLessThan(1e-4);
  });

  it("keeps the checkpoint's names where the exporter kept them", async () => {
    const { graph } = await readOnnx(join(data!, "onnx-models", "resnet56-bn-op17.onnx"));
    const original = await checkpoint(EXPORTED[1]);
    expect(new Set(graph.parameters.keys())).toEqual(new Set(original.parameters.keys()));
    expect(graph.nodes.map(({ op }) => op).filter((op) => op !== "average_pool"))
      .toEqual(original.nodes.map(({ op }) => op).filter((op) => op !== "global_average_pool"));
    const norm = graph.nodes.find(({ op }) => op === "batch_norm");
    expect(norm).toMatchObject({ momentum: 0.1, epsilon: 1e-5 });
  });

  it.each(EXPORTED)("$file reads back after export and runs in onnxruntime", async ({ file }) => {
    const path = join(data!, "onnx-models", `${file}.onnx`);
    const { graph } = await readOnnx(path);
    const written = encodeOnnx(graph);
    const again = parseOnnx(written, `${file}.onnx`).graph;
    expect(again.nodes).toEqual(graph.nodes);
    expect(sameParameters(again, graph)).toBe(true);
    const images = randomImages(graph, 3, new RandomStream(2, file));
    const [theirs, ours] = [
      await runOnnx(path, images, graph.input.shape),
      await runOnnx(written, images, graph.input.shape),
    ];
    expect(largestDifference(ours, theirs)).toBeLessThan(1e-4);
    expect(largestDifference(await logitsOf(graph, images), ours)).toBeLessThan(1e-4);
  });
});
