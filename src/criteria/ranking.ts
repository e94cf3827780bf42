/** What a criterion is asked and what it answers: in which order the channels of each group go. */

import type { Dataset, Normalisation } from "../data/dataset.ts";
import type { ChannelGroup } from "../graph/channels.ts";
import type { Removal } from "../graph/cut.ts";
import type { Graph } from "../graph/graph.ts";
import type { ComputeOptions } from "../native/loaded_model.ts";
import type { RunOptions } from "../progress.ts";
import type { Games } from "../reproduction/games.ts";
import type { Estimate } from "../shapley/estimate.ts";
import { type Interval, unsettledPlayers } from "../shapley/intervals.ts";

/** One group's answer. */
export interface Ranking {
  /** Every player once, the first to go first. */
  readonly order: readonly number[];
  /** Figures behind the order, by player: higher stays longer. */
  readonly scores: readonly number[];
  /** Of criteria that sample: their values with intervals. */
  readonly estimate?: Estimate;
  /** Of criteria that sample anew as channels go: what each look saw. */
  readonly looks?: readonly Look[];
}

/** Players that were in, their intervals, and how many of the lowest then went. */
export interface Look {
  readonly inside: readonly number[];
  readonly intervals: readonly Interval[];
  readonly going: number;
}

/** Players whose place on either side of the cut after `removed` the look that decided it left open. */
export function unsettledAt(looks: readonly Look[], removed: number): number[] {
  let gone = 0;
  for (const { inside, intervals, going } of looks) {
    if (removed <= gone + going) {
      return unsettledPlayers(intervals, inside.length - (removed - gone))
        .map((index) => inside[index]);
    }
    gone += going;
  }
  return [];
}

/** Everything that criteria may look at. */
export interface CriterionContext extends RunOptions {
  readonly graph: Graph;
  readonly groups: readonly ChannelGroup[];
  /** Most players that may go, by group. */
  readonly most: readonly number[];
  readonly seed: number;
  readonly normalisation: Normalisation;
  readonly compute: ComputeOptions;
  /** Training pictures for a purpose, in memory. */
  pictures(count: number, purpose: string): Promise<Dataset>;
  /** The compensated games of the groups, measured when first asked for. */
  games(): Promise<Games>;
}

/** The removals that leave `kept` players of each group. */
export function removalsOf(
  groups: readonly ChannelGroup[],
  rankings: readonly Ranking[],
  kept: readonly number[],
): Removal[] {
  return groups.map((group, index) => ({
    group,
    removed: rankings[index].order.slice(0, group.players.length - kept[index])
      .toSorted((a, b) => a - b),
  }));
}

/** Players by their scores, the lowest first; ties go the higher index first. */
export function rankingBy(scores: ArrayLike<number>): Ranking {
  const figures = Array.from(scores);
  const order = figures.map((_, player) => player)
    .sort((a, b) => figures[a] - figures[b] || b - a);
  return { order, scores: figures };
}
