import { describe, expect, it } from "vitest";
import { solveRatios } from "../src/concentration/ratios.ts";
import { encodeOnnx } from "../src/formats/onnx/export.ts";
import { runInOnnxRuntime } from "../src/formats/onnx/runtime.ts";
import { prunableGroups } from "../src/graph/channels.ts";
import { costOf } from "../src/graph/cost.ts";
import { cutGraph } from "../src/graph/cut.ts";
import type { Graph } from "../src/graph/graph.ts";
import { checkCut } from "../src/surgery/check.ts";
import {
  engineLogits,
  readReferences,
  referenceModel,
  referencePictures,
  relativeDifference,
} from "./support/model_reference.ts";

/** One of each kind; deeper and wider ones of the same kind cut alike. */
const FAMILIES = [
  ...["resnet18", "resnet50", "vgg16_bn", "densenet40", "densenet121", "googlenet", "mobilenet_v2"],
  ...["mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x0_5"],
];

const { forward } = await readReferences();

/** Half the FLOPs less, the same share of every group, the first channels of each staying. */
function halved(graph: Graph) {
  const groups = prunableGroups(graph, "all");
  const ratios = solveRatios(graph, groups, groups.map(() => 1), {
    budget: { kind: "flops", cut: 0.5 },
  });
  const removals = groups.map((group, index) => ({
    group,
    removed: group.players.map((_, player) => player).slice(ratios.kept[index]),
  }));
  return { ratios, removals, cut: cutGraph(graph, removals) };
}

describe("families of models", () => {
  it.each(FAMILIES)("%s loses half its FLOPs and runs in onnxruntime", async (name) => {
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
  });
});
