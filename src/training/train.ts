import { BatchStream } from "../data/batches/batches.ts";
import type { Graph } from "../graph/graph.ts";
import { requireFit, requirePictures } from "./evaluate.ts";
import type { TrainOptions, TrainResult } from "./options.ts";
import { TrainingRun } from "./run.ts";

export type { Distillation, Optimizer, TrainOptions, TrainResult } from "./options.ts";

/**
 * Trains a graph. The result depends on the options and the instruction set alone: not on threads,
 * and not on being stopped and resumed. With validation pictures the starting weights compete with those
 * of every epoch, and a loss that is no longer finite ends training with the best so far. Throws
 * "data-mismatch" when pictures or classes do not fit, "numeric-failure" when the loss is not finite and
 * there is nothing to keep, "cancelled" when the signal aborts.
 */
export async function train(graph: Graph, options: TrainOptions): Promise<TrainResult> {
  const require = options.matching ? requirePictures : requireFit;
  require(graph, options.data, options.normalisation);
  if (options.validation) require(graph, options.validation, options.normalisation);
  // First, so that its worker starts while the model is compiled.
  const batches = new BatchStream(options.data, {
    batchSize: Math.min(options.batch, options.data.count),
    normalisation: options.normalisation,
    seed: options.seed,
    augment: options.augment ?? false,
    shuffle: options.shuffle ?? true,
  });
  try {
    using run = new TrainingRun(graph, options, batches);
    return await run.run();
  } finally {
    await batches.close();
  }
}
