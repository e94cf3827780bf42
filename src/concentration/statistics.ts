/**
 * Rank and entropy of the feature maps at every site of the given groups, batch norm on its
 * running statistics, in f32.
 */

import { calibrationBatches } from "../data/batches/calibration.ts";
import type { Dataset, Normalisation } from "../data/dataset.ts";
import { SecateurError } from "../errors.ts";
import type { ChannelGroup } from "../graph/channels.ts";
import type { Graph, Shape } from "../graph/graph.ts";
import { shapesOf } from "../graph/shapes.ts";
import { type ComputeOptions, LoadedModel } from "../native/loaded_model.ts";
import type { RunOptions } from "../progress.ts";
import type { SiteStatistics } from "./concentration.ts";
import { responseEntropy } from "./entropy.ts";

export interface StatisticsOptions extends RunOptions, Omit<ComputeOptions, "dtype"> {
  readonly normalisation: Normalisation;
  /** How many of the first pictures the rank is averaged over (HRank: 5 batches of 128). */
  readonly rankImages?: number;
  /** How many of the first pictures the response histogram counts. */
  readonly entropyImages?: number;
  readonly batch?: number;
}

/** Sums ranks and keeps responses while batches pass. */
class SiteTally {
  readonly #shape: Shape;
  readonly #value: string;
  #rankSum = 0;
  #maps = 0;
  readonly #responses: Float32Array[] = [];

  constructor(value: string, shape: Shape) {
    this.#value = value;
    this.#shape = shape;
  }

  addRanks(ranks: Float32Array): void {
    for (const rank of ranks) {
      if (rank < 0) {
        throw new SecateurError(
          "numeric-failure",
          `The feature maps of ${this.#value} hold NaN or infinity: check the weights and the ` +
            `normalisation of the pictures.`,
        );
      }
      this.#rankSum += rank;
    }
    this.#maps += ranks.length;
  }

  addResponses(means: Float32Array): void {
    this.#responses.push(means);
  }

  get statistics(): SiteStatistics {
    const [channels, height = 1, width = 1] = this.#shape;
    const responses = new Float32Array(this.#responses.reduce((sum, one) => sum + one.length, 0));
    let at = 0;
    for (const one of this.#responses) {
      responses.set(one, at);
      at += one.length;
    }
    const entropies = responseEntropy(responses, responses.length / channels, channels);
    const entropy = entropies.reduce((sum, one) => sum + one, 0) / channels;
    const most = Math.min(height, width);
    return {
      value: this.#value,
      ...(this.#maps > 0 ? { rank: this.#rankSum / this.#maps / most } : {}),
      entropy,
    };
  }
}

/** Statistics of every site of the groups, in the groups' order, each value once. */
export async function measureSites(
  graph: Graph,
  groups: readonly ChannelGroup[],
  dataset: Dataset,
  options: StatisticsOptions,
): Promise<SiteStatistics[]> {
  const { normalisation, signal, onProgress } = options;
  const shapes = shapesOf(graph);
  const sites = [...new Set(groups.flatMap((group) => group.sites))];
  const maps = sites.filter((value) => shapes.get(value)!.slice(1).some((extent) => extent > 1));
  const entropyImages = Math.min(dataset.count, options.entropyImages ?? 2048);
  const images = Math.min(options.batch ?? 128, entropyImages);
  const rankBatches = Math.ceil(Math.min(options.rankImages ?? 640, entropyImages) / images);
  using model = LoadedModel.open(graph, [
    { kind: "forward", name: "means", images, means: sites },
    { kind: "forward", name: "ranks", images, means: sites, ranks: maps },
  ], { ...options, dtype: "f32" });

  const tallies = new Map(sites.map((value) => [value, new SiteTally(value, shapes.get(value)!)]));
  const batches = calibrationBatches(dataset, images, normalisation)
    .slice(0, Math.ceil(entropyImages / images));
  for (const [index, batch] of batches.entries()) {
    const entry = model.entry(index < rankBatches ? "ranks" : "means");
    const result = await model.run(entry.name, {
      feeds: { [entry.feeds.images!]: batch.images },
      fetch: [...entry.means.values(), ...entry.ranks.values()],
      ...(signal ? { signal } : {}),
    });
    for (const [value, name] of entry.means) {
      tallies.get(value)!.addResponses(result[name] as Float32Array);
    }
    for (const [value, name] of entry.ranks) {
      tallies.get(value)!.addRanks(result[name] as Float32Array);
    }
    const done = (index + 1) * images;
    onProgress?.({ stage: "statistics", done, total: batches.length * images, unit: "images" });
  }
  return [...tallies.values()].map((tally) => tally.statistics);
}
