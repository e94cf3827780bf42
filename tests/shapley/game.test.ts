import { join } from "node:path";
import jStat from "jstat";
import { describe, expect, it } from "vitest";
import { type CalibrationBatch, calibrationBatches } from "../../src/data/batches/calibration.ts";
import { readCifar10 } from "../../src/data/sources/cifar.ts";
import { normalisations, subset } from "../../src/data/dataset.ts";
import { readWeights } from "../../src/formats/checkpoint.ts";
import { type ChannelGroup, prunableGroups } from "../../src/graph/channels.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { bindWeights } from "../../src/models/bind.ts";
import { createModel } from "../../src/models/models.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import { RandomStream } from "../../src/random.ts";
import { type Coalition, estimateShapley } from "../../src/shapley/estimate.ts";
import { gameRequest, NetworkGame } from "../../src/shapley/game.ts";
import { evaluateGraph } from "../oracle/graph.ts";
import { dataFolder } from "../support/data.ts";
import { coalitionOf, exactShapley } from "../support/exact_shapley.ts";
import { randomImages, toNhwc } from "../support/interpreted.ts";
import { randomGraph } from "../support/graphs/random.ts";
import { masksOf } from "../support/graphs/removals.ts";
import { smallNetwork } from "../support/pictures/small.ts";

/** Pictures for the engine and the same ones for the oracle. */
interface Pictures {
  readonly batches: readonly CalibrationBatch[];
  readonly images: readonly Float64Array[];
  readonly labels: readonly number[];
}

function randomPictures(graph: Graph, batches: number, size: number, seed: number): Pictures {
  const random = new RandomStream(seed, "game pictures");
  const images = randomImages(graph, batches * size, random).map((image) => image.map(Math.fround));
  const labels = images.map(() => random.integer(4));
  const part = <T>(all: readonly T[], batch: number) => all.slice(batch * size, (batch + 1) * size);
  return {
    images,
    labels,
    batches: Array.from({ length: batches }, (_, batch) => ({
      images: Float32Array.from(toNhwc(part(images, batch), graph.input.shape)),
      labels: Int32Array.from(part(labels, batch)),
    })),
  };
}

function randomCoalitions(group: ChannelGroup, count: number, seed: number): Coalition[] {
  const random = new RandomStream(seed, `coalitions of ${group.name}`);
  return Array.from(
    { length: count },
    () => Uint8Array.from(group.players, () => random.integer(2)),
  );
}

/** Minus the loss of every picture with the absent players masked, from the f64 oracle. */
function oracleValues(graph: Graph, group: ChannelGroup, coalition: Coalition, from: Pictures) {
  const removed = group.players.map((_, player) => player).filter((player) => !coalition[player]);
  const masks = masksOf([{ group, removed }]);
  return from.images.map((image, i) => {
    const logits = evaluateGraph(graph, image, masks).get(graph.outputs[0])!;
    return logits[from.labels[i]] - Math.log(logits.reduce((sum, x) => sum + Math.exp(x), 0));
  });
}

describe("the game of a channel group", () => {
  it("gives what masking gives, for inner, stream, grouped and depthwise channels", async () => {
    const met = { inner: 0, stream: 0, grouped: 0, depthwise: 0, manySites: 0 };
    for (let seed = 3; seed < 9; seed++) {
      const graph = randomGraph(seed);
      const groups = prunableGroups(graph, "all");
      const pictures = randomPictures(graph, 2, 3, seed);
      const requests = groups.map((group) => gameRequest(graph, group, 3));
      using model = LoadedModel.open(graph, requests, { dtype: "f32" });
      for (const group of groups) {
        const game = new NetworkGame(model, group, pictures.batches);
        expect(game).toMatchObject({ name: group.name, samples: 6 });
        expect(game.players).toBe(group.players.length);
        // Eleven are one whole stack and a part of one.
        const coalitions = randomCoalitions(group, 11, seed);
        const values = await game.evaluate(coalitions, {});
        coalitions.forEach((coalition, c) => {
          const expected = oracleValues(graph, group, coalition, pictures);
          expected.forEach((value, image) => {
            const error = Math.abs(values[c][image] - value) / Math.max(1, Math.abs(value));
            expect(error, `${group.name} of seed ${seed}`).toBeLessThan(2e-5);
          });
        });
        met[group.kind]++;
        if (group.name.includes("even")) met.grouped++;
        if (group.sites.length > 1) met.manySites++;
        if (group.sites.some((value) => value.includes("depthwise"))) met.depthwise++;
      }
    }
    for (const [kind, count] of Object.entries(met)) expect(count, kind).toBeGreaterThan(1);
  });

  it("is worth the right class's probability instead, when asked", async () => {
    const graph = smallNetwork();
    const [group] = prunableGroups(graph, "all");
    const pictures = randomPictures(graph, 1, 5, 3);
    using model = LoadedModel.open(graph, [gameRequest(graph, group, 5)], { dtype: "f32" });
    const game = new NetworkGame(model, group, pictures.batches, "probability");
    const [coalition] = randomCoalitions(group, 1, 3);
    const [values] = await game.evaluate([coalition], {});
    oracleValues(graph, group, coalition, pictures).forEach((logarithm, image) => {
      expect(Math.abs(values[image] - Math.exp(logarithm))).toBeLessThan(2e-5);
    });
  });

  it("matches exact Shapley values from all coalitions of six channels", async () => {
    // Channels of one layer, and of a residual stream with two sites.
    for (const seed of [8, 10]) {
      const graph = randomGraph(seed);
      const group = prunableGroups(graph, "all").find(({ players }) => players.length === 6)!;
      const { batches } = randomPictures(graph, 1, 8, seed);
      using model = LoadedModel.open(graph, [gameRequest(graph, group, 8)], { dtype: "f32" });
      const game = new NetworkGame(model, group, batches);
      const all = Array.from({ length: 64 }, (_, bits) => coalitionOf(bits, 6));
      const values = (await game.evaluate(all, {}))
        .map((bySample) => bySample.reduce((sum, value) => sum + value, 0) / 8);
      const exact = exactShapley(6, values);
      const estimate = await estimateShapley(game, { seed: 1, pairs: 150, round: 150 });
      estimate.players.forEach(({ value, error }, player) => {
        expect(error).toBeGreaterThan(0);
        expect(Math.abs(value - exact[player])).toBeLessThan(4 * error);
      });
      const scale = Math.max(Math.abs(estimate.all), Math.abs(estimate.none));
      expect(estimate.all).toBeCloseTo(values[63], 12);
      expect(estimate.none).toBeCloseTo(values[0], 12);
      expect(estimate.telescope).toBeLessThanOrEqual(1e-9 * scale);
      const sum = estimate.players.reduce((total, { value }) => total + value, 0);
      expect(Math.abs(sum - (values[63] - values[0]))).toBeLessThan(1e-9 * scale);
    }
  });

  it("gives the same values whatever else the model was asked in between", async () => {
    const graph = smallNetwork();
    const [first, second] = prunableGroups(graph, "all");
    const pictures = randomPictures(graph, 2, 4, 5);
    const requests = [first, second].map((group) => gameRequest(graph, group, 4));
    for (const dtype of ["f32", "bf16"] as const) {
      const values = [];
      for (const threads of [1, 2]) {
        using model = LoadedModel.open(graph, requests, { dtype, threads });
        const games = [first, second].map((group) =>
          new NetworkGame(model, group, pictures.batches)
        );
        const coalitions = randomCoalitions(first, 10, 5);
        values.push(await games[0].evaluate(coalitions, {}));
        await games[1].evaluate(randomCoalitions(second, 3, 6), {});
        // Alone and in another place of the stack.
        values.push([
          ...await games[0].evaluate(coalitions.slice(0, 3), {}),
          ...await games[0].evaluate(coalitions.slice(3), {}),
        ]);
      }
      for (const other of values.slice(1)) expect(other).toEqual(values[0]);
    }
  });

  it("stops when asked", async () => {
    const graph = smallNetwork();
    const [group] = prunableGroups(graph, "all");
    const { batches } = randomPictures(graph, 2, 4, 5);
    using model = LoadedModel.open(graph, [gameRequest(graph, group, 4)], { dtype: "f32" });
    const game = new NetworkGame(model, group, batches);
    const controller = new AbortController();
    const values = game.evaluate(randomCoalitions(group, 200, 1), { signal: controller.signal });
    controller.abort();
    await expect(values).rejects.toMatchObject({ code: "cancelled" });
    expect(await game.evaluate(randomCoalitions(group, 2, 1), {})).toHaveLength(2);
  });
});

const data = dataFolder();

describe.skipIf(data === undefined)("sweeps in bf16", () => {
  it("rank the channels of ResNet-56 as f32 does", async () => {
    const weights = await readWeights(join(data!, "weights", "resnet56-4bfd9763.th"));
    const graph = bindWeights(createModel("resnet56", { classes: 10 }), weights, "resnet56");
    // Test pictures: training ones have so little loss left that nothing but rounding would rank.
    const pictures = await readCifar10(join(data!, "cifar10-lossless-slice"), "test");
    const images = 64;
    const some = subset(pictures, Int32Array.from({ length: images }, (_, i) => i), "some");
    const batches = calibrationBatches(some, images, normalisations.imagenet);
    const groups = prunableGroups(graph, "inner").filter(({ name }) =>
      ["layer2.8.conv1", "layer3.8.conv1"].includes(name)
    );
    expect(groups).toHaveLength(2);
    const requests = groups.map((group) => gameRequest(graph, group, images));
    const found: number[][][] = [];
    for (const dtype of ["f32", "bf16"] as const) {
      using model = LoadedModel.open(graph, requests, { dtype });
      const sweeps: number[][] = [];
      for (const group of groups) {
        const game = new NetworkGame(model, group, batches);
        const estimate = await estimateShapley(game, { seed: 1, pairs: 1, round: 1 });
        sweeps.push(estimate.players.map(({ value }) => value));
      }
      found.push(sweeps);
    }
    groups.forEach(({ name }, i) => {
      expect(found[0][i]).not.toEqual(found[1][i]);
      expect(jStat.spearmancoeff(found[0][i], found[1][i]), name).toBeGreaterThanOrEqual(0.98);
    });
  });
});
