import { calibrationBatches } from "../data/batches/calibration.ts";
import type { Dataset, Normalisation } from "../data/dataset.ts";
import type { Graph } from "../graph/graph.ts";
import { type ComputeOptions, LoadedModel } from "../native/loaded_model.ts";
import type { RunOptions } from "../progress.ts";

export interface ReestimateOptions extends RunOptions, ComputeOptions {
  readonly normalisation: Normalisation;
  /** Images per batch; default 128. */
  readonly batch?: number;
}

/**
 * The graph with batch-norm statistics measured anew on the given pictures: the cumulative
 * average over batches, as PyTorch's momentum=None gives. A graph without batch norm stays as it is.
 */
export async function reestimate(
  graph: Graph,
  dataset: Dataset,
  options: ReestimateOptions,
): Promise<Graph> {
  if (graph.nodes.every(({ op }) => op !== "batch_norm")) return graph;
  const { normalisation, signal, onProgress } = options;
  const images = Math.min(options.batch ?? 128, dataset.count);
  using model = LoadedModel.open(graph, [
    { kind: "statistics", name: "statistics", images },
  ], options);
  const { feeds } = model.entry("statistics");
  const batches = calibrationBatches(dataset, images, normalisation);
  for (const [index, batch] of batches.entries()) {
    await model.run("statistics", {
      feeds: {
        [feeds.images!]: batch.images,
        [feeds.momentum!]: Float32Array.of(1 / (index + 1)),
      },
      ...(signal ? { signal } : {}),
    });
    const done = (index + 1) * images;
    onProgress?.({ stage: "re-estimation", done, total: batches.length * images, unit: "images" });
  }
  return await model.current();
}
