/**
 * How many evaluations does a standard error cost? For every third inner layer (the middle one of
 * each three), at equal numbers of evaluations: the variance of Shapley estimates from independent
 * permutations, over that of
 *
 * - antithetic pairs: a permutation and the same backwards;
 * - pairs and their rotations by half: four walks in which every player is early and late both in
 *   the order and in its half of it (a stratification of positions);
 * - corrected pairs: what the estimator does, a surrogate fitted crosswise as control variate.
 *
 *   deno run -A bench/experiments/shapley_error.ts --weights FILE --model resnet56 \
 *     --data imagefolder:TAR --out FILE [--pairs 16] [--rotated 8] [--calibration 64]
 *     [--every 3] [--store FOLDER]
 *
 * Variances are sums over a layer's channels, given the calibration pictures. Errors of ratios are
 * standard deviations over bootstrap samples of the pairs. With --store, layers done are kept.
 */

import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type ChannelGroup, prunableGroups } from "../../src/graph/channels.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import { StageStore } from "../../src/pruning/store.ts";
import { RandomStream } from "../../src/random.ts";
import { type Coalition, estimateShapley, type Game } from "../../src/shapley/estimate.ts";
import type { Samples } from "../../src/shapley/estimate.ts";
import { gameRequest, NetworkGame } from "../../src/shapley/game.ts";
import { corrected } from "../../src/shapley/surrogate.ts";
import { openSetting, SETTING_OPTIONS, sweepBatches, writeExperiment } from "./setting.ts";

const RESAMPLES = 400;

const { values: args } = parseArgs({
  options: {
    ...SETTING_OPTIONS,
    pairs: { type: "string", default: "16" },
    rotated: { type: "string", default: "8" },
    calibration: { type: "string", default: "64" },
    every: { type: "string", default: "3" },
    seed: { type: "string", default: "1" },
    store: { type: "string" },
  },
});
const setting = await openSetting(args);
const [pairs, rotated, calibration, every, seed] = [
  args.pairs,
  args.rotated,
  args.calibration,
  args.every,
  args.seed,
].map(Number);
const batches = sweepBatches(setting, calibration, seed);
const groups = prunableGroups(setting.graph, "inner");
const store = await StageStore.open(
  args.store ?? await mkdtemp(join(tmpdir(), "shapley-error-")),
  JSON.stringify([args.weights, args.data, pairs, rotated, calibration, seed]),
  true,
);

/** One walk and every player's contribution along it. */
interface Walked {
  readonly order: readonly number[];
  readonly contributions: Float64Array;
}

function coalitionsAlong(order: readonly number[]): Coalition[] {
  const coalition = new Uint8Array(order.length);
  return order.slice(0, -1).map((player) => {
    coalition[player] = 1;
    return coalition.slice();
  });
}

/** A game that remembers the walks it was asked to evaluate. */
class Recorder implements Game {
  readonly name: string;
  readonly players: number;
  readonly samples: number;
  readonly worth: NetworkGame["worth"];
  readonly walked: Walked[] = [];
  readonly #game: NetworkGame;
  #ends: readonly number[] = [];

  constructor(game: NetworkGame) {
    ({ name: this.name, players: this.players, samples: this.samples, worth: this.worth } = game);
    this.#game = game;
  }

  async evaluate(coalitions: readonly Coalition[]): Promise<Float64Array[]> {
    const values = await this.#game.evaluate(coalitions, {});
    const means = values.map((own) => own.reduce((sum, value) => sum + value, 0) / own.length);
    if (this.#ends.length === 0) this.#ends = means;
    else this.#record(coalitions, means);
    return values;
  }

  #record(coalitions: readonly Coalition[], means: readonly number[]): void {
    const [none, all] = this.#ends;
    const inner = this.players - 1;
    for (let first = 0; first < coalitions.length; first += inner) {
      const along = [
        ...coalitions.slice(first, first + inner),
        new Uint8Array(this.players).fill(1),
      ];
      const values = [none, ...means.slice(first, first + inner), all];
      const contributions = new Float64Array(this.players);
      const order = along.map((coalition, step) => {
        const player = coalition.findIndex((present, i) => present > (along[step - 1]?.[i] ?? 0));
        contributions[player] = values[step + 1] - values[step];
        return player;
      });
      this.walked.push({ order, contributions });
    }
  }
}

/** Every pair's figures, by player; rotated ones are means of a pair and its rotation. */
interface Recorded {
  readonly forward: readonly Float64Array[];
  readonly backward: readonly Float64Array[];
  readonly corrected: readonly Float64Array[];
  /** Variance left by the surrogates' own sampling, summed over players. */
  readonly surrogateVariance: number;
  readonly rotated: readonly Float64Array[];
  readonly range: number;
}

const average = (...all: readonly Float64Array[]) =>
  all[0].map((_, i) => all.reduce((sum, one) => sum + one[i], 0) / all.length);

async function record(group: ChannelGroup): Promise<Recorded> {
  const request = gameRequest(setting.graph, group, batches[0].labels.length);
  using model = LoadedModel.open(setting.graph, [request]);
  const game = new Recorder(new NetworkGame(model, group, batches));
  let samples: Samples | undefined;
  const { all, none } = await estimateShapley(game, {
    seed,
    pairs,
    round: pairs,
    onRound: (sampled) => void (samples = sampled),
  });
  const walked = game.walked.slice();
  const [forward, backward] = [0, 1].map((way) => walked.filter((_, i) => i % 2 === way));
  const walks = forward.map(({ order }) => Int32Array.from(order));
  const better = await corrected({
    name: game.name,
    worth: game.worth,
    walks,
    pairs: samples!.pairs,
    margins: samples!.margins!,
  }, seed);
  if (better === undefined) throw new Error(`expects a surrogate of ${group.name}, found none`);
  const turned = forward.slice(0, rotated).flatMap(({ order }) => {
    const half = order.length >> 1;
    const rotation = [...order.slice(half), ...order.slice(0, half)];
    return [rotation, rotation.toReversed()];
  });
  await game.evaluate(turned.flatMap(coalitionsAlong));
  const more = game.walked.slice(walked.length).map(({ contributions }) => contributions);
  return {
    forward: forward.map(({ contributions }) => contributions),
    backward: backward.map(({ contributions }) => contributions),
    corrected: better.pairs,
    surrogateVariance: better.variances.reduce((sum, variance) => sum + variance, 0),
    rotated: samples!.pairs.slice(0, rotated)
      .map((pair, i) => average(pair, more[2 * i], more[2 * i + 1])),
    range: all - none,
  };
}

/** Variance of one of these, summed over players. */
function variance(figures: readonly Float64Array[]): number {
  const center = average(...figures);
  const squares = figures.reduce(
    (sum, own) => sum + own.reduce((total, value, i) => total + (value - center[i]) ** 2, 0),
    0,
  );
  return squares / (figures.length - 1);
}

/** Variance per evaluation: of a unit, times the walks it takes. */
interface Costs {
  readonly independent: number;
  readonly antithetic: number;
  readonly rotated: number;
  readonly corrected: number;
}

/** Costs from some of the pairs, by their indices. */
function costsOf(recorded: Recorded, chosen: readonly number[]): Costs {
  const of = (figures: readonly Float64Array[]) =>
    chosen.flatMap((i) => i < figures.length ? [figures[i]] : []);
  const forward = of(recorded.forward), backward = of(recorded.backward);
  const means = variance(forward.map((one, i) => average(one, backward[i])));
  const halves = forward.map((one, i) => one.map((value, p) => (value - backward[i][p]) / 2));
  const within = halves.reduce((sum, own) => sum + own.reduce((all, x) => all + x * x, 0), 0);
  return {
    // A walk's variance is that of its pair's mean and, on average, the square of half its spread.
    independent: means + within / forward.length,
    antithetic: 2 * means,
    rotated: 4 * variance(of(recorded.rotated)),
    corrected: 2 * (variance(of(recorded.corrected)) + pairs * recorded.surrogateVariance),
  };
}

const SCHEMES = ["antithetic", "rotated", "corrected"] as const;

interface Layer {
  readonly name: string;
  readonly players: number;
  /** Relative cost of a permutation: its evaluations times the blocks that each replays. */
  readonly work: number;
  readonly recorded: Recorded;
}

type Ratios = Record<(typeof SCHEMES)[number], number>;

const ratiosOf = (costs: Costs): Ratios => ({
  antithetic: costs.independent / costs.antithetic,
  rotated: costs.independent / costs.rotated,
  corrected: costs.independent / costs.corrected,
});

/** Over layers: of summed variances, and of the work it takes to reach equal error in each layer. */
function overall(layers: readonly Layer[], costs: readonly Costs[]) {
  const sum = (of: (costs: Costs) => number) => costs.reduce((all, one) => all + of(one), 0);
  const work = layers.reduce((all, layer) => all + layer.work, 0);
  const needed = (scheme: keyof Ratios) =>
    work / layers.reduce((all, layer, i) => all + layer.work / ratiosOf(costs[i])[scheme], 0);
  return {
    ofSummedVariance: Object.fromEntries(
      SCHEMES.map((scheme) => [scheme, sum((one) => one.independent) / sum((one) => one[scheme])]),
    ) as Ratios,
    ofWorkAtEqualError: Object.fromEntries(
      SCHEMES.map((scheme) => [scheme, needed(scheme)]),
    ) as Ratios,
  };
}

/** Indices of pairs, drawn again; enough rotated ones are always among them. */
function drawn(resample: number): number[] {
  const random = new RandomStream(seed, "shapley error bootstrap", resample);
  const among = (first: number, end: number) =>
    Array.from({ length: end - first }, () => first + random.integer(end - first));
  return [...among(0, rotated), ...among(rotated, pairs)];
}

/** Ratios with their bootstrap errors. */
function withErrors(of: (chosen: readonly number[]) => Ratios) {
  const found = of(Array.from({ length: pairs }, (_, i) => i));
  const again = Array.from({ length: RESAMPLES }, (_, resample) => of(drawn(resample)));
  return Object.fromEntries(SCHEMES.map((scheme) => {
    const figures = again.map((ratios) => ratios[scheme]);
    const mean = figures.reduce((sum, figure) => sum + figure, 0) / RESAMPLES;
    const squares = figures.reduce((sum, figure) => sum + (figure - mean) ** 2, 0);
    return [scheme, { ratio: found[scheme], error: Math.sqrt(squares / (RESAMPLES - 1)) }];
  }));
}

const layers: Layer[] = [];
for (let index = every >> 1; index < groups.length; index += every) {
  const group = groups[index];
  const recorded = await store.once(group.name, () => record(group));
  const players = group.players.length;
  layers.push({
    name: group.name,
    players,
    work: (players - 1) * (groups.length - index),
    recorded,
  });
  console.log(group.name, withErrors((chosen) => ratiosOf(costsOf(recorded, chosen))));
}

const both = (chosen: readonly number[]) =>
  overall(layers, layers.map(({ recorded }) => costsOf(recorded, chosen)));
const result = {
  what: "variance of Shapley estimates from independent permutations over that of other schemes, " +
    "at equal numbers of evaluations",
  ...setting.about,
  pairs,
  rotatedPairs: rotated,
  calibration,
  seed,
  worth: "loss",
  innerLayers: groups.length,
  measuredLayers: layers.length,
  overall: {
    ofSummedVariance: withErrors((chosen) => both(chosen).ofSummedVariance),
    ofWorkAtEqualError: withErrors((chosen) => both(chosen).ofWorkAtEqualError),
  },
  layers: layers.map(({ name, players, recorded }) => ({
    name,
    players,
    range: recorded.range,
    ...withErrors((chosen) => ratiosOf(costsOf(recorded, chosen))),
  })),
};
await writeExperiment(setting.out, result);
console.log(result.overall);
