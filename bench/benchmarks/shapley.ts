import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { type ChannelGroup, prunableGroups } from "../../src/graph/channels.ts";
import { computeOf, LoadedModel } from "../../src/native/loaded_model.ts";
import { RandomStream } from "../../src/random.ts";
import type { Coalition } from "../../src/shapley/estimate.ts";
import { gameRequest, NetworkGame } from "../../src/shapley/game.ts";
import type { Benchmark, BenchmarkOptions, Case, Contestant } from "../contestant.ts";
import { openPeer } from "../peers.ts";
import { RESULTS } from "../results.ts";
import {
  type Dtype,
  labelsInTurn,
  type Network,
  networkOf,
  noisePictures,
  precisions,
} from "./network.ts";

/**
 * A layer's evaluations cost in proportion to the layers behind it, so that every third layer,
 * counted for its two neighbours too, stands for all without bias.
 */
interface Sample {
  /** Index among the inner layers; the peers' index too. */
  readonly layer: number;
  readonly group: ChannelGroup;
  /** Evaluations in one permutation of each layer that this one stands for. */
  readonly perPermutation: number;
}

function sampledLayers(groups: readonly ChannelGroup[], every: number): Sample[] {
  const middle = Math.floor(every / 2);
  return groups.flatMap((group, layer) => {
    if (layer % every !== middle) return [];
    const stoodFor = groups.slice(layer - middle, layer - middle + every);
    const perPermutation = stoodFor.reduce((sum, { players }) => sum + players.length - 1, 0);
    return [{ layer, group, perPermutation }];
  });
}

/** Coalitions of random walks, as the estimator meets them. */
export function coalitionsOf(players: number, count: number): Coalition[] {
  const coalitions: Coalition[] = [];
  for (let walk = 0; coalitions.length < count; walk++) {
    const order = new RandomStream(0, "bench walk", walk).permutation(players);
    const coalition = new Uint8Array(players);
    for (const player of order.subarray(0, players - 1)) {
      coalition[player] = 1;
      coalitions.push(coalition.slice());
    }
  }
  return coalitions.slice(0, count);
}

/** Of a result of experiments/shapley_error.ts. */
const ErrorResult = z.object({
  overall: z.object({
    ofWorkAtEqualError: z.object({ corrected: z.object({ ratio: z.number().positive() }) }),
  }),
});

/** How many evaluations of independent permutations one of ours is worth, and who says so. */
function savedSampling(): { ratio: number; file: string } {
  const file = readdirSync(RESULTS).filter((name) => name.includes("-shapley-error-")).sort().at(
    -1,
  );
  if (file === undefined) throw new Error(`expects a result of shapley_error.ts in ${RESULTS}`);
  const { overall } = ErrorResult.parse(JSON.parse(readFileSync(join(RESULTS, file), "utf8")));
  return { ratio: overall.ofWorkAtEqualError.corrected.ratio, file };
}

interface Setting {
  readonly images: number;
  /** Evaluations of each sampled layer in one measurement of ours. */
  readonly evaluations: number;
  /** Those of the peers, whose time for one does not depend on how many there are. */
  readonly cached: number;
  readonly naive: number;
  readonly every: number;
}

/**
 * Evaluations a second over one permutation of every inner layer, both ends left out, in units of a
 * loop over independent permutations that reaches the same standard error.
 */
function openOurs(
  { graph }: Network,
  samples: readonly Sample[],
  { images, evaluations }: Setting,
  options: BenchmarkOptions,
  dtype: Dtype,
  saved: number,
): Contestant {
  const requests = samples.map(({ group }) => gameRequest(graph, group, images));
  const model = LoadedModel.open(graph, requests, computeOf({ ...options, dtype }));
  const batch = { images: noisePictures(graph, images), labels: labelsInTurn(images) };
  const games = samples.map(({ group, perPermutation }) => ({
    game: new NetworkGame(model, group, [batch]),
    coalitions: coalitionsOf(group.players.length, evaluations),
    perPermutation,
  }));
  return {
    about: `${dtype}, prefix kept, coalitions stacked as one batch, pairs and surrogate`,
    measure: async () => {
      let seconds = 0, total = 0;
      for (const { game, coalitions, perPermutation } of games) {
        const started = performance.now();
        await game.evaluate(coalitions, {});
        const each = (performance.now() - started) / 1000 / coalitions.length;
        seconds += each * perPermutation;
        total += perPermutation;
      }
      return saved * total / seconds;
    },
    close: () => model.dispose(),
  };
}

function caseOf(network: Network, options: BenchmarkOptions): Case {
  const setting: Setting = options.quick
    ? { images: 4, evaluations: 9, cached: 2, naive: 1, every: 1 }
    : { images: 128, evaluations: 16, cached: 4, naive: 1, every: 3 };
  const groups = prunableGroups(network.graph, "inner");
  const samples = sampledLayers(groups, setting.every);
  const evaluations = groups.reduce((sum, { players }) => sum + players.length - 1, 0);
  const precision = precisions(options).at(-1)!;
  const { dtype } = precision;
  const saved = savedSampling();
  const peer = (cached: boolean, count: number) => ({
    ...network.peer,
    ...precision,
    cached,
    images: setting.images,
    evaluations: count,
    layers: samples.map(({ layer }) => layer),
    perPermutation: samples.map(({ perPermutation }) => perPermutation),
    players: samples.map(({ group }) => group.players.length),
  });
  return {
    name: `Shapley at equal error, all ${groups.length} inner layers of ${network.title}`,
    unit: "evaluations/s",
    better: "higher",
    mostRounds: 5,
    details: {
      evaluationsPerPermutation: evaluations,
      savedSampling: saved,
      measured: setting.evaluations,
      layersMeasured: samples.length,
      images: setting.images,
      dtype,
    },
    ours: () => Promise.resolve(openOurs(network, samples, setting, options, dtype, saved.ratio)),
    peers: [
      {
        name: "PyTorch, cached prefix",
        target: { kind: "ratio", least: 4 },
        open: (python) => openPeer(python, "shapley", options, peer(true, setting.cached)),
      },
      {
        name: "PyTorch, whole passes",
        target: { kind: "ratio", least: 12 },
        open: (python) => openPeer(python, "shapley", options, peer(false, setting.naive)),
      },
    ],
  };
}

export const shapley: Benchmark = {
  name: "shapley",
  about: "Shapley values of every inner layer of ResNet-56, at equal standard error",
  cases: (options) => [caseOf(networkOf(options), options)],
};
