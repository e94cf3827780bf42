import { describe, expect, it } from "vitest";
import { solveShares } from "../../src/ratios/shares.ts";
import { allocatePixels, type Dataset, normalisations } from "../../src/data/dataset.ts";
import { encodeOnnx } from "../../src/formats/onnx/export/export.ts";
import { runInOnnxRuntime } from "../../src/formats/onnx/runtime.ts";
import { prunableGroups } from "../../src/graph/channels.ts";
import { costOf } from "../../src/graph/cost.ts";
import { cutGraph } from "../../src/graph/cut.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { RandomStream } from "../../src/random.ts";
import { checkCut } from "../../src/surgery/check.ts";
import { train } from "../../src/training/train.ts";
import {
  engineLogits,
  readReferences,
  referenceModel,
  referencePictures,
  relativeDifference,
} from "../support/model_reference.ts";

/** One of each kind; deeper and wider ones of the same kind cut alike. */
const FAMILIES = [
  ...["resnet18", "resnet50", "vgg16_bn", "densenet40", "densenet121", "googlenet", "mobilenet_v2"],
  ...["mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x0_5"],
];

/** Seconds on an idle machine, for the largest. */
const TIMEOUT_MS = 300_000;

const { forward } = await readReferences();

/** Half the FLOPs less, the same share of every group, the first channels of each staying. */
function halved(graph: Graph) {
  const groups = prunableGroups(graph, "all");
  const ratios = solveShares(graph, groups, groups.map(() => 1), {
    budget: { kind: "flops", cut: 0.5 },
  });
  const removals = groups.map((group, index) => ({
    group,
    removed: group.players.map((_, player) => player).slice(ratios.kept[index]),
  }));
  return { ratios, removals, cut: cutGraph(graph, removals) };
}

/** Four pictures of noise, each a class of its own. */
function noise(size: number, classes: number): Dataset {
  const random = new RandomStream(1, "noise");
  const name = "noise", count = 4;
  const pixels = allocatePixels(count, size, size, name);
  pixels.forEach((_, i) => pixels[i] = random.integer(256));
  return {
    ...{ name, count, height: size, width: size, channels: 3, pixels },
    labels: Int32Array.from({ length: count }, (_, i) => i),
    classes: Array.from({ length: classes }, (_, i) => `class ${i}`),
  };
}

/** Losses of the steps of a short training. */
async function losses(graph: Graph, data: Dataset): Promise<number[]> {
  const { history } = await train(graph, {
    data,
    normalisation: normalisations.imagenet,
    epochs: 5,
    batch: data.count,
    learningRate: 0.005,
    optimizer: { kind: "sgd", weightDecay: 0 },
    augment: false,
    seed: 1,
    dtype: "f32",
  });
  return history.map(({ loss }) => loss);
}

describe("families of models", () => {
  it.each(FAMILIES)("%s loses half its FLOPs, runs in onnxruntime and learns", async (name) => {
    const reference = forward.find(({ model }) => model === name)!;
    const graph = referenceModel(reference);
    const pictures = referencePictures(reference.size);
    const { ratios, removals, cut } = halved(graph);
    expect(costOf(cut).macs).toBe(ratios.reached);
    expect(ratios.allowed - ratios.reached).toBeGreaterThanOrEqual(0);
    expect(ratios.allowed - ratios.reached).toBeLessThan(ratios.step);
    const { error, scale, tolerance } = await checkCut(graph, cut, removals, pictures);
    expect(error).toBeLessThanOrEqual(tolerance * scale);
    for (const each of [graph, cut]) {
      const ours = await engineLogits(each, pictures.images);
      const theirs = await runInOnnxRuntime(encodeOnnx(each), pictures.images, each.input.shape);
      expect(relativeDifference(ours, theirs)).toBeLessThan(1e-4);
    }
    const learning = await losses(cut, noise(reference.size, reference.classes));
    expect(learning.at(-1)).toBeLessThan(0.9 * learning[0]);
  }, TIMEOUT_MS);
});
