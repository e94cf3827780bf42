import { describe, expect, it } from "vitest";
import {
  type Coalition,
  estimateShapley,
  type Game,
  summarise,
} from "../../src/shapley/estimate.ts";
import type { Samples } from "../../src/shapley/estimate.ts";
import { rankingBy } from "../../src/criteria/ranking.ts";
import { RandomStream } from "../../src/random.ts";
import { coalitionOf, exactShapley } from "../support/exact_shapley.ts";

type Value = (coalition: Coalition) => number;

/** A game of one sample from a plain value function. */
function gameOf(name: string, players: number, value: Value): Game {
  return {
    name,
    players,
    samples: 1,
    evaluate: (coalitions) =>
      Promise.resolve(coalitions.map((coalition) => Float64Array.of(value(coalition)))),
  };
}

function exactOf(players: number, value: Value): number[] {
  const values = Array.from(
    { length: 1 << players },
    (_, bits) => value(coalitionOf(bits, players)),
  );
  return exactShapley(players, values);
}

/** Like a layer: diminishing returns of a weighted sum, with one interaction. */
const layerLike: Value = (coalition) => {
  const total = coalition.reduce((sum, present, i) => sum + present * (1 + i % 4), 0);
  return -2.3 * Math.exp(-total / 6) + (coalition[0] && coalition[5] ? 0.2 : 0);
};

describe("exact values", () => {
  it("are matched on an additive game from a single pair", async () => {
    const weights = [3, -1, 0.5, 0, 2];
    const additive = gameOf(
      "additive",
      5,
      (coalition) => coalition.reduce((sum, present, i) => sum + present * weights[i], 0),
    );
    const estimate = await estimateShapley(additive, { seed: 1, pairs: 2, round: 2 });
    weights.forEach((weight, i) => expect(estimate.players[i].value).toBeCloseTo(weight, 12));
  });

  it("are approached on the glove game", async () => {
    // Players 0 and 1 hold left gloves, player 2 the right one: values 1/6, 1/6, 2/3.
    const glove: Value = (c) => c[2] && (c[0] || c[1]) ? 1 : 0;
    expect(exactOf(3, glove).map((v) => v.toFixed(4))).toEqual(["0.1667", "0.1667", "0.6667"]);
    const estimate = await estimateShapley(gameOf("glove", 3, glove), {
      seed: 4,
      pairs: 4000,
      round: 4000,
    });
    exactOf(3, glove).forEach((value, i) => {
      expect(Math.abs(estimate.players[i].value - value)).toBeLessThan(0.02);
    });
  });

  it("satisfy efficiency and symmetry", async () => {
    const game = gameOf("layer", 8, layerLike);
    const estimate = await estimateShapley(game, { seed: 2, pairs: 3000, round: 3000 });
    const sum = estimate.players.reduce((total, player) => total + player.value, 0);
    expect(sum).toBeCloseTo(estimate.all - estimate.none, 9);
    // Players 2 and 6 have the same weight and no interaction.
    const [a, b] = [estimate.players[2], estimate.players[6]];
    expect(Math.abs(a.value - b.value)).toBeLessThan(3 * (a.error + b.error));
  });
});

describe("intervals of a layer-like game", () => {
  const exact = exactOf(8, layerLike);

  async function coverage(pairs: number): Promise<{ covered: number; width: number }> {
    let covered = 0, width = 0;
    for (let seed = 0; seed < 500; seed++) {
      const estimate = await estimateShapley(gameOf("layer", 8, layerLike), {
        seed,
        pairs,
        round: pairs,
      });
      estimate.players.forEach((player, i) => {
        if (Math.abs(player.value - exact[i]) <= player.margin) covered += 1;
        width += player.margin;
      });
    }
    return { covered: covered / 4000, width: width / 4000 };
  }

  it("at 95% cover 93 to 97%, and halve when pairs quadruple", async () => {
    const small = await coverage(32);
    const large = await coverage(128);
    for (const { covered } of [small, large]) {
      expect(covered).toBeGreaterThanOrEqual(0.93);
      expect(covered).toBeLessThanOrEqual(0.97);
    }
    expect(small.width / large.width).toBeGreaterThan(1.9);
    expect(small.width / large.width).toBeLessThan(2.2);
  });

  it("show the calibration images' own error by bootstrap", async () => {
    const samples = 400;
    const random = new RandomStream(7, "noise");
    const noise = Float64Array.from({ length: samples }, () => random.normal());
    const game: Game = {
      name: "noisy",
      players: 3,
      samples,
      evaluate: (coalitions) =>
        Promise.resolve(coalitions.map((c) => noise.map((z) => c[0] * (1 + z) + c[1]))),
    };
    const { players } = await estimateShapley(game, { seed: 1, pairs: 2, round: 2 });
    expect(players[0].imageError).toBeGreaterThan(0.04);
    expect(players[0].imageError).toBeLessThan(0.06);
    expect(players[1].imageError).toBeLessThan(1e-9);
  });
});

describe("sampling", () => {
  it("stops once the cut is certain", async () => {
    const clear = gameOf("clear", 6, (c) => 10 * (c[0] + c[1] + c[2]) + 0.1 * c[3] * c[4]);
    const estimate = await estimateShapley(clear, { seed: 1, pairs: 64, round: 4, keep: 3 });
    expect(estimate.outcome).toBe("separated");
    // Four pairs of six players are too few to rely on.
    expect(estimate.pairs).toBe(8);
    expect(rankingBy(estimate.players.map((p) => p.value)).order.slice(0, 3).toSorted()).toEqual([
      3,
      4,
      5,
    ]);
  });

  it("reports the players it could not settle", async () => {
    const even = gameOf("even", 6, layerLike);
    const estimate = await estimateShapley(even, { seed: 1, pairs: 4, round: 4, keep: 3 });
    expect(estimate.outcome).toBe("spent");
    expect(estimate.unsettled.length).toBeGreaterThan(0);
  });

  it("goes on from stored samples to the same bytes", async () => {
    const game = gameOf("layer", 8, layerLike);
    const options = { seed: 5, pairs: 12, round: 4 };
    let stored: Samples | undefined;
    const whole = await estimateShapley(game, {
      ...options,
      onRound: (samples) => {
        if (samples.pairs.length === 4) {
          stored = { ...samples, pairs: [...samples.pairs], bySample: samples.bySample.slice() };
        }
      },
    });
    const resumed = await estimateShapley(game, { ...options, resume: stored });
    expect(resumed).toEqual(whole);
  });

  it("refuses a game that does not telescope", async () => {
    let calls = 0;
    const fickle = gameOf("fickle", 3, (c) => c[0] + 0.1 * calls++);
    const broken: Samples = {
      pairs: [new Float64Array(3)],
      bySample: new Float64Array(3),
      all: 1,
      none: 0,
      telescope: 0.5,
      evaluations: 2,
    };
    expect((await summarise(fickle, broken, { seed: 1 })).telescope).toBe(0.5);
    await expect(estimateShapley(fickle, { seed: 1, pairs: 4, resume: broken })).rejects
      .toThrow(/does not give a coalition the same value twice/);
  });
});
