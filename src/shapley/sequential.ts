/**
 * Sequential Shapley values of the compensated game: what a channel costs on average when it goes in a
 * random order together with others, from where the cut already is, over the next few removals. The
 * lowest go; then values are taken anew. Values over all sizes (one stage, as deep as there are
 * players) are Shapley's own; a band is the same average over the sizes that the cut passes through
 * (a semivalue: Dubey, Neyman & Weber, "Value theory without efficiency", Math. Oper. Res. 1981).
 *
 * Walks are cut into windows as deep as the band, so that each permutation charges everyone, and every
 * window is walked backwards too (antithetic pairs).
 */

import type { Reproduction } from "../native/reproduction.ts";
import { type RunOptions, stopIfAsked } from "../progress.ts";
import { RandomStream } from "../random.ts";

export interface SequentialOptions extends RunOptions {
  readonly seed: number;
  /** Names the random stream. */
  readonly name: string;
  /** How many players may go at most. */
  readonly most: number;
  /** How often values are taken anew on the way there. */
  readonly stages: number;
  /** Antithetic pairs of permutations a stage. */
  readonly pairs: number;
  /**
   * Removals that values look ahead, as a share of what may still go; 1 for the whole way. All sizes
   * where it is "all".
   */
  readonly ahead: number | "all";
  readonly threads?: number;
}

/** Values of one stage, by player; 0 for those gone before. */
interface Sampled {
  readonly values: Float64Array;
  /** Mean of each pair's charges: [pair][player]. */
  readonly pairs: readonly Float64Array[];
}

export interface Stage extends Sampled {
  /** Players that were in. */
  readonly inside: readonly number[];
  /** How many of them went at its end. */
  readonly going: number;
}

export interface Sequence {
  /** Every player once, in the order in which they go; beyond `most`, by the last values. */
  readonly order: readonly number[];
  /** What each removal cost on top of those before: the first `most` of the order. */
  readonly costs: Float64Array;
  /** Each player's value when it went, or at the end. */
  readonly values: Float64Array;
  readonly stages: readonly Stage[];
}

/** Starts of windows of `depth` that cover `count` positions; the last may overlap the one before. */
function windowStarts(count: number, depth: number): number[] {
  return Array.from(
    { length: Math.ceil(count / depth) },
    (_, i) => Math.min(i * depth, count - depth),
  );
}

/** Values of the players that are in, from windows of `depth` removals. */
async function sampleStage(
  game: Reproduction,
  inside: readonly number[],
  depth: number,
  stage: number,
  options: SequentialOptions,
): Promise<Sampled> {
  const { seed, name, pairs, threads = 1 } = options;
  const starts = windowStarts(inside.length, depth);
  const walks = new Int32Array(pairs * starts.length * 2 * depth);
  let at = 0;
  for (let pair = 0; pair < pairs; pair++) {
    const random = new RandomStream(seed, `sequential ${name}`, stage, pair);
    const order = random.permutation(inside.length);
    for (const start of starts) {
      const window = Array.from(order.subarray(start, start + depth), (index) => inside[index]);
      walks.set(window, at);
      walks.set(window.reverse(), at + depth);
      at += 2 * depth;
    }
  }
  const costs = await game.walk(walks, depth, threads);
  const perPair = walks.length / pairs;
  const charged = Array.from({ length: pairs }, (_, pair) => {
    const sums = new Float64Array(game.players), counts = new Float64Array(game.players);
    for (let i = pair * perPair; i < (pair + 1) * perPair; i++) {
      sums[walks[i]] += costs[i];
      counts[walks[i]]++;
    }
    return sums.map((sum, player) => counts[player] === 0 ? 0 : sum / counts[player]);
  });
  const values = new Float64Array(game.players);
  for (const pair of charged) pair.forEach((value, player) => values[player] += value / pairs);
  return { values, pairs: charged };
}

/** Takes the lowest-valued players away stage after stage; the game is used up. */
export async function sequentialShapley(
  game: Reproduction,
  options: SequentialOptions,
): Promise<Sequence> {
  const { most, ahead, signal, onProgress } = options;
  let inside = Array.from({ length: game.players }, (_, player) => player);
  const order: number[] = [], costs: number[] = [];
  const values = new Float64Array(game.players);
  const byValue = (a: number, b: number) => values[a] - values[b] || b - a;
  const stages: Stage[] = [];
  const chunk = Math.max(1, Math.ceil(most / options.stages));
  for (let stage = 0; stage === 0 || order.length < most; stage++) {
    stopIfAsked(signal);
    const left = Math.max(1, most - order.length);
    const depth = ahead === "all"
      ? inside.length
      : Math.min(inside.length, Math.max(chunk, Math.ceil(ahead * left)));
    const sampled = await sampleStage(game, inside, depth, stage, options);
    inside.forEach((player) => values[player] = sampled.values[player]);
    const ranked = inside.toSorted(byValue);
    const going = ranked.slice(0, Math.min(chunk, most - order.length));
    stages.push({ ...sampled, inside, going: going.length });
    costs.push(...await game.remove(Int32Array.from(going)));
    order.push(...going);
    inside = ranked.slice(going.length).sort((a, b) => a - b);
    onProgress?.({ stage: "Shapley values", done: order.length, total: most, unit: "channels" });
  }
  return {
    order: [...order, ...inside.toSorted(byValue)],
    costs: Float64Array.from(costs),
    values,
    stages,
  };
}
