import { describe, expect, it } from "vitest";
import { RandomStream } from "../../src/random.ts";
import {
  type Coalition,
  estimateShapley,
  type Game,
  type Samples,
} from "../../src/shapley/estimate.ts";
import { addMargins, fitSurrogate, noMargins } from "../../src/shapley/surrogate.ts";
import { marginOf, meanWorth, WORTH, type Worth } from "../../src/shapley/worth.ts";
import { coalitionOf, exactShapley } from "../support/exact_shapley.ts";

const PLAYERS = 7;
const PICTURES = 5;

/**
 * Like a layer: players add to the margin of every picture, neighbours also interact by as much
 * as `bent`; what a picture is worth follows from its margin.
 */
function pictureGame(worth: Worth, bent: number, seed = 3): Game & { readonly exact: number[] } {
  const random = new RandomStream(seed, "margins");
  const normals = (length: number) => Float64Array.from({ length }, () => random.normal());
  const gains = Array.from({ length: PICTURES }, () => normals(PLAYERS).map((z) => 1 + z));
  const interactions = Array.from({ length: PICTURES }, () => normals(PLAYERS));
  const values = (coalition: Coalition) =>
    Float64Array.from({ length: PICTURES }, (_, picture) => {
      let margin = -2;
      coalition.forEach((present, player) => {
        margin += present * gains[picture][player];
        const both = present * coalition[(player + 1) % PLAYERS];
        margin += bent * both * interactions[picture][player];
      });
      return WORTH[worth](Math.log1p(Math.exp(-margin)));
    });
  const means = Array.from({ length: 1 << PLAYERS }, (_, bits) => {
    const own = values(coalitionOf(bits, PLAYERS));
    return own.reduce((sum, value) => sum + value, 0) / PICTURES;
  });
  return {
    name: "pictures",
    players: PLAYERS,
    samples: PICTURES,
    worth,
    evaluate: (coalitions) => Promise.resolve(coalitions.map(values)),
    exact: exactShapley(PLAYERS, means),
  };
}

describe("margins", () => {
  it("are the log-odds of the right class, within bounds", () => {
    for (const margin of [-20, -3, 0, 0.5, 9]) {
      const loss = Math.log1p(Math.exp(-margin));
      expect(marginOf("loss", WORTH.loss(loss))).toBeCloseTo(margin, 6);
      expect(marginOf("probability", WORTH.probability(loss))).toBeCloseTo(margin, 6);
    }
    // A loss of nothing, one without bounds, and both as probabilities.
    expect([marginOf("loss", -0), marginOf("probability", 1)]).toEqual([14, 14]);
    expect([marginOf("loss", -1e6), marginOf("probability", 0)]).toEqual([-30, -30]);
  });

  it("give the worth they come from", () => {
    const margins = [-40, -2, 0, 1, 3, 14, 5];
    const odds = Float64Array.from(margins, (margin) => Math.exp(-margin));
    for (const worth of ["loss", "probability"] as const) {
      const sum = margins.reduce((all, m) => all + WORTH[worth](Math.log1p(Math.exp(-m))), 0);
      expect(meanWorth(worth, odds)).toBeCloseTo(sum / margins.length, 12);
    }
  });
});

describe("the surrogate", () => {
  it("of margins that are additive is the game itself", async () => {
    const game = pictureGame("loss", 0);
    const sums = noMargins(PLAYERS, PICTURES);
    const forward = new RandomStream(1, "walk").permutation(PLAYERS);
    const walks = [forward, forward.toReversed()];
    for (const walk of walks) {
      const along = Array.from({ length: PLAYERS + 1 }, (_, size) => {
        const coalition = new Uint8Array(PLAYERS);
        walk.subarray(0, size).forEach((player) => coalition[player] = 1);
        return coalition;
      });
      addMargins(sums, walk, await game.evaluate(along, {}), "loss");
    }
    const { odds, factors } = await fitSurrogate(walks, sums, "loss");
    const coalition = Uint8Array.of(1, 0, 0, 1, 1, 0, 0);
    const fitted = odds.slice();
    coalition.forEach((present, player) => {
      if (present) fitted.forEach((_, i) => fitted[i] *= factors[player * PICTURES + i]);
    });
    const [values] = await game.evaluate([coalition], {});
    const value = values.reduce((sum, one) => sum + one, 0) / PICTURES;
    // The ridge moves it a little.
    expect(Math.abs(meanWorth("loss", fitted) - value)).toBeLessThan(0.01 * Math.abs(value));
  });

  it("saves pairs the more the nearer margins are to additive, in either worth", async () => {
    for (const worth of ["loss", "probability"] as const) {
      const gains = [];
      for (const bent of [0, 0.3, 3]) {
        const { gain } = await estimateShapley(pictureGame(worth, bent), {
          seed: 1,
          pairs: 16,
          round: 16,
        });
        gains.push(gain);
      }
      expect(gains[0], worth).toBeGreaterThan(20);
      expect(gains[1], worth).toBeGreaterThan(1.5);
      expect(gains[1], worth).toBeLessThan(gains[0]);
      expect(gains[2], worth).toBeLessThan(gains[1]);
      expect(gains[2], worth).toBeGreaterThan(0.7);
    }
  });

  it("keeps values adding up to v(all) - v(none), and leaves games of other values alone", async () => {
    const game = pictureGame("loss", 0.5);
    const estimate = await estimateShapley(game, { seed: 2, pairs: 16, round: 8 });
    const sum = estimate.players.reduce((total, { value }) => total + value, 0);
    expect(sum).toBeCloseTo(estimate.all - estimate.none, 12);
    const { worth: _, ...plain } = game;
    const without = await estimateShapley(plain, { seed: 2, pairs: 16, round: 8 });
    expect(without.gain).toBeLessThan(estimate.gain);
    expect(without.players[0].value).not.toBe(estimate.players[0].value);
    // Too few pairs for a surrogate.
    const few = await estimateShapley(game, { seed: 2, pairs: 15, round: 15 });
    expect(few).toEqual(await estimateShapley(plain, { seed: 2, pairs: 15, round: 15 }));
  });

  it("goes on from stored samples to the same bytes, and from samples without margins", async () => {
    const game = pictureGame("loss", 0.5);
    const options = { seed: 5, pairs: 18, round: 3 };
    let stored: Samples | undefined;
    const whole = await estimateShapley(game, {
      ...options,
      onRound: (samples) => {
        if (samples.pairs.length === 3) stored = structuredClone(samples);
      },
    });
    expect(await estimateShapley(game, { ...options, resume: stored })).toEqual(whole);
    const { margins: _, ...older } = stored!;
    const { worth: __, ...plain } = game;
    expect(await estimateShapley(game, { ...options, resume: older }))
      .toEqual(await estimateShapley(plain, options));
  });
});

describe("intervals of corrected pairs", () => {
  const game = pictureGame("loss", 0.5);

  // At once, because each waits for another thread's least-squares fit.
  const estimatesOf = (seeds: number, pairs: number) =>
    Promise.all(
      Array.from({ length: seeds }, (_, seed) =>
        estimateShapley(game, { seed, pairs, round: pairs })),
    );

  it("at 95% cover 93 to 98% with as many pairs as by default, and hold jointly", async () => {
    let covered = 0, joint = 0;
    for (const { players } of await estimatesOf(500, 16)) {
      const errors = players.map(({ value }, player) => Math.abs(value - game.exact[player]));
      covered += errors.filter((error, player) => error <= players[player].margin).length;
      joint += +errors.every((error, player) => error <= players[player].jointMargin);
    }
    expect(covered / (500 * PLAYERS)).toBeGreaterThanOrEqual(0.93);
    expect(covered / (500 * PLAYERS)).toBeLessThanOrEqual(0.98);
    expect(joint / 500).toBeGreaterThanOrEqual(0.93);
  });

  it("halve when pairs quadruple", async () => {
    const width = async (pairs: number) =>
      (await estimatesOf(40, pairs)).flatMap(({ players }) => players)
        .reduce((sum, { error }) => sum + error, 0);
    const ratio = await width(16) / await width(64);
    expect(ratio).toBeGreaterThan(1.9);
    expect(ratio).toBeLessThan(2.4);
  });
});
