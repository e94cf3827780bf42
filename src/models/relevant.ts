import type { Graph } from "../graph/graph.ts";
import type { StateDict } from "../tensor.ts";

/** Bookkeeping that frameworks store and no operator reads. */
const IGNORED = /(^|\.)num_batches_tracked$/;

/** Parts of published checkpoints that only training used, by architecture. */
const TRAINING_ONLY: Readonly<Record<string, RegExp>> = {
  // The auxiliary classifiers of torchvision's state dict.
  googlenet: /^aux[12]\./,
};

/** As in torchvision's DenseNet files, which are older than its code: `denselayer1.norm.1.weight`. */
const OLD_DENSENET = /^(.*denselayer\d+\.(?:norm|conv))\.([12]\.\w+)$/;

/** The tensors of a checkpoint that an architecture may read, under today's names. */
export function relevantWeights(graph: Graph, weights: StateDict): StateDict {
  const trainingOnly = Object.hasOwn(TRAINING_ONLY, graph.name)
    ? TRAINING_ONLY[graph.name]
    : undefined;
  const kept: StateDict = new Map();
  for (const [name, tensor] of weights) {
    const known = graph.parameters.has(name);
    if (!known && (IGNORED.test(name) || trainingOnly?.test(name))) continue;
    const renamed = name.replace(OLD_DENSENET, "$1$2");
    kept.set(!known && graph.parameters.has(renamed) ? renamed : name, tensor);
  }
  return kept;
}
