/** Shapley values of the compensated game, in sequence: see shapley/sequential.ts. */

import type { Estimate } from "../shapley/estimate.ts";
import { areApproximate, intervalsOf, spreadOf } from "../shapley/intervals.ts";
import { type Sequence, sequentialShapley } from "../shapley/sequential.ts";
import type { CriterionContext, Look, Ranking } from "./ranking.ts";

export interface SequentialShapleyOptions {
  /** How often values are taken anew on the way to the most that may go. */
  readonly stages: number;
  /** Antithetic pairs of permutations a stage. */
  readonly pairs: number;
  /** Removals that values look ahead, as a share of what may still go; "all" for all sizes. */
  readonly ahead: number | "all";
}

const CONFIDENCE = 0.95;

/** What each stage saw, with intervals over its pairs. */
function looksOf({ stages }: Sequence): Look[] {
  return stages.map(({ pairs, inside, going }) => {
    const own = pairs.map((pair) => Float64Array.from(inside, (player) => pair[player]));
    const spread = spreadOf({ pairs: own, folds: 1 }, inside.length);
    return { inside, going, intervals: intervalsOf(spread, CONFIDENCE) };
  });
}

/** Values and intervals as they stood when each player went, or at the last look. */
function estimateOf(
  game: string,
  players: number,
  looks: readonly Look[],
  pairs: number,
): Estimate {
  const found = new Array<Estimate["players"][number]>(players);
  let evaluations = 0;
  for (const { inside, intervals } of looks) {
    // Later looks overwrite this for those that stay.
    inside.forEach((player, i) => found[player] = intervals[i]);
    evaluations += 2 * pairs * inside.length;
  }
  return {
    game,
    players: found,
    pairs,
    evaluations,
    all: 0,
    none: -1,
    telescope: 0,
    outcome: "spent",
    gain: 1,
    approximate: areApproximate(pairs, players),
    // Known once it is settled how many go: see unsettledAt.
    unsettled: [],
  };
}

/** Ranks by Shapley values of the compensated game. */
export function sequentialRanking(
  options: SequentialShapleyOptions,
): (context: CriterionContext) => Promise<Ranking[]> {
  return async (context) => {
    const { groups, most, seed, signal, onProgress } = context;
    const games = await context.games();
    const total = groups.reduce((sum, _, index) => sum + most[index], 0);
    let done = 0;
    return await games.each(async (game, index): Promise<Ranking> => {
      const { name, players } = groups[index];
      let before = 0;
      const sequence = await sequentialShapley(game, {
        ...options,
        seed,
        name,
        most: most[index],
        ...(signal ? { signal } : {}),
        onProgress: (progress) => {
          done += progress.done - before;
          before = progress.done;
          onProgress?.({ stage: "Shapley values", done, total, unit: "channels" });
        },
      });
      const { order } = sequence;
      // Values of different stages do not compare: what does is when each went.
      const scores = new Array<number>(players.length);
      order.forEach((player, place) => scores[player] = place);
      const looks = looksOf(sequence);
      const estimate = estimateOf(name, players.length, looks, options.pairs);
      return { order, scores, estimate, looks };
    });
  };
}
