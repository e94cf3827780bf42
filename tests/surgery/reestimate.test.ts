import { describe, expect, it } from "vitest";
import { normalisations } from "../../src/data/dataset.ts";
import type { BatchNormNode, Graph } from "../../src/graph/graph.ts";
import { shapesOf } from "../../src/graph/shapes.ts";
import type { Progress } from "../../src/progress.ts";
import { reestimate } from "../../src/surgery/reestimate.ts";
import { evaluateGraph } from "../oracle/graph.ts";
import { randomGraph } from "../support/graphs/random.ts";
import { planesOf } from "../support/pictures/planes.ts";
import { smallNetwork, smallPictures } from "../support/pictures/small.ts";

const normalisation = normalisations.cifar;

/** Mean and sums of squares of each channel over pictures of one shape. */
function momentsOf(maps: readonly Float64Array[], channels: number) {
  const area = maps[0].length / channels;
  const count = maps.length * area;
  return Array.from({ length: channels }, (_, c) => {
    const cells = maps.flatMap((map) => [...map.subarray(c * area, (c + 1) * area)]);
    const mean = cells.reduce((sum, x) => sum + x, 0) / count;
    const squares = cells.reduce((sum, x) => sum + (x - mean) ** 2, 0);
    return { mean, biased: squares / count, unbiased: squares / (count - 1) };
  });
}

/** Statistics of every batch norm for one batch, each normalising with those before it. */
function batchStatistics(graph: Graph, images: readonly Float64Array[]) {
  const weights = new Map<string, { data: ArrayLike<number> }>(graph.parameters);
  const found = new Map<string, number[]>();
  const norms = graph.nodes.filter((node): node is BatchNormNode => node.op === "batch_norm");
  for (const { inputs: [input], mean, variance } of norms) {
    const [channels] = shapesOf(graph).get(input)!;
    const maps = images.map((image) => evaluateGraph(graph, image, new Map(), weights).get(input)!);
    const moments = momentsOf(maps, channels);
    weights.set(mean, { data: moments.map((one) => one.mean) });
    weights.set(variance, { data: moments.map((one) => one.biased) });
    found.set(mean, moments.map((one) => one.mean));
    found.set(variance, moments.map((one) => one.unbiased));
  }
  return found;
}

describe("re-estimation of batch norm", () => {
  it("is the average over batches of their own statistics", async () => {
    const dataset = smallPictures(28);
    for (const graph of [smallNetwork(), randomGraph(9)]) {
      const batches = [0, 1, 2].map((batch) =>
        batchStatistics(
          graph,
          Array.from({ length: 8 }, (_, i) => planesOf(dataset, batch * 8 + i, normalisation)),
        )
      );
      const reports: Progress[] = [];
      const { parameters } = await reestimate(graph, dataset, {
        normalisation,
        batch: 8,
        dtype: "f32",
        onProgress: (progress) => reports.push(progress),
      });
      expect(reports.map(({ done }) => done)).toEqual([8, 16, 24]);
      expect(batches[0].size).toBeGreaterThan(4);
      for (const [name, { data }] of graph.parameters) {
        const expected = batches[0].has(name)
          ? data.map((_, c) => batches.reduce((sum, batch) => sum + batch.get(name)![c], 0) / 3)
          : data;
        const actual = parameters.get(name)!.data;
        expected.forEach((x, c) => {
          expect(Math.abs(actual[c] - x), name).toBeLessThanOrEqual(
            batches[0].has(name) ? 2e-5 * Math.max(1, Math.abs(x)) : 0,
          );
        });
      }
    }
  });
});
