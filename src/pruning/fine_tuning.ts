/** The training that follows surgery, of the pruned model or of its control. */

import type { Normalisation, PictureSet } from "../data/dataset.ts";
import type { Graph } from "../graph/graph.ts";
import { computeOf } from "../native/loaded_model.ts";
import type { Matching } from "../objectives/matching.ts";
import type { RunOptions } from "../progress.ts";
import type { EpochRecord } from "../training/checkpoint_position.ts";
import { identityOf } from "../training/identity.ts";
import { mixingOf } from "../training/mix.ts";
import type { TrainOptions, TrainResult } from "../training/options.ts";
import { defaultWarmup } from "../training/schedule.ts";
import { train } from "../training/train.ts";
import type { PruneOptions } from "./options.ts";
import type { StageStore } from "./store.ts";

/** The original, which may teach, and the pictures of its training. */
export interface FineTuningInput {
  readonly graph: Graph;
  readonly training: PictureSet;
  readonly heldOut: PictureSet;
  readonly normalisation: Normalisation;
  /** What outputs are matched to, in place of labels. */
  readonly matching?: Matching;
}

export interface FineTuningRun extends RunOptions {
  readonly store: StageStore;
  readonly onNote?: (sentence: string) => void;
  readonly onEpoch?: (record: EpochRecord) => void;
}

/** The run's recipe. */
function recipe(input: FineTuningInput, options: PruneOptions): TrainOptions {
  const { distill, temperature } = options;
  return {
    ...computeOf(options),
    data: input.training,
    validation: input.heldOut,
    normalisation: input.normalisation,
    epochs: options.epochs,
    batch: options.batch,
    learningRate: options.learningRate,
    warmupEpochs: options.warmup,
    smoothing: options.smoothing,
    mixing: mixingOf(options),
    optimizer: { kind: "sgd", weightDecay: options.weightDecay },
    clip: options.clip,
    probe: true,
    average: options.ema,
    ...(distill > 0 ? { distillation: { teacher: input.graph, share: distill, temperature } } : {}),
    ...(input.matching ? { matching: input.matching } : {}),
    augment: true,
    seed: options.seed,
  };
}

/**
 * Trains a graph; goes on from what the store has of it, be it for fewer epochs. The control, which no
 * choice of a run touches, is trained once for all runs that share results.
 */
export async function fineTune(
  stage: string,
  graph: Graph,
  input: FineTuningInput,
  options: PruneOptions,
  { store, ...run }: FineTuningRun,
): Promise<TrainResult> {
  const training = recipe(input, options);
  const { epochs, warmup } = options;
  // One that was left to secateur goes with the epochs, which may become more.
  const own = warmup === defaultWarmup(epochs) ? [] : [warmup];
  const recipeStore = store.with([identityOf(graph, training), ...own]);
  const checkpoint = await recipeStore.longer(stage, epochs, "safetensors");
  const trained = async (path: string) => {
    const value = await train(graph, {
      ...run,
      ...training,
      stage,
      checkpoint: path,
      resume: true,
    });
    return { value, seconds: value.history.reduce((sum, epoch) => sum + epoch.seconds, 0) };
  };
  if (stage !== "control") return (await trained(checkpoint)).value;
  return await recipeStore.obtainFile(
    `${stage}-${epochs}`,
    ".safetensors",
    checkpoint,
    trained,
    run,
  );
}
