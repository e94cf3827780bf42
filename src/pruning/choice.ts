/**
 * How many channels of each group go, and which: the ratio rule and the criterion, in the order that
 * they need each other. Rules that go by shares settle widths first; the knapsack weighs the curves of
 * the order that the criterion found.
 */

import {
  concentrate,
  concentrationOf,
  type GroupConcentration,
  type SiteStatistics,
} from "../concentration/concentration.ts";
import {
  type CriterionContext,
  type Ranking,
  rankingBy,
  removalsOf,
  unsettledAt,
} from "../criteria/ranking.ts";
import { parseCriterion, rank } from "../criteria/criteria.ts";
import { sequentialRanking } from "../criteria/shapley.ts";
import type { ChannelGroup } from "../graph/channels.ts";
import type { Removal } from "../graph/cut.ts";
import type { Graph } from "../graph/graph.ts";
import { type Budget, rangeOf, type Ratios } from "../ratios/budget.ts";
import { solveKnapsack } from "../ratios/knapsack.ts";
import { solveShares } from "../ratios/shares.ts";
import type { Estimate } from "../shapley/estimate.ts";
import { type PruneOptions, type RatioRule, weighsCurves } from "./options.ts";

/** What the choice asks of the run. */
export interface ChoiceStages {
  /** What must go. */
  readonly budget: Budget;
  /** Ratios of the budget by a rule, which is asked again where the first come out wrong. */
  settled(solve: (budget: Budget) => Ratios): Promise<Ratios>;
  /** Rank and entropy of every site; only asked for by concentration. */
  statistics(): Promise<readonly SiteStatistics[]>;
  /** Runs or takes what the criterion found. */
  rankings(
    find: (context: CriterionContext) => Promise<Ranking[]>,
  ): Promise<readonly Ranking[]>;
  /** Shapley values of the network's own loss, whose sampling stops where the cut is settled. */
  networkShapley(kept: readonly number[]): Promise<readonly Estimate[]>;
  /** By group: loss in the compensated game when the first k of a ranking have gone. */
  curves(rankings: readonly Ranking[]): Promise<readonly Float64Array[]>;
  /** By group: what the outputs lose for one unit of that. */
  sensitivities(
    rankings: readonly Ranking[],
    curves: readonly Float64Array[],
  ): Promise<readonly number[]>;
}

/** What was decided, and by what. */
export interface Choice {
  readonly removals: readonly Removal[];
  readonly ratios: Ratios;
  /** By group; only with concentration. */
  readonly concentration?: readonly GroupConcentration[];
  readonly rankings: readonly Ranking[];
  /** By group: what is lost when the first k of the ranking have gone; only with the knapsack. */
  readonly curves?: readonly Float64Array[];
}

/** Concentration sharpened or flattened by an exponent; 0 makes all groups alike. */
function sharpened(figures: readonly GroupConcentration[], exponent: number): number[] {
  return figures.map(({ concentration }) => concentration ** exponent);
}

/** Curves of groups by what each is to count. */
function weighed(
  curves: readonly Float64Array[],
  weights: readonly number[] | undefined,
): readonly Float64Array[] {
  if (weights === undefined) return curves;
  return curves.map((curve, group) => curve.map((loss) => loss * weights[group]));
}

/** What a knapsack decides by: what is lost when the first k of each group's ranking have gone. */
async function curvesFor(
  rule: RatioRule,
  rankings: readonly Ranking[],
  stages: ChoiceStages,
): Promise<readonly Float64Array[]> {
  const curves = await stages.curves(rankings);
  if (rule !== "sensitivity") return curves;
  return weighed(curves, await stages.sensitivities(rankings, curves));
}

async function rankingsFor(
  options: PruneOptions,
  stages: ChoiceStages,
  kept: readonly number[] | undefined,
  uniform: () => Ratios,
): Promise<readonly Ranking[]> {
  const { criterion, worth, shapleyStages, ahead, pairs } = options;
  const { base, reversed } = parseCriterion(criterion);
  if (base === "shapley" && worth !== "compensated") {
    const estimates = await stages.networkShapley(kept ?? uniform().kept);
    return estimates.map((estimate) => {
      const scores = estimate.players.map(({ value }) => reversed ? -value : value);
      return { ...rankingBy(scores), estimate };
    });
  }
  const shapley = sequentialRanking({ stages: shapleyStages, ahead, pairs });
  return await stages.rankings((context) => rank(criterion, context, shapley));
}

/** A ranking that says what the look that decided the cut left open. */
function withUnsettled(ranking: Ranking, removed: number): Ranking {
  const { estimate, looks } = ranking;
  if (estimate === undefined || looks === undefined) return ranking;
  const unsettled = unsettledAt(looks, removed);
  const outcome = unsettled.length === 0 ? "separated" : "spent";
  return { ...ranking, estimate: { ...estimate, unsettled, outcome } };
}

/** Chooses widths and channels within the options' budget. */
export async function choose(
  graph: Graph,
  groups: readonly ChannelGroup[],
  caps: readonly number[],
  options: PruneOptions,
  stages: ChoiceStages,
): Promise<Choice> {
  const { ratios: rule, fusion, rankWeight, exponent, roundTo } = options;
  const byShares = (figures: readonly number[]) => (budget: Budget) =>
    solveShares(graph, groups, figures, { budget, caps, roundTo });
  const alike = byShares(groups.map(() => 1));
  const needsConcentration = rule === "concentration" || (weighsCurves(rule) && exponent > 0);
  const concentration = needsConcentration
    ? concentrationOf(graph, groups, concentrate(await stages.statistics(), fusion, rankWeight))
    : undefined;
  const solved = rule === "uniform"
    ? await stages.settled(alike)
    : rule === "concentration"
    ? await stages.settled(byShares(sharpened(concentration!, exponent)))
    : undefined;
  const rankings = await rankingsFor(options, stages, solved?.kept, () => alike(stages.budget));
  const curves = solved ? undefined : await curvesFor(rule, rankings, stages);
  const weights = concentration && sharpened(concentration, exponent);
  const ratios = solved ??
    await stages.settled((budget) =>
      solveKnapsack(graph, groups, weighed(curves!, weights), { budget, caps, roundTo })
    );
  return {
    removals: removalsOf(groups, rankings, ratios.kept),
    ratios,
    rankings: rankings.map((ranking, index) => {
      return withUnsettled(ranking, groups[index].players.length - ratios.kept[index]);
    }),
    ...(concentration ? { concentration } : {}),
    ...(curves ? { curves } : {}),
  };
}

/** Most players that may go, by group. */
export function mostRemovable(
  groups: readonly ChannelGroup[],
  caps: readonly number[],
  roundTo: number,
): number[] {
  return groups.map((group, index) => {
    const { least, most } = rangeOf(group, caps[index], roundTo);
    return most - least;
  });
}
