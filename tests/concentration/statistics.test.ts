import { describe, expect, it } from "vitest";
import { responseEntropy } from "../../src/concentration/entropy.ts";
import { measureSites } from "../../src/concentration/statistics.ts";
import { allocatePixels, type Dataset, normalisations } from "../../src/data/dataset.ts";
import { prunableGroups } from "../../src/graph/channels.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { shapesOf } from "../../src/graph/shapes.ts";
import { GraphBuilder } from "../../src/models/builder.ts";
import type { Progress } from "../../src/progress.ts";
import { evaluateGraph } from "../oracle/graph.ts";
import { randomGraph } from "../support/graphs/random.ts";
import { planesOf } from "../support/pictures/planes.ts";
import { smallNetwork, smallPictures } from "../support/pictures/small.ts";

const HEIGHT = 8, WIDTH = 12;
const PLAIN = { mean: [0, 0, 0], std: [1, 1, 1] } as const;

/** Pictures of 8 x 12 from the byte of every image, channel, row and column. */
function picturesOf(
  count: number,
  byte: (image: number, channel: number, row: number, column: number) => number,
): Dataset {
  const pixels = allocatePixels(count, HEIGHT, WIDTH, "drawn");
  for (let i = 0; i < pixels.length; i++) {
    const cell = Math.floor(i / 3) % (HEIGHT * WIDTH);
    const image = Math.floor(i / (3 * HEIGHT * WIDTH));
    pixels[i] = byte(image, i % 3, Math.floor(cell / WIDTH), cell % WIDTH);
  }
  return {
    name: "drawn",
    height: HEIGHT,
    width: WIDTH,
    channels: 3,
    count,
    pixels,
    labels: new Int32Array(count),
    classes: ["only"],
  };
}

/** Red, green and blue as they are, then as the response of a 1 x 1 map. */
function identityNetwork(): Graph {
  const builder = new GraphBuilder("identity", [3, HEIGHT, WIDTH], 1);
  const copied = builder.convolution("copy", builder.input, { out: 3, kernel: 1 });
  const pooled = builder.globalAveragePool("pool", builder.relu("relu", copied));
  const small = builder.convolution("small", pooled, { out: 5, kernel: 1 });
  const graph = builder.finish(builder.linear("linear", builder.flatten("flatten", small), 2));
  const identity = Float32Array.of(1, 0, 0, 0, 1, 0, 0, 0, 1);
  const parameters = new Map(graph.parameters)
    .set("copy.weight", { shape: [3, 3, 1, 1], data: identity });
  return { ...graph, parameters };
}

async function measure(dataset: Dataset, options: { rankImages?: number; batch?: number } = {}) {
  const graph = identityNetwork();
  const groups = prunableGroups(graph, "all");
  const sites = await measureSites(graph, groups, dataset, { ...options, normalisation: PLAIN });
  expect(sites.map(({ value }) => value)).toEqual(["relu", "small"]);
  return sites;
}

describe("the statistics of a site", () => {
  it("are the known ranks of pictures, relative to the smaller side", async () => {
    // As many bright cells on the diagonal as the map's rank: 0 to 7, 1 and 8.
    const diagonal = picturesOf(16, (image, channel, row, column) => {
      const rank = [image % 8, 1, 8][channel];
      return row === column && row < rank ? 200 : 0;
    });
    const [site, small] = await measure(diagonal);
    expect(site.rank).toBeCloseTo((3.5 + 1 + 8) / 3 / 8, 12);
    expect(small.rank).toBeUndefined();
    expect(small.entropy).toBeGreaterThan(0);
  });

  it("take the rank from the first pictures alone", async () => {
    const dataset = picturesOf(
      40,
      (image, _, row, column) => row === column && row < (image < 8 ? 2 : 6) ? 255 : 0,
    );
    const [first] = await measure(dataset, { rankImages: 8, batch: 8 });
    expect(first.rank).toBeCloseTo(2 / 8, 12);
    const [all] = await measure(dataset, { rankImages: 40, batch: 8 });
    expect(all.rank).toBeCloseTo((2 * 8 + 6 * 32) / 40 / 8, 12);
  });

  it("are the known entropies of responses", async () => {
    // 32 levels evenly, one level, and two levels evenly.
    const levels = picturesOf(
      64,
      (image, channel) => [4 + 8 * (image % 32), 70, image < 32 ? 10 : 20][channel],
    );
    const reports: Progress[] = [];
    const graph = identityNetwork();
    const [site] = await measureSites(graph, prunableGroups(graph, "all"), levels, {
      normalisation: PLAIN,
      batch: 16,
      onProgress: (progress) => reports.push(progress),
    });
    expect(site.entropy).toBeCloseTo((1 + 0 + 1 / 5) / 3, 12);
    expect(site.rank).toBeCloseTo(1 / 8, 12);
    expect(reports.map(({ done }) => done)).toEqual([16, 32, 48, 64]);
    expect(reports[0]).toMatchObject({ stage: "statistics", total: 64, unit: "images" });
    const [constant] = await measureSites(graph, prunableGroups(graph, "all"), levels, {
      normalisation: PLAIN,
      entropyImages: 1,
    });
    expect(constant.entropy).toBe(0);
  });

  it("lie in [0, 1] on random graphs, entropies as from the f64 oracle's responses", async () => {
    const dataset = smallPictures(48);
    const normalisation = normalisations.cifar;
    for (let seed = 0; seed < 6; seed++) {
      const graph = randomGraph(seed);
      const groups = prunableGroups(graph, "all");
      const found = await measureSites(graph, groups, dataset, { normalisation, batch: 16 });
      const shapes = shapesOf(graph);
      const maps = oracleMaps(graph, dataset);
      for (const { value, rank, entropy } of found) {
        const [channels, height, width] = shapes.get(value)!;
        expect(entropy).toBeGreaterThan(0);
        expect(entropy).toBeLessThanOrEqual(1);
        const responses = Float32Array.from(maps.flatMap((values) => {
          const map = values.get(value)!;
          const area = height * width;
          return Array.from(
            { length: channels },
            (_, c) => map.subarray(c * area, (c + 1) * area).reduce((sum, x) => sum + x, 0) / area,
          );
        }));
        const expected = responseEntropy(responses, dataset.count, channels);
        // A response may fall to the other side of a bin's edge.
        expect(Math.abs(entropy - expected.reduce((sum, x) => sum + x, 0) / channels))
          .toBeLessThan(0.01);
        if (height === 1 && width === 1) expect(rank).toBeUndefined();
        else {
          expect(rank).toBeGreaterThan(0);
          expect(rank).toBeLessThanOrEqual(1);
        }
      }
    }
  });

  it("are refused when feature maps are not finite", async () => {
    const graph = smallNetwork();
    const weight = graph.parameters.get("layer1.0.conv1.weight")!;
    const parameters = new Map(graph.parameters)
      .set("layer1.0.conv1.weight", { ...weight, data: weight.data.map(() => 3e38) });
    const groups = prunableGroups(graph, "inner");
    const refused = measureSites({ ...graph, parameters }, groups, smallPictures(16), {
      normalisation: normalisations.cifar,
      engine: "portable",
    });
    await expect(refused).rejects.toMatchObject({ code: "numeric-failure" });
    await expect(refused).rejects.toThrow(/feature maps of layer1\.0\.relu1/);
  });
});

/** Every value of every picture in f64. */
function oracleMaps(graph: Graph, dataset: Dataset) {
  return Array.from(
    { length: dataset.count },
    (_, image) => evaluateGraph(graph, planesOf(dataset, image, normalisations.cifar)),
  );
}
