/** Which channels go, once it is settled how many of each group. */

import type { CalibrationBatch } from "../data/batches/calibration.ts";
import type { ChannelGroup, Player } from "../graph/channels.ts";
import type { Removal } from "../graph/cut.ts";
import type { Graph } from "../graph/graph.ts";
import { LoadedModel } from "../native/loaded_model.ts";
import type { ComputeOptions } from "../native/loaded_model.ts";
import type { Progress, RunOptions } from "../progress.ts";
import { type Estimate, estimateShapley, type Samples } from "../shapley/estimate.ts";
import { gameRequest, NetworkGame, type Worth } from "../shapley/game.ts";
import { lowest, randomRemoval } from "../shapley/select.ts";
import { elementCount } from "../tensor.ts";
import { evaluationPasses, mostEvaluations } from "./forecast.ts";
import type { PruneOptions } from "./options.ts";
import type { StageStore } from "./store.ts";

/** Sum of |w| over the filters that make a player's channels (Li et al., arXiv 1608.08710). */
export function l1Norm(graph: Graph, player: Player): number {
  let sum = 0;
  for (const { parameter, axis, index } of player.slices) {
    const { shape, data } = graph.parameters.get(parameter)!;
    if (axis !== 0 || shape.length < 2) continue;
    const size = elementCount(shape.slice(1));
    for (let i = index * size; i < (index + 1) * size; i++) sum += Math.abs(data[i]);
  }
  return sum;
}

export interface ShapleyOptions extends RunOptions, ComputeOptions {
  readonly seed: number;
  readonly pairs: number;
  readonly worth?: Worth;
}

/** What the store keeps: finished estimates, and what was sampled of the group at work. */
interface Sampled {
  readonly estimates: readonly Estimate[];
  readonly samples?: Samples;
}

/**
 * Reports how far a sweep over groups is. Totals are the most evaluations that may come: they fall
 * with every group that is settled before its pairs are spent.
 */
function sweepReporter(
  graph: Graph,
  groups: readonly ChannelGroup[],
  pairs: number,
  onProgress: (progress: Progress) => void,
): (finished: readonly { evaluations: number }[], evaluations?: number) => void {
  const most = groups.map((group) => mostEvaluations(group, pairs));
  const cost = groups.map((group) => evaluationPasses(graph, group));
  return (finished, evaluations = 0) => {
    const at = finished.length;
    let done = 0, total = 0;
    const work = { done: 0, total: 0 };
    groups.forEach((_, index) => {
      const made = index < at ? finished[index].evaluations : index === at ? evaluations : 0;
      const may = index < at ? made : most[index];
      done += made;
      total += may;
      work.done += made * cost[index];
      work.total += may * cost[index];
    });
    onProgress({ stage: "Shapley values", done, total, unit: "evaluations", work, atMost: true });
  };
}

/**
 * Shapley values of every group's players, group after group, each until its cut is settled or
 * the pairs are spent. Kept in the store after every round of pairs.
 */
export async function shapleyOf(
  graph: Graph,
  groups: readonly ChannelGroup[],
  kept: readonly number[],
  batches: readonly CalibrationBatch[],
  store: StageStore,
  options: ShapleyOptions,
): Promise<readonly Estimate[]> {
  const { seed, pairs, worth, signal, onProgress } = options;
  const stage = "shapley";
  const stored: Sampled = await store.read(stage) ?? { estimates: [] };
  const estimates = [...stored.estimates];
  if (estimates.length === groups.length) return estimates;
  const images = batches[0].labels.length;
  using model = LoadedModel.open(
    graph,
    groups.map((group) => gameRequest(graph, group, images)),
    options,
  );
  const report = sweepReporter(graph, groups, pairs, onProgress ?? (() => {}));
  for (let index = estimates.length; index < groups.length; index++) {
    const samples = index === stored.estimates.length ? stored.samples : undefined;
    const game = new NetworkGame(model, groups[index], batches, worth);
    let sampled = samples?.evaluations ?? 0;
    const estimate = await estimateShapley(game, {
      seed,
      pairs,
      keep: kept[index],
      ...(samples ? { resume: samples } : {}),
      ...(signal ? { signal } : {}),
      onProgress: ({ done }) => report(estimates, sampled + done),
      onRound: async (samples) => {
        sampled = samples.evaluations;
        await store.write(stage, { estimates, samples });
      },
    });
    estimates.push(estimate);
    await store.write(stage, { estimates });
    report(estimates);
  }
  return estimates;
}

/** The removals a criterion makes of the kept counts. `estimates` are for the Shapley criteria. */
export function removalsBy(
  criterion: PruneOptions["criterion"],
  graph: Graph,
  groups: readonly ChannelGroup[],
  kept: readonly number[],
  seed: number,
  estimates: readonly Estimate[] = [],
): Removal[] {
  const values = (index: number) => estimates[index].players.map((player) => player.value);
  return groups.map((group, index) => {
    const keep = kept[index];
    switch (criterion) {
      case "shapley":
        return { group, removed: lowest(values(index), keep) };
      case "reversed-shapley":
        return { group, removed: lowest(values(index).map((value) => -value), keep) };
      case "l1":
        return { group, removed: lowest(group.players.map((p) => l1Norm(graph, p)), keep) };
      case "random":
        return { group, removed: randomRemoval(group.players.length, keep, seed, group.name) };
    }
  });
}
