/**
 * The path of the data: baseline, statistics, ratios, Shapley values, surgery, compensation,
 * re-estimation, fine-tuning. Held-out pictures serve every choice; the test set is read for
 * reporting only. Every finished stage is stored, so that a stopped run resumes.
 */

import { calibrationBatches } from "../data/batches/calibration.ts";
import type { PictureSet } from "../data/dataset.ts";
import { digestOfPictures } from "../data/digest.ts";
import type { ChannelGroup } from "../graph/channels.ts";
import { costOf } from "../graph/cost.ts";
import { cutGraph, type Removal } from "../graph/cut.ts";
import { digestOfGraph } from "../graph/digest.ts";
import type { Graph } from "../graph/graph.ts";
import type { LatencyOutcome } from "../latency/outcome.ts";
import type { ComputeOptions } from "../native/loaded_model.ts";
import type { Figures } from "../objectives/figures.ts";
import { matchingOf } from "../objectives/matching.ts";
import { classify, match, type Objective } from "../objectives/objective.ts";
import { problemOf } from "../ratios/budget.ts";
import { checkCut, type CutCheck } from "../surgery/check.ts";
import { compensate } from "../surgery/compensate.ts";
import { reestimate } from "../surgery/reestimate.ts";
import type { EpochRecord } from "../training/checkpoint_position.ts";
import type { TrainingOutcome, TrainResult } from "../training/options.ts";
import { type Choice, choose } from "./choice.ts";
import { Choosing } from "./choosing.ts";
import { constrainedGroups, type Constraints } from "./constraints.ts";
import { fineTune } from "./fine_tuning.ts";
import { trainingPasses } from "./forecast.ts";
import type { PruneOptions } from "./options.ts";
import { commonInputs } from "./stage_inputs.ts";
import { type PruneInput, type PruneRunOptions, Stages } from "./stages.ts";
import { StageStore } from "./store.ts";

export type { PruneInput, PruneRunOptions } from "./stages.ts";

/** What the objective says on both sets at one moment. */
export interface Measured {
  readonly heldOut: Figures;
  readonly test: Figures;
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
/** Pictures that variances of outputs are measured on. */
const MATCHED_IMAGES = 256;
/** Pictures that the masked and the cut model are compared on. */
const CHECK_IMAGES = 64;

/** One run: its input, options, store and what it has measured so far. */
class PruningRun {
  readonly #input: PruneInput;
  readonly #options: PruneOptions;
  readonly #run: PruneRunOptions;
  readonly #compute: ComputeOptions;
  readonly #stages: Stages;
  readonly #measured = new Map<string, Measured>();
  readonly #keptSteps: string[] = [];
  #objective: Objective = classify;

  constructor(stages: Stages) {
    this.#stages = stages;
    this.#input = stages.input;
    this.#options = stages.options;
    this.#run = stages.run;
    this.#compute = stages.compute;
  }

  async run(): Promise<Pruned> {
    const { graph } = this.#input;
    const { groups, caps, constraints } = constrainedGroups(graph, this.#options);
    const choosing = new Choosing(this.#stages);
    const table = await choosing.layerTimes(graph);
    const stages = choosing.stagesFor(graph, groups, caps, table);
    // Whether times can be met shows once there are any.
    problemOf(graph, groups, { budget: stages.budget, caps, roundTo: this.#options.roundTo });
    if (this.#options.objective === "match") this.#objective = await this.#matched(graph);
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
      ...(choosing.latencyOutcome ? { latencyOutcome: choosing.latencyOutcome } : {}),
      check,
      measured: this.#measured,
      keptSteps: this.#keptSteps,
      history: tuned?.history ?? [],
      ...(tuned ? { outcome: tuned.outcome } : {}),
      ...(control ? { controlHistory: control.history } : {}),
      stages: this.#stages.spent,
    };
  }

  /** What outputs of models are matched to, by the original's on pictures of the training set. */
  async #matched(graph: Graph): Promise<Objective> {
    return match(
      await this.#stages.timed("outputs", async () => {
        const pictures = await this.#stages.pictures(MATCHED_IMAGES, "outputs");
        return await matchingOf(graph, pictures, {
          ...this.#compute,
          ...this.#run,
          normalisation: this.#input.normalisation,
        });
      }),
    );
  }

  async #evaluate(graph: Graph, dataset: PictureSet, stage: string): Promise<Figures> {
    const { normalisation } = this.#input;
    const { seconds, ...figures } = await this.#objective.judge(graph, dataset, {
      ...this.#compute,
      ...this.#run,
      normalisation,
      stage,
    });
    // Of the passes alone: in a short stage, compiling and loading take longer than they do.
    if (graph === this.#input.graph) this.#stages.passSeconds = seconds / figures.total;
    return figures;
  }

  async #measure(graph: Graph): Promise<Measured> {
    const heldOut = await this.#evaluate(graph, this.#input.heldOut, "evaluation");
    const test = await this.#evaluate(graph, this.#input.test, "evaluation");
    return { heldOut, test };
  }

  /** As `#measure`, once for every graph and its pictures. */
  async #measureOnce(stage: string, graph: Graph): Promise<Measured> {
    const { heldOut, test } = this.#input;
    const store = this.#stages.store.with([
      digestOfGraph(graph),
      digestOfPictures(heldOut),
      digestOfPictures(test),
      // Errors are measured against the original.
      ...(this.#objective.name === "match" ? [digestOfGraph(this.#input.graph)] : []),
    ]);
    return await this.#stages.stage(stage, 0, () => this.#measure(graph), false, store);
  }

  async #baseline(graph: Graph): Promise<void> {
    const images = this.#input.heldOut.count + this.#input.test.count;
    const measured = await this.#measureOnce("baseline", graph);
    this.#measured.set("original", measured);
    const { seconds } = this.#stages.spent.at(-1)!;
    // A stored result has no other figure.
    if (this.#stages.passSeconds === 0) this.#stages.passSeconds = seconds / images;
  }

  async #surgery(graph: Graph, removals: readonly Removal[]) {
    const cut = cutGraph(graph, removals);
    const check = await this.#stages.stage(
      "surgery",
      0,
      async () => {
        const pictures = await this.#stages.pictures(CHECK_IMAGES, "check");
        const [batch] = calibrationBatches(pictures, pictures.count, this.#input.normalisation);
        return await checkCut(graph, cut, removals, batch, this.#compute);
      },
      false,
      this.#stages.store.with({ cut: digestOfGraph(cut), seed: this.#options.seed }),
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

  /** Weights are not stored: compensating again takes less than keeping them is worth. */
  async #compensation(graph: Graph, cut: Graph, removals: readonly Removal[]): Promise<Graph> {
    if (!this.#options.compensate) return cut;
    const compensated = await this.#stages.timed("compensation", async () => {
      const pictures = await this.#stages.pictures(SURGERY_IMAGES, "surgery");
      return await compensate(graph, cut, removals, pictures, {
        ...this.#compute,
        ...this.#run,
        normalisation: this.#input.normalisation,
      });
    });
    return await this.#betterOf("afterCompensation", cut, compensated, this.#currentLoss());
  }

  async #reestimation(graph: Graph): Promise<Graph> {
    if (!this.#options.reestimate) return graph;
    const measured = await this.#stages.timed("re-estimation", async () => {
      const pictures = await this.#stages.pictures(SURGERY_IMAGES, "surgery");
      return await reestimate(graph, pictures, {
        ...this.#compute,
        ...this.#run,
        normalisation: this.#input.normalisation,
      });
    });
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
    const seconds = passes * this.#stages.passSeconds;
    this.#run.onStage?.({ stage, ...(seconds > 0 ? { seconds } : {}) });
    const { matching } = this.#objective;
    const input = matching ? { ...this.#input, matching } : this.#input;
    const result = await fineTune(stage, graph, input, this.#options, {
      ...this.#run,
      store: this.#stages.store,
    });
    const spent = result.history.reduce((sum, epoch) => sum + epoch.seconds, 0);
    this.#stages.spent.push({ name: stage, seconds: spent });
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
  const inputs = commonInputs(input, options);
  const shared = run.artefacts && { artefacts: run.artefacts, about: input.graph.name };
  const store = await StageStore.open(`${options.out}/run`, inputs, options.resume, shared);
  return await new PruningRun(new Stages(input, options, run, store)).run();
}
