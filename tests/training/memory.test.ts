import process from "node:process";
import { describe, expect, it } from "vitest";
import { GraphBuilder } from "../../src/models/builder.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import { batchOf } from "../../src/data/batches/batches.ts";
import { normalisations } from "../../src/data/dataset.ts";
import { smallPictures } from "../support/pictures/small.ts";

const IMAGES = 4;
const MEGABYTE = 2 ** 20;

function tinyNetwork() {
  const builder = new GraphBuilder("tiny", [3, 8, 8], 1);
  let value = builder.convolution("conv", builder.input, { out: 4, kernel: 3, padding: 1 });
  value = builder.relu("relu", builder.batchNorm("bn", value));
  value = builder.flatten("flatten", builder.globalAveragePool("pool", value));
  return builder.finish(builder.linear("linear", value, 4));
}

describe("ten thousand steps", () => {
  it("leave memory flat", async () => {
    const data = smallPictures(40);
    const batches = Array.from({ length: data.count / IMAGES }, (_, batch) => {
      const indices = Int32Array.from({ length: IMAGES }, (_, i) => batch * IMAGES + i);
      return {
        images: batchOf(data, indices, normalisations.cifar),
        labels: indices.map((index) => data.labels[index]),
      };
    });
    using model = LoadedModel.open(tinyNetwork(), [{
      kind: "step",
      name: "step",
      images: IMAGES,
      loss: { smoothing: 0 },
      optimizer: { kind: "sgd", weightDecay: 0 },
    }], { dtype: "f32", threads: 2 });
    const { feeds, loss } = model.entry("step");
    const held = model.session.memory();
    // Peaks over a while: the garbage collector lets the momentary figure swing.
    let early = 0, late = 0, firstLoss = 0, lastLoss = 0;
    for (let step = 0; step < 10_000; step++) {
      const { images, labels } = batches[step % batches.length];
      const result = await model.run("step", {
        feeds: {
          [feeds.images!]: images,
          [feeds.labels!]: labels,
          [feeds.hyper!]: Float32Array.of(0.01, 0.9),
        },
        fetch: [loss!],
      });
      if (step === 0) firstLoss = result[loss!][0];
      lastLoss = result[loss!][0];
      if (step < 2000 || step % 10 > 0) continue;
      if (step < 4000) early = Math.max(early, process.memoryUsage.rss());
      if (step >= 8000) late = Math.max(late, process.memoryUsage.rss());
    }
    expect(late).toBeGreaterThan(0);
    expect(late - early).toBeLessThan(4 * MEGABYTE);
    expect(model.session.memory()).toEqual(held);
    expect(lastLoss).toBeLessThan(firstLoss);
  });
});
