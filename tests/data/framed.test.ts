/** Pictures that come in one size, brought to another, and what is said where that cannot be. */

import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { BatchStream } from "../../src/data/batches/batches.ts";
import { isLoaded, loaded, normalisations, type PictureSet } from "../../src/data/dataset.ts";
import { centredView, randomView } from "../../src/data/pictures/geometry.ts";
import { viewOf } from "../../src/data/pictures/resample.ts";
import { generateDataset } from "../../src/data/sources/generated.ts";
import { openDataset } from "../../src/data/sources/source.ts";
import { holdOutLastPerClass } from "../../src/data/split.ts";
import { createModel } from "../../src/models/models.ts";
import { evaluate } from "../../src/training/evaluate.ts";
import { ownFolder, sha256 } from "../support/pictures/files.ts";
import { writeSmallCifar } from "../support/small_data.ts";

const folder = ownFolder();
const whole = generateDataset("test");
const size = 32 * 32 * 3;
const pictureAt = (index: number) => ({
  width: 32,
  height: 32,
  pixels: whole.pixels.subarray(index * size, (index + 1) * size),
});

describe("ready-made pictures", () => {
  it("are limited, scaled and cropped as pictures in files are", async () => {
    const framing = { resize: 24, crop: 20 };
    const set = await openDataset("generated", "test", { ...framing, limitPerClass: 3 });
    if (!isLoaded(set)) throw new Error("small pictures are held");
    expect([set.count, set.height, set.width]).toEqual([30, 20, 20]);
    const counts = set.classes.map((_, label) => set.labels.filter((own) => own === label).length);
    expect(counts).toEqual(counts.map(() => 3));
    const first = whole.labels.indexOf(set.labels[0]);
    expect(set.pixels.subarray(0, 1200))
      .toEqual(viewOf(pictureAt(first), centredView(pictureAt(first), framing)!));
    const unchanged = await openDataset("generated", "test", { resize: 32, crop: 32 });
    expect(isLoaded(unchanged) && sha256(unchanged.pixels)).toBe(sha256(whole.pixels));
  });

  it("of 64 pixels and more are made when needed, with a random part of each for training", async () => {
    const set = await openDataset("generated", "test", { resize: 72, crop: 64, limitPerClass: 1 });
    expect([isLoaded(set), set.count, set.height, set.width]).toEqual([false, 10, 64, 64]);
    const held = await loaded(set);
    const index = whole.labels.indexOf(held.labels[3]);
    const view = centredView(pictureAt(index), { resize: 72, crop: 64 })!;
    expect(held.pixels.subarray(3 * 64 * 64 * 3, 4 * 64 * 64 * 3))
      .toEqual(viewOf(pictureAt(index), view));
    const normalisation = { mean: [0, 0, 0], std: [1, 1, 1] } as const;
    const stream = new BatchStream(set, { batchSize: 10, seed: 8, augment: true, normalisation });
    try {
      for await (const { images, indices } of stream.epoch(2)) {
        const place = whole.labels.indexOf(set.labels[indices[0]]);
        const drawn = randomView(pictureAt(place), { width: 64, height: 64 }, 8, 2, indices[0]);
        const pixels = viewOf(pictureAt(place), drawn);
        expect(images.subarray(0, pixels.length))
          .toEqual(Float32Array.from(pixels, (byte) => Math.fround(byte / 255)));
      }
    } finally {
      await stream.close();
    }
    const other = await openDataset("generated", "test", { crop: 64, resize: 80 });
    expect(!isLoaded(other) && !isLoaded(set) && other.source.identity !== set.source.identity)
      .toBe(true);
  });

  it("that are smaller than a crop get advice that works", async () => {
    await expect(openDataset("generated", "test", { crop: 40 })).rejects.toThrow(
      /generated test, which are 32x32, got 40; give --resize 40/,
    );
    expect((await openDataset("generated", "test", { resize: 40, crop: 40 })).width).toBe(40);
  });
});

describe("advice about sizes", () => {
  it("is followed by a model of 64 pixels, whatever the data", async () => {
    writeSmallCifar(join(folder, "cifar"), 20, 10);
    const graph = createModel("resnet8", { classes: 10, shape: [3, 64, 64] });
    const tried = (set: PictureSet) =>
      evaluate(graph, set, { normalisation: normalisations.cifar, batch: 10 });
    for (const spec of ["generated", `cifar10:${join(folder, "cifar")}`]) {
      const refusal = await tried(await openDataset(spec, "test", { limitPerClass: 1 }))
        .catch((error: Error) => error.message);
      const [, resize, crop] = /give --resize (\d+) --crop (\d+)\.$/.exec(String(refusal)) ?? [];
      const framing = { resize: Number(resize), crop: Number(crop), limitPerClass: 1 };
      const found = await tried(await openDataset(spec, "test", framing));
      expect(found.total).toBeGreaterThan(0);
    }
  });

  it("names squares alone as crops", async () => {
    const graph = createModel("resnet8", { classes: 10, shape: [3, 16, 32] });
    await expect(evaluate(graph, whole, { normalisation: normalisations.cifar })).rejects.toThrow(
      /takes pictures of 32x16, .*32x32: --crop takes squares/,
    );
  });
});

describe("parts of a data set", () => {
  it("have names that read well in sentences, and classes too small are named with a way out", () => {
    const { training, heldOut } = holdOutLastPerClass(whole, 1);
    expect([training.name, heldOut.name]).toEqual([
      "generated test (kept)",
      "generated test (held out)",
    ]);
    expect(() => holdOutLastPerClass(whole, 5000)).toThrow(/has \d+: give --hold-out \d+ or less/);
  });
});
