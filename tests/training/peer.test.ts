// Ten steps of ResNet-20 against PyTorch: the fixture is made by bench/peers/resnet_losses.py.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { calibrationBatches } from "../../src/data/batches/calibration.ts";
import { readCifar10 } from "../../src/data/sources/cifar.ts";
import { normalisations } from "../../src/data/dataset.ts";
import { readWeights } from "../../src/formats/checkpoint.ts";
import { bindWeights } from "../../src/models/bind.ts";
import { createModel } from "../../src/models/models.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import type { EntryRequest } from "../../src/program/compile.ts";
import type { Precision } from "../../src/program/precision.ts";
import { dataFolder } from "../support/data.ts";

const losses = z.object({ losses: z.array(z.number()).length(10), after: z.number() });
const fixture = z.object({
  batch: z.number(),
  learningRate: z.number(),
  momentum: z.number(),
  weightDecay: z.number(),
  f32: losses,
  f64: losses,
});

const data = dataFolder();
const expected = fixture.parse(JSON.parse(
  readFileSync(new URL("../fixtures/training/resnet20_losses.json", import.meta.url), "utf8"),
));

const mean = (values: Float32Array) => values.reduce((sum, x) => sum + x, 0) / values.length;

/** Mean loss of each step, then the loss of the last batch with running statistics. */
async function follow(folder: string, dtype: Precision): Promise<number[]> {
  const weights = await readWeights(join(folder, "weights", "resnet20-12fca82f.th"));
  const graph = bindWeights(createModel("resnet20", { classes: 10 }), weights, "resnet20");
  const pictures = await readCifar10(join(folder, "cifar10-lossless-slice"), "train");
  const { batch, learningRate, momentum, weightDecay } = expected;
  const requests: EntryRequest[] = [
    {
      kind: "step",
      name: "step",
      images: batch,
      loss: { smoothing: 0 },
      optimizer: { kind: "sgd", weightDecay, decayNormAndBias: true },
    },
    { kind: "forward", name: "after", images: batch, loss: { smoothing: 0 } },
  ];
  using model = LoadedModel.open(graph, requests, { dtype });
  const run = async (name: string, images: Float32Array, labels: Int32Array) => {
    const { feeds, loss } = model.entry(name);
    const hyper = feeds.hyper ? { [feeds.hyper]: Float32Array.of(learningRate, momentum) } : {};
    const result = await model.run(name, {
      feeds: { [feeds.images!]: images, [feeds.labels!]: labels, ...hyper },
      fetch: [loss!],
    });
    return mean(result[loss!] as Float32Array);
  };
  const batches = calibrationBatches(pictures, batch, normalisations.imagenet).slice(0, 10);
  const found: number[] = [];
  for (const { images, labels } of batches) found.push(await run("step", images, labels));
  const last = batches[batches.length - 1];
  return [...found, await run("after", last.images, last.labels)];
}

describe("training beside PyTorch", () => {
  it.skipIf(data === undefined)("follows ten steps of ResNet-20 to 1e-4 in f32", async () => {
    const found = await follow(data!, "f32");
    expected.f32.losses.forEach((loss, step) => {
      expect(Math.abs(found[step] / loss - 1), `step ${step + 1}`).toBeLessThan(1e-4);
    });
    // A few pictures make up what is left of this loss, so that it magnifies rounding.
    expect(Math.abs(found[10] / expected.f32.after - 1)).toBeLessThan(1e-3);
  });

  it.skipIf(data === undefined)(
    "follows them in f32-fast until they magnify rounding",
    async () => {
      const found = await follow(data!, "f32-fast");
      // At this learning rate a step multiplies what was there by up to fifty: measured are 2e-6 in
      // the first four and 1.2e-3 at the last, where bf16 is off by 8e-3 at once.
      expected.f32.losses.forEach((loss, step) => {
        const most = step < 4 ? 1e-5 : 5e-3;
        expect(Math.abs(found[step] / loss - 1), `step ${step + 1}`).toBeLessThan(most);
      });
      expect(Math.abs(found[10] / expected.f32.after - 1)).toBeLessThan(1e-2);
    },
  );

  it("has a fixture in which rounding alone stays below that", () => {
    expected.f32.losses.forEach((loss, step) => {
      expect(Math.abs(loss / expected.f64.losses[step] - 1)).toBeLessThan(6e-5);
    });
    expect(Math.max(...expected.f32.losses)).toBeGreaterThan(
      2 * Math.min(...expected.f32.losses),
    );
  });
});
