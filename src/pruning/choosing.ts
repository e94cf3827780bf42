/** The stages that choosing widths and channels asks for, stored under what they depend on. */

import type { SiteStatistics } from "../concentration/concentration.ts";
import { measureSites } from "../concentration/statistics.ts";
import type { CriterionContext } from "../criteria/ranking.ts";
import { calibrationBatches } from "../data/batches/calibration.ts";
import type { ChannelGroup } from "../graph/channels.ts";
import type { Graph } from "../graph/graph.ts";
import { layerCosts } from "../latency/costs.ts";
import type { LatencyOutcome } from "../latency/outcome.ts";
import type { LatencyTable } from "../latency/table.ts";
import type { Budget, Ratios } from "../ratios/budget.ts";
import { Games } from "../reproduction/games.ts";
import { measureSensitivity, sensitivityImages } from "../reproduction/sensitivity.ts";
import { measureMoments } from "../reproduction/moments.ts";
import { needsOf } from "../reproduction/readers.ts";
import type { Estimate } from "../shapley/estimate.ts";
import { type ChoiceStages, mostRemovable } from "./choice.ts";
import { shapleyPasses } from "./forecast.ts";
import { profiled, settle, tableOf } from "./latency_budget.ts";
import { shapleyOf } from "./network_shapley.ts";
import { choosingOptions, outline } from "./stage_inputs.ts";
import type { Stages } from "./stages.ts";

/** Pictures that layers' inputs are measured on, at most. */
const MOMENT_IMAGES = 2048;
const GAME_BATCH = 128;
/** Bytes of moments that are kept for other runs, at most. */
const LARGEST_MOMENTS = 128 * 2 ** 20;

export class Choosing {
  readonly #stages: Stages;
  /** What passes take at the widths that were solved, where the budget is one in time. */
  latencyOutcome: LatencyOutcome | undefined;

  constructor(stages: Stages) {
    this.#stages = stages;
  }

  /** Times of the layers, where the budget is one in time. */
  async layerTimes(graph: Graph): Promise<LatencyTable | undefined> {
    const { budget, roundTo, threads } = this.#stages.options;
    if (budget.kind !== "latency") return undefined;
    const store = this.#stages.store.with({ runtime: budget.runtime, roundTo, threads });
    const profile = () => profiled(graph, budget, this.#stages.options, this.#stages.run);
    return await tableOf(budget) ??
      await this.#stages.stage("layer times", 0, profile, false, store);
  }

  /** Widths in time are stored: measuring again would make others of them. */
  async #settled(
    graph: Graph,
    groups: readonly ChannelGroup[],
    table: LatencyTable,
    solve: (cut: number) => Ratios,
  ): Promise<Ratios> {
    const inputs = { groups: outline(groups), table, ...choosingOptions(this.#stages.options) };
    const { cut } = this.#stages.options.budget;
    const removals = ({ kept }: Ratios) =>
      groups.map((group, index) => ({
        group,
        removed: group.players.map((_, player) => player).slice(kept[index]),
      }));
    const { ratios, outcome } = await this.#stages.stage(
      "widths",
      0,
      () => settle(graph, table, cut, { solve, removals }, this.#stages.run),
      false,
      this.#stages.store.with(inputs),
    );
    this.latencyOutcome = outcome;
    return ratios;
  }

  /** The stages that choosing asks for, each stored under what it depends on. */
  stagesFor(
    graph: Graph,
    groups: readonly ChannelGroup[],
    caps: readonly number[],
    table: LatencyTable | undefined,
  ): ChoiceStages {
    const { normalisation } = this.#stages.input;
    const { criterion, seed, pairs, shapleyStages, ahead, roundTo } = this.#stages.options;
    let measured: Promise<Games> | undefined;
    const games = () => measured ??= this.#games(graph, groups);
    const most = mostRemovable(groups, caps, roundTo);
    const asked = this.#stages.options.budget;
    const costs = table && layerCosts(graph, table);
    const budgetOf = (cut: number): Budget =>
      asked.kind === "latency" ? { kind: asked.kind, cut, costs: costs! } : { ...asked, cut };
    return {
      budget: budgetOf(asked.cut),
      settled: async (solve) =>
        table === undefined
          ? solve(budgetOf(asked.cut))
          : await this.#settled(graph, groups, table, (cut) => solve(budgetOf(cut))),
      statistics: () => this.#statistics(graph, groups),
      networkShapley: (kept) => this.#networkShapley(graph, groups, kept),
      curves: async (rankings) => {
        const orders = rankings.map(({ order }) => order);
        const store = this.#stages.store.with({ groups: outline(groups), orders, seed });
        const measure = async () => await (await games()).curves(orders);
        return await this.#stages.stage("curves", 0, measure, false, store);
      },
      sensitivities: async (rankings, curves) => {
        const orders = rankings.map(({ order }) => order);
        const store = this.#stages.store.with({ groups: outline(groups), orders, most, seed });
        const measure = async () => {
          const pictures = await this.#stages.pictures(sensitivityImages(graph), "sensitivity");
          const options = { ...this.#stages.compute, ...this.#stages.run, normalisation };
          const question = { orders, curves, most };
          return await measureSensitivity(
            graph,
            groups,
            await games(),
            question,
            pictures,
            options,
          );
        };
        return await this.#stages.stage("sensitivities", 0, measure, false, store);
      },
      rankings: async (find) => {
        const inputs = { groups: outline(groups), criterion, seed, most };
        const sampled = { pairs, shapleyStages, ahead };
        const store = this.#stages.store.with({ ...inputs, ...sampled });
        const context: CriterionContext = {
          ...this.#stages.run,
          ...{ graph, groups, most, seed, normalisation, games },
          compute: this.#stages.compute,
          pictures: (count, purpose) => this.#stages.pictures(count, purpose),
        };
        return await this.#stages.stage("contributions", 0, () => find(context), false, store);
      },
    };
  }

  /**
   * Moments serve every criterion and budget, so runs share them up to a size; none keeps its own, since
   * measuring them again takes less than that is worth.
   */
  async #games(graph: Graph, groups: readonly ChannelGroup[]): Promise<Games> {
    const { compute, run, options: { seed }, input: { normalisation } } = this.#stages;
    const needs = needsOf(graph, groups);
    const measure = async () => {
      const pictures = await this.#stages.pictures(MOMENT_IMAGES, "moments");
      const { layers, values } = needs;
      const options = { ...compute, ...run, normalisation };
      return [...await measureMoments(graph, layers, values, pictures, options)];
    };
    const store = this.#stages.store.with({ needs, images: MOMENT_IMAGES, seed });
    const kept = { sharedOnly: true, largest: LARGEST_MOMENTS };
    const moments = await this.#stages.stage("moments", 0, measure, false, store, kept);
    return new Games(graph, groups, new Map(moments), run.signal);
  }

  async #statistics(graph: Graph, groups: readonly ChannelGroup[]) {
    const { rankImages, entropyImages, seed } = this.#stages.options;
    const store = this.#stages.store.with({
      groups: outline(groups),
      rankImages,
      entropyImages,
      seed,
    });
    const measure = async (): Promise<readonly SiteStatistics[]> => {
      const pictures = await this.#stages.pictures(entropyImages, "statistics");
      return await measureSites(graph, groups, pictures, {
        ...this.#stages.compute,
        ...this.#stages.run,
        normalisation: this.#stages.input.normalisation,
        rankImages,
        entropyImages,
      });
    };
    return await this.#stages.stage("statistics", entropyImages, measure, false, store);
  }

  async #networkShapley(
    graph: Graph,
    groups: readonly ChannelGroup[],
    kept: readonly number[],
  ): Promise<readonly Estimate[]> {
    const { worth, calibration, seed, pairs } = this.#stages.options;
    if (worth === "compensated") throw new TypeError("the compensated game plays no network");
    const { normalisation } = this.#stages.input;
    const passes = shapleyPasses(graph, groups, pairs, calibration);
    const inputs = { groups: outline(groups), kept, worth, calibration, seed, pairs };
    const store = this.#stages.store.with(inputs);
    const sample = async () => {
      const pictures = await this.#stages.pictures(calibration, "shapley");
      const size = Math.min(GAME_BATCH, pictures.count);
      const batches = calibrationBatches(pictures, size, normalisation);
      return await shapleyOf(graph, groups, kept, batches, store, {
        ...this.#stages.compute,
        ...this.#stages.run,
        seed,
        pairs,
        worth,
      });
    };
    return await this.#stages.stage("contributions", passes, sample, true, store);
  }
}
