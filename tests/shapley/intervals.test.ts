import jStat from "jstat";
import { describe, expect, it } from "vitest";
import { estimateShapley, type Samples, summarise } from "../../src/shapley/estimate.ts";
import { rankingBy } from "../../src/criteria/ranking.ts";
import { COVERAGE_GAMES, type KnownGame } from "../support/coverage_games.ts";

const SEEDS = 300;
const PAIRS = [4, 8, 16, 32];

const quantiles = new Map<string, number>();

/** Half widths of the usual intervals of pair means: Student's quantiles, Bonferroni. */
function usualMargins(pairs: readonly Float64Array[]): number[] {
  const players = pairs[0].length;
  const key = `${players} ${pairs.length}`;
  const quantile = quantiles.get(key) ??
    jStat.studentt.inv(1 - 0.05 / players / 2, pairs.length - 1);
  quantiles.set(key, quantile);
  return Array.from(
    { length: players },
    (_, player) =>
      quantile * jStat.stdev(pairs.map((pair) => pair[player]), true) / Math.sqrt(pairs.length),
  );
}

const mean = (values: readonly number[]) =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** How often all intervals of a game hold, and how wide they are beside the usual ones. */
async function measure(game: KnownGame) {
  const rows = PAIRS.map((pairs) => ({ pairs, held: 0, usual: 0, width: 0, usualWidth: 0 }));
  for (let seed = 0; seed < SEEDS; seed++) {
    let samples: Samples | undefined;
    await estimateShapley(game, {
      seed,
      pairs: Math.max(...PAIRS),
      round: Math.max(...PAIRS),
      onRound: (all) => {
        samples = all;
      },
    });
    for (const row of rows) {
      const pairs = samples!.pairs.slice(0, row.pairs);
      const { players } = await summarise(game, { ...samples!, pairs }, { seed });
      const slack = 1e-9;
      const margins = usualMargins(pairs);
      row.width += mean(players.map(({ jointMargin }) => jointMargin));
      row.usualWidth += mean(margins);
      const holds = (values: readonly number[], widths: readonly number[]) =>
        values.every((value, i) => Math.abs(value - game.exact[i]) <= widths[i] + slack);
      row.held += +holds(players.map(({ value }) => value), players.map((p) => p.jointMargin));
      row.usual += +holds(
        margins.map((_, player) => mean(pairs.map((pair) => pair[player]))),
        margins,
      );
    }
  }
  return rows.map((row) => ({
    pairs: row.pairs,
    held: row.held / SEEDS,
    usual: row.usual / SEEDS,
    width: row.width / row.usualWidth,
  }));
}

describe("joint 95% intervals", () => {
  // Widths beside the usual intervals, which hold in 0 to 97% of the seeds.
  const WIDEST: Readonly<Record<number, number>> = { 4: 2, 8: 1.8, 16: 1.5, 32: 1.3 };

  for (const game of COVERAGE_GAMES) {
    it(`hold and stay narrow: ${game.name}`, async () => {
      for (const { pairs, held, usual, width } of await measure(game)) {
        const found = `${pairs} pairs: ${usual} -> ${held}, ${width} times as wide`;
        expect(held, found).toBeGreaterThanOrEqual(0.93);
        expect(width, found).toBeLessThan(WIDEST[pairs]);
      }
    });
  }
});

describe("what rests on intervals", () => {
  const named = (name: string) => COVERAGE_GAMES.find((game) => game.name === name)!;

  it("is called approximate where little was seen, and then settles nothing", async () => {
    const game = named("max of 8");
    const at = async (pairs: number) =>
      await estimateShapley(game, { seed: 1, pairs, round: 1, keep: 8 });
    expect(await at(4)).toMatchObject({ approximate: true, outcome: "spent", pairs: 4 });
    // Nothing is cut, so that the first intervals that hold settle it.
    expect(await at(16)).toMatchObject({ approximate: false, outcome: "separated", pairs: 5 });
  });

  it("gives a player width as soon as anyone varies", async () => {
    const game = named("rare and large");
    let samples: Samples | undefined;
    await estimateShapley(game, {
      seed: 3,
      pairs: 3,
      round: 3,
      onRound: (s) => void (samples = s),
    });
    const last = samples!.pairs.map((pair) => pair[19]);
    expect(new Set(last)).toEqual(new Set([0]));
    const { players } = await summarise(game, samples!, { seed: 3 });
    expect(players[19].margin).toBeGreaterThan(game.exact[19]);
  });

  it("separates wrongly in no more than 5% of runs that look again and again", async () => {
    let separated = 0;
    for (const game of ["max of 8", "additive with noise", "log-loss, spread 1", "loss of 8"]) {
      const { exact, players, ...rest } = named(game);
      const keep = players / 2;
      let wrong = 0;
      for (let seed = 0; seed < 100; seed++) {
        const found = await estimateShapley({ ...rest, players }, { seed, pairs: 64, keep });
        if (found.outcome !== "separated") continue;
        separated++;
        const removed = new Set(
          rankingBy(found.players.map(({ value }) => value)).order.slice(0, -keep),
        );
        const kept = exact.filter((_, player) => !removed.has(player));
        const gone = exact.filter((_, player) => removed.has(player));
        if (Math.max(...gone) > Math.min(...kept) + 1e-9) wrong++;
      }
      expect(wrong, game).toBeLessThanOrEqual(5);
    }
    expect(separated).toBeGreaterThan(100);
  });
});
