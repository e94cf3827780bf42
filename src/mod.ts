/**
 * secateur as a library: the stages of the path from a checkpoint to a smaller model, each of
 * which can be called on its own.
 *
 * ```ts
 * const weights = await readWeights("resnet56.th");
 * const graph = bindWeights(createModel("resnet56", { classes: 10 }), weights, "resnet56.th");
 * const groups = prunableGroups(graph, "all");
 * const removals = [{ group: groups[0], removed: [3, 5] }];
 * await writeModel("smaller.safetensors", cutGraph(graph, removals));
 * ```
 */

export { type ErrorCode, SecateurError } from "./errors.ts";
export type { Progress, RunOptions } from "./progress.ts";
export type { StateDict, Tensor } from "./tensor.ts";

export { readWeights } from "./formats/checkpoint.ts";
export { readModel, writeModel } from "./formats/model_file.ts";

export {
  type Dataset,
  loaded,
  type Normalisation,
  normalisations,
  type PictureSet,
  subset,
} from "./data/dataset.ts";
export { openDataset } from "./data/sources/source.ts";
export { holdOutLastPerClass, stratifiedSample } from "./data/split.ts";
export {
  type CalibrationBatch,
  calibrationBatches,
  calibrationSet,
} from "./data/batches/calibration.ts";

export type { Graph, Node, Shape } from "./graph/graph.ts";
export { type ChannelGroup, channelGroups, prunableGroups } from "./graph/channels.ts";
export { type Cost, costOf } from "./graph/cost.ts";
export { cutGraph, parameterCuts, type Removal } from "./graph/cut.ts";
export { shapesOf } from "./graph/shapes.ts";

export { bindWeights } from "./models/bind.ts";
export { createModel, MODEL_NAMES } from "./models/models.ts";

export { compile, type Compiled, type EntryRequest } from "./program/compile.ts";
export { print } from "./program/print.ts";
export { type ComputeOptions, LoadedModel } from "./native/loaded_model.ts";
export { Session } from "./native/session.ts";

export { concentrate, concentrationOf, type Fusion } from "./concentration/concentration.ts";
export { responseEntropy } from "./concentration/entropy.ts";
export type { Budget, Ratios } from "./ratios/budget.ts";
export { solveKnapsack } from "./ratios/knapsack.ts";
export { solveShares } from "./ratios/shares.ts";
export { measureSites } from "./concentration/statistics.ts";

export { type Estimate, estimateShapley, type Game } from "./shapley/estimate.ts";
export { gameRequest, NetworkGame } from "./shapley/game.ts";

export { checkCut } from "./surgery/check.ts";
export { compensate } from "./surgery/compensate.ts";
export { reestimate } from "./surgery/reestimate.ts";

export { evaluate, type Evaluation } from "./training/evaluate.ts";
export { train, type TrainOptions, type TrainResult } from "./training/train.ts";

export type { AskedBudget, PruneOptions } from "./pruning/options.ts";
export { prune, type Pruned, type PruneInput } from "./pruning/pipeline.ts";
