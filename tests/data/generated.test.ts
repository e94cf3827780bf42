/** The generated data set, and splits of a data set. */

import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { type Dataset, loaded, subset } from "../../src/data/dataset.ts";
import { generateDataset } from "../../src/data/sources/generated.ts";
import { openDataset } from "../../src/data/sources/source.ts";
import { holdOutLastPerClass, stratifiedSample } from "../../src/data/split.ts";

function digest(dataset: Dataset): string {
  return createHash("sha256").update(dataset.pixels).digest("hex").slice(0, 16);
}

function countByClass(dataset: Dataset): number[] {
  const counts = dataset.classes.map(() => 0);
  for (const label of dataset.labels) counts[label]++;
  return counts;
}

describe("the generated data set", () => {
  it("has the promised form and no two equal pictures", async () => {
    const test = await loaded(await openDataset("generated", "test"));
    expect(test).toMatchObject({ count: 2000, height: 32, width: 32, channels: 3 });
    expect(test.classes).toHaveLength(10);
    expect(countByClass(test)).toEqual(new Array(10).fill(200));
    expect(test.pixels.length).toBe(2000 * 3072);
    expect(test.pixels.buffer).toBeInstanceOf(SharedArrayBuffer);
    const digests = new Set<string>();
    for (let i = 0; i < test.count; i++) {
      digests.add(digest(subset(test, Int32Array.of(i), "one")));
    }
    expect(digests.size).toBe(2000);
  });

  it("is the same for a seed always, and another for another seed or split", () => {
    const first = generateDataset("test", { count: 200 });
    // Recorded once; a change means that models trained on the data no longer match it.
    expect(digest(first)).toBe("6554a052fc7aa798");
    expect(digest(generateDataset("test", { count: 200, seed: 2 }))).not.toBe(digest(first));
    expect(digest(generateDataset("train", { count: 200 }))).not.toBe(digest(first));
    const longer = generateDataset("test", { count: 300 });
    expect(digest(subset(longer, Int32Array.from({ length: 200 }, (_, i) => i), "first 200")))
      .toBe(digest(first));
  });

  it("does not show its class by mean colour or contrast", () => {
    const data = generateDataset("train", { count: 4000 });
    const means = data.classes.map(() => [0, 0, 0, 0]);
    for (let i = 0; i < data.count; i++) {
      const sums = [0, 0, 0];
      let squares = 0;
      for (let k = 0; k < 3072; k++) {
        const value = data.pixels[i * 3072 + k];
        sums[k % 3] += value / 1024;
        squares += value * value / 3072;
      }
      const mean = (sums[0] + sums[1] + sums[2]) / 3;
      const row = means[data.labels[i]];
      [...sums, Math.sqrt(squares - mean * mean)].forEach((value, k) => row[k] += value / 400);
    }
    // Between pictures the figures vary by about 45 and 15 levels; means of 400 by 2.3 and 0.8.
    for (const [figure, tolerance] of [[0, 12], [1, 12], [2, 12], [3, 6]]) {
      const values = means.map((row) => row[figure]);
      expect(Math.max(...values) - Math.min(...values)).toBeLessThan(tolerance);
    }
  });

  it("is named by a seed that is a whole number", async () => {
    const named = await loaded(await openDataset("generated:1", "test"));
    expect(digest(named)).toBe(digest(generateDataset("test")));
    for (const spec of ["generated:", "generated:x", "generated:-1", "generated:4294967296"]) {
      await expect(openDataset(spec, "test")).rejects.toMatchObject({ code: "option-invalid" });
    }
    await expect(openDataset("pictures/cats.tar", "test")).rejects.toThrow(
      "imagefolder:pictures/cats.tar",
    );
    await expect(openDataset("mnist:folder", "test")).rejects.toThrow("generated[:SEED]");
    await expect(openDataset("cifar10:", "test")).rejects.toMatchObject({ code: "option-invalid" });
  });
});

describe("splits", () => {
  const data = generateDataset("train", { count: 95 });

  it("holds out the last of every class and keeps the order", () => {
    const { training, heldOut } = holdOutLastPerClass(data, 2);
    expect(countByClass(heldOut)).toEqual(new Array(10).fill(2));
    expect(training.count).toBe(75);
    // The last two pictures of class 9 are 79 and 89, of class 0 they are 80 and 90.
    expect([...heldOut.labels]).toEqual([
      5,
      6,
      7,
      8,
      9,
      0,
      1,
      2,
      3,
      4,
      5,
      6,
      7,
      8,
      9,
      0,
      1,
      2,
      3,
      4,
    ]);
    expect(digest(heldOut)).toBe(
      digest(subset(data, Int32Array.from({ length: 20 }, (_, i) => 75 + i), "last")),
    );
    expect(digest(training)).toBe(
      digest(subset(data, Int32Array.from({ length: 75 }, (_, i) => i), "rest")),
    );
    expect(holdOutLastPerClass(data, 0).heldOut.count).toBe(0);
    expect(() => holdOutLastPerClass(data, 9)).toThrow('"checked disc" has 9');
  });

  it("samples every class in proportion, without repeats, by seed and purpose", () => {
    const sample = stratifiedSample(data, 38, 1, "calibration");
    expect(sample.length).toBe(38);
    expect(new Set(sample).size).toBe(38);
    expect([...sample]).toEqual([...sample].sort((a, b) => a - b));
    // Of 10, 10, 10, 10, 10, 9, 9, 9, 9, 9 pictures two in five are 4 and 3.6 each.
    const counts = countByClass(subset(data, sample, "sample"));
    expect(counts.slice(0, 5)).toEqual([4, 4, 4, 4, 4]);
    for (const count of counts.slice(5)) expect([3, 4]).toContain(count);
    expect(stratifiedSample(data, 38, 1, "calibration")).toEqual(sample);
    expect(stratifiedSample(data, 38, 2, "calibration")).not.toEqual(sample);
    expect(stratifiedSample(data, 38, 1, "rank")).not.toEqual(sample);
    expect(stratifiedSample(data, 95, 1, "all")).toEqual(
      Int32Array.from({ length: 95 }, (_, i) => i),
    );
    expect(() => stratifiedSample(data, 96, 1, "more")).toThrow("between 1 and 95");
  });
});
