import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readCifar10 } from "../../src/data/sources/cifar.ts";
import { type Dataset, normalisations } from "../../src/data/dataset.ts";
import { generateDataset } from "../../src/data/sources/generated.ts";
import { readWeights } from "../../src/formats/checkpoint.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { bindWeights } from "../../src/models/bind.ts";
import { createModel } from "../../src/models/models.ts";
import { cifarResNet } from "../../src/models/resnet.ts";
import type { Progress } from "../../src/progress.ts";
import { evaluate, rankOfLabel } from "../../src/training/evaluate.ts";
import { evaluateGraph } from "../oracle/graph.ts";
import { dataFolder } from "../support/data.ts";
import { planesOf } from "../support/pictures/planes.ts";
import { smallNetwork, smallPictures } from "../support/pictures/small.ts";

const normalisation = normalisations.cifar;

/** Ten classes on pictures of 8 x 8, so that top-5 says more than top-1. */
function pictures(count: number): { graph: Graph; dataset: Dataset } {
  const small = smallPictures(count);
  const classes = Array.from({ length: 10 }, (_, i) => `class ${i}`);
  const labels = small.labels.map((_, i) => (i * 7) % 10);
  const graph = cifarResNet({ depth: 8, width: 4, classes: 10, shape: [3, 8, 8], seed: 2 });
  return { graph, dataset: { ...small, labels, classes } };
}

/** The same figures from the f64 oracle and plain sorting. */
function expectedOf(graph: Graph, dataset: Dataset) {
  const { labels, count } = dataset;
  let loss = 0, top1 = 0, top5 = 0;
  for (let image = 0; image < count; image++) {
    const planes = planesOf(dataset, image, normalisation);
    const logits = evaluateGraph(graph, planes).get(graph.outputs[0])!;
    loss += Math.log(logits.reduce((sum, x) => sum + Math.exp(x), 0)) - logits[labels[image]];
    const order = [...logits.keys()].sort((a, b) => logits[b] - logits[a]);
    if (order[0] === labels[image]) top1++;
    if (order.slice(0, 5).includes(labels[image])) top5++;
  }
  return { loss: loss / count, top1: top1 / count, top5: top5 / count };
}

describe("evaluation", () => {
  it("gives the loss, top-1 and top-5 of a plain computation", async () => {
    const { graph, dataset } = pictures(40);
    const expected = expectedOf(graph, dataset);
    expect(expected.top1).toBeGreaterThan(0);
    expect(expected.top5).toBeGreaterThan(expected.top1);
    for (const engine of ["portable", "automatic"] as const) {
      const found = await evaluate(graph, dataset, { normalisation, dtype: "f32", engine });
      expect(found.loss).toBeCloseTo(expected.loss, 5);
      expect(found).toMatchObject({ top1: expected.top1, top5: expected.top5, total: 40 });
      expect(found).toMatchObject({ correct: expected.top1 * 40, device: "cpu", dtype: "f32" });
    }
  });

  it("does not count the pictures that fill up the last batch", async () => {
    const { graph, dataset } = pictures(40);
    const options = { normalisation, dtype: "f32", slice: 1 } as const;
    const reports: Progress[] = [];
    const exact = await evaluate(graph, dataset, { ...options, batch: 8 });
    const padded = await evaluate(graph, dataset, {
      ...options,
      batch: 16,
      stage: "test set",
      onProgress: (progress) => reports.push(progress),
    });
    expect({ ...padded, seconds: 0 }).toEqual({ ...exact, seconds: 0 });
    expect(reports.map(({ done }) => done)).toEqual([16, 32, 40]);
    expect(reports[2]).toMatchObject({ stage: "test set", total: 40, unit: "images" });
    const fewer = await evaluate(graph, dataset, { ...options, batch: 1000 });
    expect(fewer.loss).toBeCloseTo(exact.loss, 10);
  });

  it("ranks equal logits by class, and NaN against the label", () => {
    const logits = Float32Array.of(9, 9, 1, 2, 2, 1, NaN, 3);
    expect([0, 1, 2, 3].map((label) => rankOfLabel(logits, 2, 4, label))).toEqual([2, 0, 1, 3]);
    expect([0, 1].map((label) => rankOfLabel(logits, 6, 2, label))).toEqual([1, 1]);
  });

  it("refuses weights and losses that are not finite", async () => {
    const { graph, dataset } = pictures(8);
    const withWeights = (change: (x: number) => number) => {
      const weight = graph.parameters.get("linear.weight")!;
      const parameters = new Map(graph.parameters)
        .set("linear.weight", { ...weight, data: weight.data.map(change) });
      return evaluate({ ...graph, parameters }, dataset, { normalisation });
    };
    const overflowing = withWeights((x) => x > 0 ? 3e38 : -3e38);
    await expect(overflowing).rejects.toMatchObject({ code: "numeric-failure" });
    await expect(overflowing).rejects.toThrow("The loss of resnet8 on small pictures 1 is NaN");
    await expect(withWeights(() => NaN)).rejects.toThrow(
      "Expected finite weights, but linear.weight of resnet8 holds NaN at position 0",
    );
  });

  it("stops when asked", async () => {
    const { graph, dataset } = pictures(8);
    const stopped = evaluate(graph, dataset, { normalisation, signal: AbortSignal.abort() });
    await expect(stopped).rejects.toMatchObject({ code: "cancelled" });
  });

  it("names both sides when pictures or classes do not fit", async () => {
    const generated = generateDataset("test", { count: 10 });
    await expect(evaluate(smallNetwork(), generated, { normalisation })).rejects.toThrow(
      "resnet8 takes pictures of 8x8, but those of generated test are 32x32: give --resize 8 --crop 8.",
    );
    const graph = createModel("resnet8", { classes: 7 });
    const refused = evaluate(graph, generated, { normalisation });
    await expect(refused).rejects.toMatchObject({ code: "data-mismatch" });
    await expect(refused).rejects.toThrow(
      "resnet8 tells 7 classes apart, but generated test has pictures of 10: give the pictures it " +
        "was trained for",
    );
  });
});

const data = dataFolder();

/** A published checkpoint and the lossless test pictures. */
async function published(name: string, file: string) {
  const weights = await readWeights(join(data!, "weights", file));
  const graph = bindWeights(createModel(name, { classes: 10 }), weights, file);
  const dataset = await readCifar10(join(data!, "cifar10-lossless-slice"), "test");
  return { graph, dataset };
}

describe.skipIf(data === undefined)("published checkpoints on the lossless test slice", () => {
  for (
    const [name, file, right] of [
      ["resnet20", "resnet20-12fca82f.th", 934],
      ["resnet56", "resnet56-4bfd9763.th", 944],
    ] as const
  ) {
    it(`${name} has ${right} of 1,017 right within 3, in f32`, async () => {
      const { graph, dataset } = await published(name, file);
      const found = await evaluate(graph, dataset, {
        normalisation: normalisations.imagenet,
        dtype: "f32",
      });
      expect(found.total).toBe(1017);
      expect(Math.abs(found.correct - right)).toBeLessThanOrEqual(3);
      expect(found.top5).toBeGreaterThan(0.99);
    });
  }

  it("resnet56 has 944 right within 3 in bf16, near the loss of f32", async () => {
    const { graph, dataset } = await published("resnet56", "resnet56-4bfd9763.th");
    const options = { normalisation: normalisations.imagenet, batch: 64 };
    const bf16 = await evaluate(graph, dataset, { ...options, dtype: "bf16" });
    const f32 = await evaluate(graph, dataset, { ...options, dtype: "f32" });
    expect(bf16.dtype).toBe("bf16");
    expect(Math.abs(bf16.correct - 944)).toBeLessThanOrEqual(3);
    expect(Math.abs(bf16.loss - f32.loss)).toBeLessThan(0.005);
    expect(bf16.loss).not.toBe(f32.loss);
  });
});
