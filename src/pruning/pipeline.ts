/**
 * The path of the data: baseline, statistics, ratios, Shapley values, surgery, compensation,
 * re-estimation, fine-tuning. Held-out pictures serve every choice; the test set is read for
 * reporting only. Every finished stage is stored, so that a stopped run resumes.
 */

import type { SiteStatistics } from "../concentration/concentration.ts";
import type { CriterionContext } from "../criteria/ranking.ts";
import { Games } from "../reproduction/games.ts";
import { type Choice, type ChoiceStages, choose, mostRemovable } from "./choice.ts";
import { measureSites } from "../concentration/statistics.ts";
import { calibrationBatches, calibrationSet } from "../data/batches/calibration.ts";
import { type Dataset, loaded, type Normalisation, type PictureSet } from "../data/dataset.ts";
import { digestOfPictures } from "../data/digest.ts";
import type { ChannelGroup } from "../graph/channels.ts";
import { costOf } from "../graph/cost.ts";
import { cutGraph, type Removal } from "../graph/cut.ts";
import { digestOfGraph } from "../graph/digest.ts";
import type { Graph } from "../graph/graph.ts";
import { layerCosts } from "../latency/costs.ts";
import type { LatencyOutcome } from "../latency/outcome.ts";
import type { LatencyTable } from "../latency/table.ts";
import type { ComputeOptions } from "../native/loaded_model.ts";
import { type RunOptions, stopIfAsked } from "../progress.ts";
import { type Budget, problemOf, type Ratios } from "../ratios/budget.ts";
import type { Estimate } from "../shapley/estimate.ts";
import { checkCut, type CutCheck } from "../surgery/check.ts";
import { compensate } from "../surgery/compensate.ts";
import { reestimate } from "../surgery/reestimate.ts";
import type { EpochRecord } from "../training/checkpoint.ts";
import { evaluate, type Evaluation } from "../training/evaluate.ts";
import type { TrainingOutcome, TrainResult } from "../training/options.ts";
import { constrainedGroups, type Constraints } from "./constraints.ts";
import { fineTune } from "./fine_tuning.ts";
import { choosingOptions, commonInputs, decidingOptions, outline } from "./stage_inputs.ts";
import { shapleyPasses, trainingPasses } from "./forecast.ts";
import { profiled, settle, tableOf } from "./latency_budget.ts";
import type { PruneOptions } from "./options.ts";
import { shapleyOf } from "./network_shapley.ts";
import { StageStore } from "./store.ts";

/** A model to prune and the pictures it may see. */
export interface PruneInput {
  readonly graph: Graph;
  /** Fine-tuning and calibration. */
  readonly training: PictureSet;
  /** Every choice: what to keep of a stage, which epoch is best. */
  readonly heldOut: PictureSet;
  /** Reporting only. */
  readonly test: PictureSet;
  readonly normalisation: Normalisation;
}

/** Where a stage begins: its name, and how long it may take where that is known. */
export interface StageStart {
  readonly stage: string;
  readonly seconds?: number;
  /** Whether it may end much sooner. */
  readonly atMost?: boolean;
  /** It is not run: an earlier run left its result. */
  readonly taken?: boolean;
}

export interface PruneRunOptions extends RunOptions {
  readonly onStage?: (start: StageStart) => void;
  /** Told, in a sentence each, what people should know before the end. */
  readonly onNote?: (sentence: string) => void;
  /** Told of every epoch of fine-tuning, and of the control's, as it ends. */
  readonly onEpoch?: (record: EpochRecord) => void;
}

/** Accuracy on both sets at one moment. */
export interface Measured {
  readonly heldOut: Evaluation;
  readonly test: Evaluation;
}

/** Everything a run found and made. */
export interface Pruned extends Choice {
  readonly graph: Graph;
  /** The moment of `measured` at which the graph had its weights, and their epoch if there was one. */
  readonly written: { readonly moment: string; readonly epoch?: number };
  readonly original: Graph;
  readonly groups: readonly ChannelGroup[];
  readonly constraints: Constraints;
  /** What passes take, where the budget is one in time. */
  readonly latencyOutcome?: LatencyOutcome;
  readonly check: CutCheck;
  /** By moment, in order; those left out are absent. */
  readonly measured: ReadonlyMap<string, Measured>;
  /** Whether compensation and re-estimation lowered the held-out loss and so were kept. */
  readonly keptSteps: readonly string[];
  readonly history: readonly EpochRecord[];
  /** What became of fine-tuning, where there was any. */
  readonly outcome?: TrainingOutcome;
  readonly controlHistory?: readonly EpochRecord[];
  readonly stages: readonly { readonly name: string; readonly seconds: number }[];
}

/** Pictures that batch norm is estimated anew on, and weights are compensated with. */
const SURGERY_IMAGES = 2048;
/** Pictures that the masked and the cut model are compared on. */
const CHECK_IMAGES = 64;
/** Pictures that layers' inputs are measured on, at most. */
const MOMENT_IMAGES = 2048;
const GAME_BATCH = 128;

/** One run: its input, options, store and what it has measured so far. */
class PruningRun {
  readonly #input: PruneInput;
  readonly #options: PruneOptions;
  readonly #run: PruneRunOptions;
  readonly #store: StageStore;
  /** For stages that depend on any of the options. */
  readonly #everything: StageStore;
  readonly #compute: ComputeOptions;
  readonly #measured = new Map<string, Measured>();
  readonly #stages: { name: string; seconds: number }[] = [];
  readonly #keptSteps: string[] = [];
  #latencyOutcome?: LatencyOutcome;
  /** Seconds of one forward pass of the original on one image. */
  #passSeconds = 0;

  constructor(
    input: PruneInput,
    options: PruneOptions,
    run: PruneRunOptions,
    store: StageStore,
  ) {
    this.#input = input;
    this.#options = options;
    this.#run = run;
    this.#store = store;
    this.#everything = store.with(decidingOptions(options));
    const { dtype, threads } = options;
    this.#compute = { dtype, ...(threads === undefined ? {} : { threads }) };
  }

  async run(): Promise<Pruned> {
    const { graph } = this.#input;
    const { groups, caps, constraints } = constrainedGroups(graph, this.#options);
    const table = await this.#layerTimes(graph);
    const stages = this.#choiceStages(graph, groups, caps, table);
    // Whether times can be met shows once there are any.
    problemOf(graph, groups, { budget: stages.budget, caps, roundTo: this.#options.roundTo });
    await this.#baseline(graph);
    const choice = await choose(graph, groups, caps, this.#options, stages);
    const { removals } = choice;
    const { cut, check } = await this.#surgery(graph, removals);
    const compensated = await this.#compensation(graph, cut, removals);
    const prepared = await this.#reestimation(compensated);
    const tuned = await this.#training("fine-tuning", prepared, ["lastEpoch", "bestEpoch"]);
    const control = this.#options.control
      ? await this.#training("control", graph, ["controlLast", "controlBest"])
      : undefined;
    return {
      graph: tuned?.best ?? prepared,
      written: tuned && tuned.bestEpoch > 0
        ? { moment: "bestEpoch", epoch: tuned.bestEpoch }
        : { moment: this.#keptSteps.at(-1) ?? "afterCut" },
      original: graph,
      groups,
      constraints,
      ...choice,
      ...(this.#latencyOutcome ? { latencyOutcome: this.#latencyOutcome } : {}),
      check,
      measured: this.#measured,
      keptSteps: this.#keptSteps,
      history: tuned?.history ?? [],
      ...(tuned ? { outcome: tuned.outcome } : {}),
      ...(control ? { controlHistory: control.history } : {}),
      stages: this.#stages,
    };
  }

  /**
   * Runs a stage, or takes what it stored, and notes how long it took when it ran. `store` is for what its
   * result depends on.
   */
  async #stage<T>(
    name: string,
    passes: number,
    work: () => Promise<T>,
    atMost = false,
    store: StageStore = this.#everything,
  ): Promise<T> {
    const stored = await store.read<{ value: T; seconds: number }>(name);
    stopIfAsked(this.#run.signal);
    if (stored !== undefined) this.#run.onStage?.({ stage: name, taken: true });
    else {
      const seconds = passes * this.#passSeconds;
      this.#run.onStage?.({ stage: name, ...(seconds > 0 ? { seconds, atMost } : {}) });
    }
    const started = performance.now();
    const value = stored?.value ?? await work();
    const seconds = stored?.seconds ?? (performance.now() - started) / 1000;
    if (stored === undefined) await store.write(name, { value, seconds });
    this.#stages.push({ name, seconds });
    return value;
  }

  async #evaluate(graph: Graph, dataset: PictureSet, stage: string): Promise<Evaluation> {
    const { normalisation } = this.#input;
    const { loss, top1, top5, correct, total, seconds } = await evaluate(graph, dataset, {
      ...this.#compute,
      ...this.#run,
      normalisation,
      stage,
    });
    // Of the passes alone: in a short stage, compiling and loading take longer than they do.
    if (graph === this.#input.graph) this.#passSeconds = seconds / total;
    return { loss, top1, top5, correct, total };
  }

  async #measure(graph: Graph): Promise<Measured> {
    const heldOut = await this.#evaluate(graph, this.#input.heldOut, "evaluation");
    const test = await this.#evaluate(graph, this.#input.test, "evaluation");
    return { heldOut, test };
  }

  /** As `#measure`, once for every graph and its pictures. */
  async #measureOnce(stage: string, graph: Graph): Promise<Measured> {
    const { heldOut, test } = this.#input;
    const store = this.#store.with([
      digestOfGraph(graph),
      digestOfPictures(heldOut),
      digestOfPictures(test),
    ]);
    return await this.#stage(stage, 0, () => this.#measure(graph), false, store);
  }

  async #baseline(graph: Graph): Promise<void> {
    const images = this.#input.heldOut.count + this.#input.test.count;
    const measured = await this.#measureOnce("baseline", graph);
    this.#measured.set("original", measured);
    const { seconds } = this.#stages.at(-1)!;
    // A stored result has no other figure.
    if (this.#passSeconds === 0) this.#passSeconds = seconds / images;
  }

  /** Times of the layers, where the budget is one in time. */
  async #layerTimes(graph: Graph): Promise<LatencyTable | undefined> {
    const { budget, roundTo, threads } = this.#options;
    if (budget.kind !== "latency") return undefined;
    const store = this.#store.with({ runtime: budget.runtime, roundTo, threads });
    const profile = () => profiled(graph, budget, this.#options, this.#run);
    return await tableOf(budget) ?? await this.#stage("layer times", 0, profile, false, store);
  }

  /** Widths in time are stored: measuring again would make others of them. */
  async #settled(
    graph: Graph,
    groups: readonly ChannelGroup[],
    table: LatencyTable,
    solve: (cut: number) => Ratios,
  ): Promise<Ratios> {
    const inputs = { groups: outline(groups), table, ...choosingOptions(this.#options) };
    const { cut } = this.#options.budget;
    const removals = ({ kept }: Ratios) =>
      groups.map((group, index) => ({
        group,
        removed: group.players.map((_, player) => player).slice(kept[index]),
      }));
    const { ratios, outcome } = await this.#stage(
      "widths",
      0,
      () => settle(graph, table, cut, { solve, removals }, this.#run),
      false,
      this.#store.with(inputs),
    );
    this.#latencyOutcome = outcome;
    return ratios;
  }

  /** The stages that choosing asks for, each stored under what it depends on. */
  #choiceStages(
    graph: Graph,
    groups: readonly ChannelGroup[],
    caps: readonly number[],
    table: LatencyTable | undefined,
  ): ChoiceStages {
    const { normalisation } = this.#input;
    const { criterion, seed, pairs, shapleyStages, ahead, roundTo } = this.#options;
    let measured: Promise<Games> | undefined;
    const games = () => measured ??= this.#games(graph, groups);
    const most = mostRemovable(groups, caps, roundTo);
    const asked = this.#options.budget;
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
        const store = this.#store.with({ groups: outline(groups), orders, seed });
        const measure = async () => {
          const own = await games();
          return await Promise.all(orders.map((order, group) => own.curve(group, order)));
        };
        return await this.#stage("curves", 0, measure, false, store);
      },
      rankings: async (find) => {
        const inputs = { groups: outline(groups), criterion, seed, most };
        const sampled = { pairs, shapleyStages, ahead };
        const store = this.#store.with({ ...inputs, ...sampled });
        const context: CriterionContext = {
          ...this.#run,
          ...{ graph, groups, most, seed, normalisation, games },
          compute: this.#compute,
          pictures: (count, purpose) => this.#pictures(count, purpose),
        };
        return await this.#stage("contributions", 0, () => find(context), false, store);
      },
    };
  }

  /** Moments are not stored: measuring them again takes less than keeping them is worth. */
  async #games(graph: Graph, groups: readonly ChannelGroup[]): Promise<Games> {
    this.#run.onStage?.({ stage: "moments" });
    const started = performance.now();
    const pictures = await this.#pictures(MOMENT_IMAGES, "moments");
    const games = await Games.measure(graph, groups, pictures, {
      ...this.#compute,
      ...this.#run,
      normalisation: this.#input.normalisation,
    });
    this.#stages.push({ name: "moments", seconds: (performance.now() - started) / 1000 });
    return games;
  }

  async #statistics(graph: Graph, groups: readonly ChannelGroup[]) {
    const { rankImages, entropyImages, seed } = this.#options;
    const store = this.#store.with({ groups: outline(groups), rankImages, entropyImages, seed });
    const measure = async (): Promise<readonly SiteStatistics[]> => {
      const pictures = await this.#pictures(entropyImages, "statistics");
      return await measureSites(graph, groups, pictures, {
        ...this.#compute,
        ...this.#run,
        normalisation: this.#input.normalisation,
        rankImages,
        entropyImages,
      });
    };
    return await this.#stage("statistics", entropyImages, measure, false, store);
  }

  async #networkShapley(
    graph: Graph,
    groups: readonly ChannelGroup[],
    kept: readonly number[],
  ): Promise<readonly Estimate[]> {
    const { worth, calibration, seed, pairs } = this.#options;
    if (worth === "compensated") throw new TypeError("the compensated game plays no network");
    const { normalisation } = this.#input;
    const passes = shapleyPasses(graph, groups, pairs, calibration);
    const inputs = { groups: outline(groups), kept, worth, calibration, seed, pairs };
    const store = this.#store.with(inputs);
    const sample = async () => {
      const pictures = await this.#pictures(calibration, "shapley");
      const size = Math.min(GAME_BATCH, pictures.count);
      const batches = calibrationBatches(pictures, size, normalisation);
      return await shapleyOf(graph, groups, kept, batches, store, {
        ...this.#compute,
        ...this.#run,
        seed,
        pairs,
        worth,
      });
    };
    return await this.#stage("contributions", passes, sample, true, store);
  }

  async #surgery(graph: Graph, removals: readonly Removal[]) {
    const cut = cutGraph(graph, removals);
    const check = await this.#stage(
      "surgery",
      0,
      async () => {
        const pictures = await this.#pictures(CHECK_IMAGES, "check");
        const [batch] = calibrationBatches(pictures, pictures.count, this.#input.normalisation);
        return await checkCut(graph, cut, removals, batch, this.#compute);
      },
      false,
      this.#store.with({ cut: digestOfGraph(cut), seed: this.#options.seed }),
    );
    const measured = await this.#measureOnce("evaluation after the cut", cut);
    this.#measured.set("afterCut", measured);
    return { cut, check };
  }

  /** The better of two models by held-out loss; notes the candidate's figures and whether it won. */
  async #betterOf(
    moment: string,
    before: Graph,
    after: Graph,
    lossBefore: number,
  ): Promise<Graph> {
    const measured = await this.#measureOnce(`evaluation ${moment}`, after);
    this.#measured.set(moment, measured);
    if (!(measured.heldOut.loss < lossBefore)) return before;
    this.#keptSteps.push(moment);
    return after;
  }

  /** Held-out loss of the model as it stands: of the last step that was kept. */
  #currentLoss(): number {
    return this.#measured.get(this.#keptSteps.at(-1) ?? "afterCut")!.heldOut.loss;
  }

  /** Training pictures for a purpose, in memory while they serve it. */
  async #pictures(count: number, purpose: string): Promise<Dataset> {
    const { seed } = this.#options;
    return await loaded(
      calibrationSet(this.#input.training, count, seed, purpose),
      this.#run.signal,
    );
  }

  /** Weights are not stored: compensating again takes less than keeping them is worth. */
  async #compensation(graph: Graph, cut: Graph, removals: readonly Removal[]): Promise<Graph> {
    if (!this.#options.compensate) return cut;
    this.#run.onStage?.({ stage: "compensation" });
    const started = performance.now();
    const pictures = await this.#pictures(SURGERY_IMAGES, "surgery");
    const compensated = await compensate(graph, cut, removals, pictures, {
      ...this.#compute,
      ...this.#run,
      normalisation: this.#input.normalisation,
    });
    this.#stages.push({ name: "compensation", seconds: (performance.now() - started) / 1000 });
    return await this.#betterOf("afterCompensation", cut, compensated, this.#currentLoss());
  }

  async #reestimation(graph: Graph): Promise<Graph> {
    if (!this.#options.reestimate) return graph;
    this.#run.onStage?.({ stage: "re-estimation" });
    const started = performance.now();
    const pictures = await this.#pictures(SURGERY_IMAGES, "surgery");
    const measured = await reestimate(graph, pictures, {
      ...this.#compute,
      ...this.#run,
      normalisation: this.#input.normalisation,
    });
    this.#stages.push({ name: "re-estimation", seconds: (performance.now() - started) / 1000 });
    return await this.#betterOf("afterReestimation", graph, measured, this.#currentLoss());
  }

  /** Trains a graph with the run's recipe and measures its last and best epochs. */
  async #training(
    stage: string,
    graph: Graph,
    moments: readonly [last: string, best: string],
  ): Promise<TrainResult | undefined> {
    const { epochs, distill } = this.#options;
    if (epochs === 0) return undefined;
    const passes = trainingPasses({
      epochs,
      images: this.#input.training.count,
      heldOut: this.#input.heldOut.count,
      share: costOf(graph).macs / costOf(this.#input.graph).macs,
      teacher: distill > 0,
    });
    const seconds = passes * this.#passSeconds;
    this.#run.onStage?.({ stage, ...(seconds > 0 ? { seconds } : {}) });
    const result = await fineTune(stage, graph, this.#input, this.#options, {
      ...this.#run,
      store: this.#store,
    });
    const spent = result.history.reduce((sum, epoch) => sum + epoch.seconds, 0);
    this.#stages.push({ name: stage, seconds: spent });
    const [last, best] = moments;
    for (const [moment, trained] of [[last, result.last], [best, result.best]] as const) {
      // The starting weights have been measured.
      if (moment === best && result.bestEpoch === 0) continue;
      const measured = await this.#measureOnce(`evaluation ${moment}`, trained);
      this.#measured.set(moment, measured);
    }
    return result;
  }
}

/**
 * Prunes a model: everything up to what is written. Where `options.resume` is set, finished stages that
 * earlier runs left in `out` are taken if nothing they depend on has changed.
 */
export async function prune(
  input: PruneInput,
  options: PruneOptions,
  run: PruneRunOptions = {},
): Promise<Pruned> {
  const inputs = commonInputs(input, options.dtype);
  const store = await StageStore.open(`${options.out}/run`, inputs, options.resume);
  return await new PruningRun(input, options, run, store).run();
}
