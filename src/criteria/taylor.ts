/**
 * First-order Taylor importance, squared (Molchanov et al., "Importance estimation for neural network
 * pruning", arXiv 1906.10771, equation 8): what the loss would change if a player's parameters were
 * zero, by its gradient there. With batch norm the player is its scales and offsets, as the paper
 * advises, else its filters; sums run over all sites, squares are averaged over batches.
 */

import { calibrationBatches } from "../data/batches/calibration.ts";
import type { Graph } from "../graph/graph.ts";
import { LoadedModel } from "../native/loaded_model.ts";
import { stopIfAsked } from "../progress.ts";
import { elementCount, type Tensor } from "../tensor.ts";
import { normOffsets, trainableOf } from "./filters.ts";
import { type CriterionContext, type Ranking, rankingBy } from "./ranking.ts";

const IMAGES = 1024;
const BATCH = 64;

/** Slices of a player whose products with their gradients are summed: norms if it has any. */
function slicesOf(graph: Graph, context: CriterionContext) {
  const offsets = normOffsets(graph);
  const norms = new Set([...offsets].flat());
  return context.groups.map(({ players }) =>
    players.map(({ slices }) => {
      const own = slices.filter(({ parameter, axis }) => axis === 0 && norms.has(parameter));
      return own.length > 0 ? own : slices.filter(({ axis }) => axis === 0);
    })
  );
}

/** Sum of weight times gradient over one index of a parameter's first axis. */
function product(weight: Tensor, gradient: Float32Array, index: number): number {
  const size = elementCount(weight.shape.slice(1));
  let sum = 0;
  for (let i = index * size; i < (index + 1) * size; i++) sum += weight.data[i] * gradient[i];
  return sum;
}

/** Gradients of a batch's mean loss: what one plain step of rate 1 takes off the parameters. */
async function gradientsOf(model: LoadedModel, names: readonly string[], graph: Graph) {
  const gradients = new Map<string, Float32Array>();
  for (const name of names) {
    const before = graph.parameters.get(name)!.data;
    const after = await model.session.read(name) as Float32Array;
    gradients.set(name, before.map((value, i) => value - after[i]));
  }
  return gradients;
}

export async function taylor(context: CriterionContext): Promise<Ranking[]> {
  const { graph, groups, normalisation, compute, signal, onProgress } = context;
  const pictures = await context.pictures(IMAGES, "taylor");
  const images = Math.min(BATCH, pictures.count);
  using model = LoadedModel.open(graph, [{
    kind: "step",
    name: "step",
    images,
    loss: { smoothing: 0 },
    optimizer: { kind: "sgd", weightDecay: 0 },
  }], { ...compute, dtype: "f32" });
  const entry = model.entry("step");
  const trainable = trainableOf(graph);
  const slices = slicesOf(graph, context);
  const names = [...new Set(slices.flat(2).map(({ parameter }) => parameter))]
    .filter((name) => trainable.has(name));
  const scores = groups.map(({ players }) => new Float64Array(players.length));
  const batches = calibrationBatches(pictures, images, normalisation);
  for (const [done, batch] of batches.entries()) {
    stopIfAsked(signal);
    model.write(graph.parameters);
    await model.run("step", {
      feeds: {
        [entry.feeds.images!]: batch.images,
        [entry.feeds.labels!]: batch.labels,
        // Rate 1 and no momentum: parameters move by their gradients.
        [entry.feeds.hyper!]: Float32Array.of(1, 0),
      },
    });
    const gradients = await gradientsOf(model, names, graph);
    slices.forEach((players, group) =>
      players.forEach((own, player) => {
        const sum = own.reduce((total, { parameter, index }) => {
          const gradient = gradients.get(parameter);
          return gradient === undefined
            ? total
            : total + product(graph.parameters.get(parameter)!, gradient, index);
        }, 0);
        scores[group][player] += sum ** 2 / batches.length;
      })
    );
    onProgress?.({ stage: "gradients", done: done + 1, total: batches.length, unit: "batches" });
  }
  return scores.map((own) => rankingBy(own));
}
