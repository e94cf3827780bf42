/** Shapley values of the network's own game, group after group, stored as they are sampled. */

import type { CalibrationBatch } from "../data/batches/calibration.ts";
import type { ChannelGroup } from "../graph/channels.ts";
import type { Graph } from "../graph/graph.ts";
import { type ComputeOptions, LoadedModel } from "../native/loaded_model.ts";
import type { Progress, RunOptions } from "../progress.ts";
import { type Estimate, estimateShapley, type Samples } from "../shapley/estimate.ts";
import { gameRequest, NetworkGame, type Worth } from "../shapley/game.ts";
import { evaluationPasses, mostEvaluations } from "./forecast.ts";
import type { StageStore } from "./store.ts";

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
