/**
 * Shapley values by permutation sampling (Castro et al., "Polynomial calculation of the Shapley
 * value based on sampling", Computers & OR 2009) with antithetic pairs: every permutation is also
 * walked backwards (Mitchell et al., "Sampling permutations for Shapley value estimation", JMLR
 * 2022). A pair is one sample; intervals come from the spread of the pairs' means, of which control
 * variates take most away: the symmetric game, or, where a game's values are losses or
 * probabilities of pictures, a surrogate.
 */

import { SecateurError } from "../errors.ts";
import { type RunOptions, stopIfAsked } from "../progress.ts";
import { RandomStream } from "../random.ts";
import {
  areApproximate,
  type Interval,
  intervalsOf,
  type PairMeans,
  spreadOf,
  unsettledPlayers,
} from "./intervals.ts";
import { addMargins, corrected, FOLDS, type MarginSums, noMargins } from "./surrogate.ts";
import { correctedBySize } from "./symmetric.ts";
import type { Worth } from "./worth.ts";

/** Which players are in, one byte each. */
export type Coalition = Uint8Array;

/** A cooperative game whose value is a mean over samples (calibration images). */
export interface Game {
  readonly name: string;
  readonly players: number;
  /** How many samples a value is the mean of. */
  readonly samples: number;
  /** What a sample's values are; undefined where they are of another kind: no surrogate then. */
  readonly worth?: Worth;
  /** Value of every coalition on every sample: [coalition][sample]. */
  evaluate(coalitions: readonly Coalition[], options: RunOptions): Promise<Float64Array[]>;
}

export interface EstimateOptions extends RunOptions {
  readonly seed: number;
  /** Most pairs of permutations. */
  readonly pairs?: number;
  /** Pairs between two looks at the stopping rule; no look before the first. */
  readonly round?: number;
  /** How many players stay: sampling may stop once their side of the cut is certain. */
  readonly keep?: number;
  /** Confidence of the intervals. */
  readonly confidence?: number;
  /** Pair means already sampled, in order, to go on from. */
  readonly resume?: Samples;
  /** Called after every round with everything sampled so far. */
  readonly onRound?: (samples: Samples) => void | Promise<void>;
}

/** Everything an estimate is made of; plain data, so that it can be stored and gone on from. */
export interface Samples {
  /** Mean over samples of the pair's two marginal contributions: [pair][player]. */
  readonly pairs: readonly Float64Array[];
  /** Sum over pairs of each player's contribution on each sample: [player * samples + sample]. */
  readonly bySample: Float64Array;
  /** Of games with a worth, for each fold of pairs: what surrogates are fitted to. */
  readonly margins?: readonly MarginSums[];
  /** v(all) and v(none), means over samples. */
  readonly all: number;
  readonly none: number;
  /** Largest |sum of a permutation's contributions - (v(all) - v(none))| seen. */
  readonly telescope: number;
  /** Coalitions evaluated. */
  readonly evaluations: number;
}

/** Estimated contribution of one player. */
export interface PlayerValue extends Interval {
  /** Standard deviation of the value over bootstrap samples of the calibration images, if taken. */
  readonly imageError?: number;
}

/** Why sampling stopped. */
export type Outcome = "separated" | "precise" | "spent";

export interface Estimate {
  readonly game: string;
  readonly players: readonly PlayerValue[];
  readonly pairs: number;
  readonly evaluations: number;
  readonly all: number;
  readonly none: number;
  readonly telescope: number;
  readonly outcome: Outcome;
  /** How many times as many pairs it would take without control variates. */
  readonly gain: number;
  /** Too little was seen for the intervals to hold as often as they say. */
  readonly approximate: boolean;
  /** Players whose joint interval still crosses the cut. */
  readonly unsettled: readonly number[];
}

/** The walks of one pair: a random permutation and the same backwards. */
function walksOf(game: Game, seed: number, pair: number): [Int32Array, Int32Array] {
  const forward = new RandomStream(seed, `shapley ${game.name}`, pair).permutation(game.players);
  return [forward, forward.toReversed()];
}

/** Coalitions met strictly between nobody and everybody: size - 1 of them. */
function coalitionsAlong(walk: Int32Array): Coalition[] {
  const coalition = new Uint8Array(walk.length);
  return Array.from(walk.subarray(0, walk.length - 1), (player) => {
    coalition[player] = 1;
    return coalition.slice();
  });
}

const mean = (figures: Float64Array): number => {
  let sum = 0;
  for (const figure of figures) sum += figure;
  return sum / figures.length;
};

/** Accumulates pairs; v(all) and v(none) are evaluated once and shared by every walk. */
class Sampler {
  readonly #game: Game;
  readonly #seed: number;
  readonly #ends: readonly [Float64Array, Float64Array];
  readonly #bySample: Float64Array;
  readonly #pairs: Float64Array[];
  readonly #margins: readonly MarginSums[] | undefined;
  #telescope: number;
  #evaluations: number;

  constructor(
    game: Game,
    seed: number,
    ends: readonly [Float64Array, Float64Array],
    resume?: Samples,
  ) {
    this.#game = game;
    this.#seed = seed;
    this.#ends = ends;
    this.#pairs = [...resume?.pairs ?? []];
    this.#bySample = resume?.bySample.slice() ?? new Float64Array(game.players * game.samples);
    this.#margins = resume
      ? resume.margins?.map((sums) => sums.slice())
      : game.worth && Array.from({ length: FOLDS }, () => noMargins(game.players, game.samples));
    this.#telescope = resume?.telescope ?? 0;
    this.#evaluations = resume?.evaluations ?? 2;
  }

  get samples(): Samples {
    return {
      pairs: this.#pairs,
      bySample: this.#bySample,
      ...(this.#margins ? { margins: this.#margins } : {}),
      none: mean(this.#ends[0]),
      all: mean(this.#ends[1]),
      telescope: this.#telescope,
      evaluations: this.#evaluations,
    };
  }

  /** Samples the next `count` pairs with one call of the game. */
  async sample(count: number, options: RunOptions): Promise<void> {
    const first = this.#pairs.length;
    const pairs = Array.from({ length: count }, (_, i) => {
      return walksOf(this.#game, this.#seed, first + i);
    });
    const coalitions = pairs.flat().flatMap(coalitionsAlong);
    const values = await this.#game.evaluate(coalitions, options);
    this.#evaluations += coalitions.length;
    let at = 0;
    for (const walks of pairs) {
      const contributions = new Float64Array(this.#game.players);
      for (const walk of walks) {
        const inner = values.slice(at, at += walk.length - 1);
        const along = [this.#ends[0], ...inner, this.#ends[1]];
        this.#addWalk(walk, along, contributions);
        if (this.#margins && this.#game.worth) {
          addMargins(this.#margins[this.#pairs.length % FOLDS], walk, along, this.#game.worth);
        }
      }
      this.#pairs.push(contributions);
    }
  }

  #addWalk(walk: Int32Array, values: readonly Float64Array[], contributions: Float64Array): void {
    const { samples } = this.#game;
    let total = 0;
    for (let step = 0; step < walk.length; step++) {
      const before = values[step], after = values[step + 1];
      const player = walk[step];
      let sum = 0;
      for (let sample = 0; sample < samples; sample++) {
        const gain = after[sample] - before[sample];
        this.#bySample[player * samples + sample] += gain / 2;
        sum += gain;
      }
      contributions[player] += sum / samples / 2;
      total += sum / samples;
    }
    const gap = Math.abs(total - (mean(this.#ends[1]) - mean(this.#ends[0])));
    this.#telescope = Math.max(this.#telescope, gap);
  }
}

/** Spread of each player's value when the calibration images are drawn again. */
function imageErrors(game: Game, samples: Samples, seed: number): Float64Array {
  const resamples = 200;
  const count = game.samples;
  // One picture drawn again is the same picture.
  if (count === 1) return new Float64Array(game.players);
  const weights = Array.from({ length: resamples }, (_, r) => {
    const random = new RandomStream(seed, `bootstrap ${game.name}`, r);
    const drawn = new Float64Array(count);
    for (let i = 0; i < count; i++) drawn[random.integer(count)] += 1;
    return drawn;
  });
  const pairs = Math.max(1, samples.pairs.length);
  return Float64Array.from({ length: game.players }, (_, player) => {
    const own = samples.bySample.subarray(player * count, (player + 1) * count);
    let sum = 0, squares = 0;
    for (const drawn of weights) {
      let value = 0;
      for (let i = 0; i < count; i++) value += drawn[i] * own[i];
      value /= count * pairs;
      sum += value;
      squares += value * value;
    }
    return Math.sqrt(Math.max(0, squares / resamples - (sum / resamples) ** 2));
  });
}

/** Pair means of a game as sampled, and with every control variate that it has. */
async function candidates(game: Game, samples: Samples, seed: number): Promise<PairMeans[]> {
  const { pairs, margins } = samples;
  const { name, worth } = game;
  const walks = pairs.map((_, pair) => walksOf(game, seed, pair)[0]);
  const found: PairMeans[] = [
    { pairs, folds: 1 },
    { pairs: correctedBySize(walks, pairs), folds: 1 },
  ];
  if (worth === undefined || margins === undefined) return found;
  const better = await corrected({ name, worth, walks, pairs, margins }, seed);
  return better === undefined ? found : [...found, { ...better, folds: FOLDS }];
}

/** Each player's value and variance, with the help of the control variate that helps most. */
async function valuesOf(game: Game, samples: Samples, seed: number) {
  const spreads = (await candidates(game, samples, seed))
    .map((means) => spreadOf(means, game.players));
  const totals = spreads.map(({ own }) => own.reduce((sum, variance) => sum + variance, 0));
  const least = Math.min(...totals);
  const gain = totals[0] > least && least > 0 ? totals[0] / least : 1;
  return { spread: spreads[totals.indexOf(least)], gain };
}

/** Values and intervals from what was sampled. */
export async function summarise(
  game: Game,
  samples: Samples,
  options: { seed: number; keep?: number; confidence?: number },
): Promise<Estimate> {
  const { seed, keep, confidence = 0.95 } = options;
  const pairs = samples.pairs.length;
  const images = imageErrors(game, samples, seed);
  const { spread, gain } = await valuesOf(game, samples, seed);
  const players = intervalsOf(spread, confidence)
    .map((interval, player): PlayerValue => ({ ...interval, imageError: images[player] }));
  const unsettled = unsettledPlayers(players, keep);
  const approximate = areApproximate(pairs, game.players);
  const scale = players.reduce((sum, player) => sum + Math.abs(player.value), 0) / game.players;
  const precise = players.every((player) => player.jointMargin <= 0.02 * scale);
  const outcome = approximate
    ? "spent"
    : unsettled.length === 0 && keep !== undefined
    ? "separated"
    : precise
    ? "precise"
    : "spent";
  const { all, none, telescope, evaluations } = samples;
  return {
    game: game.name,
    players,
    pairs,
    evaluations,
    all,
    none,
    telescope,
    outcome,
    gain,
    approximate,
    unsettled,
  };
}

/**
 * Estimates the Shapley value of every player. Stops when every joint interval lies on one side
 * of the cut between `keep` and the rest, when every interval is narrower than 2% of the mean
 * |value|, or after `pairs` pairs; never on approximate intervals. Throws "numeric-failure" when the
 * game's values are not finite, "check-failed" when a permutation's contributions do not add up to
 * v(all) - v(none).
 */
export async function estimateShapley(game: Game, options: EstimateOptions): Promise<Estimate> {
  const { seed, pairs = 16, round = 4, resume, signal } = options;
  const nobody = new Uint8Array(game.players);
  const ends = await game.evaluate([nobody, nobody.map(() => 1)], options);
  const sampler = new Sampler(game, seed, [ends[0], ends[1]], resume);
  for (;;) {
    const sampled = sampler.samples.pairs.length;
    const estimate = await summarise(game, sampler.samples, options);
    refuseBroken(estimate);
    if (sampled >= pairs || (sampled > 0 && estimate.outcome !== "spent")) return estimate;
    stopIfAsked(signal);
    await sampler.sample(Math.min(round, pairs - sampled), options);
    await options.onRound?.(sampler.samples);
  }
}

function refuseBroken(estimate: Estimate): void {
  const scale = Math.max(1e-6, Math.abs(estimate.all), Math.abs(estimate.none));
  if (!Number.isFinite(estimate.all + estimate.none + estimate.telescope)) {
    throw new SecateurError(
      "numeric-failure",
      `The value of ${estimate.game} is not finite: the network's loss overflowed on the ` +
        `calibration images; check the weights and the normalisation of the pictures.`,
    );
  }
  if (estimate.telescope > 1e-9 * scale) {
    throw new SecateurError(
      "check-failed",
      `The contributions along a permutation of ${estimate.game} miss v(all) - v(none) by ` +
        `${estimate.telescope}: the game does not give a coalition the same value twice.`,
    );
  }
}
