/** Games whose Shapley values are known, to see how often intervals hold. */

import type { Coalition, Game } from "../../src/shapley/estimate.ts";
import { RandomStream } from "../../src/random.ts";
import { coalitionOf, exactShapley } from "./exact_shapley.ts";

export interface KnownGame extends Game {
  /** Shapley values: [player]. */
  readonly exact: readonly number[];
  readonly value: (coalition: Coalition) => number;
}

function knownGame(
  name: string,
  exact: readonly number[],
  value: (coalition: Coalition) => number,
): KnownGame {
  return {
    name,
    players: exact.length,
    samples: 1,
    exact,
    value,
    evaluate: (coalitions) =>
      Promise.resolve(coalitions.map((coalition) => Float64Array.of(value(coalition)))),
  };
}

/** A game of few players from its values by the coalition's bits. */
function tabulated(name: string, players: number, value: (coalition: Coalition) => number) {
  const table = Array.from(
    { length: 1 << players },
    (_, bits) => value(coalitionOf(bits, players)),
  );
  const bitsOf = (coalition: Coalition) =>
    coalition.reduce((bits, present, player) => bits | present << player, 0);
  return knownGame(name, exactShapley(players, table), (coalition) => table[bitsOf(coalition)]);
}

const totalOf = (weights: readonly number[], coalition: Coalition) => {
  let total = 0;
  for (let player = 0; player < weights.length; player++) {
    if (coalition[player]) total += weights[player];
  }
  return total;
};

/** A game worth a function of the sum of whole weights, of any number of players. */
function weighted(name: string, weights: readonly number[], worth: (total: number) => number) {
  const players = weights.length;
  const most = totalOf(weights, new Uint8Array(players).fill(1));
  const exact = weights.map((own, player) => {
    // ways[size][total]: coalitions of the others.
    const ways = Array.from({ length: players }, () => new Float64Array(most + 1));
    ways[0][0] = 1;
    weights.forEach((weight, other) => {
      if (other === player) return;
      for (let size = players - 2; size >= 0; size--) {
        for (let total = most - weight; total >= 0; total--) {
          ways[size + 1][total + weight] += ways[size][total];
        }
      }
    });
    let value = 0, share = 1 / players;
    for (let size = 0; size < players; size++) {
      for (let total = 0; total + own <= most; total++) {
        if (ways[size][total] > 0) {
          value += share * ways[size][total] * (worth(total + own) - worth(total));
        }
      }
      // size! (players - size - 1)! / players!
      share *= (size + 1) / (players - size - 1);
    }
    return value;
  });
  return knownGame(name, exact, (coalition) => worth(totalOf(weights, coalition)));
}

/** The largest of ascending weights: nearly all contributions are zero. */
function largest(weights: readonly number[]): KnownGame {
  let value = 0;
  const exact = weights.map((weight, player) => {
    value += (weight - (weights[player - 1] ?? 0)) / (weights.length - player);
    return value;
  });
  return knownGame(
    `max of ${weights.length}`,
    exact,
    (coalition) =>
      coalition.reduce(
        (best, present, player) => present ? Math.max(best, weights[player]) : best,
        0,
      ),
  );
}

const normals = (random: RandomStream, length: number) =>
  Array.from({ length }, () => random.normal());

/** Sum of weights and independent noise of every coalition. */
function noisy(players: number): KnownGame {
  const random = new RandomStream(5, "noisy game");
  const weights = normals(random, players).map((z) => 1 + z);
  return tabulated(
    "additive with noise",
    players,
    (coalition) => totalOf(weights, coalition) + 0.3 * random.normal(),
  );
}

/** Minus the mean log-loss of a softmax model of features, the absent ones masked. */
function softmax(players: number, spread: number): KnownGame {
  const random = new RandomStream(7, "softmax game");
  const classes = 5, pictures = 24;
  const scales = normals(random, players).map((z) => Math.exp(spread * z));
  const weights = Array.from({ length: classes }, () => normals(random, players));
  const inputs = Array.from({ length: pictures }, () => normals(random, players));
  const logits = (input: readonly number[], coalition: Coalition) =>
    weights.map((row) => totalOf(row.map((w, i) => w * scales[i] * input[i]), coalition));
  const everybody = new Uint8Array(players).fill(1);
  const labels = inputs.map((input) => {
    const outputs = logits(input, everybody).map((z) => z + 0.5 * random.normal());
    return outputs.indexOf(Math.max(...outputs));
  });
  return tabulated(`log-loss, spread ${spread}`, players, (coalition) => {
    const gains = inputs.map((input, picture) => {
      const outputs = logits(input, coalition);
      const top = Math.max(...outputs);
      const sum = outputs.reduce((total, z) => total + Math.exp(z - top), 0);
      return outputs[labels[picture]] - top - Math.log(sum);
    });
    return gains.reduce((sum, gain) => sum + gain, 0) / pictures;
  });
}

/** What two games of the same players are worth together. */
function together(name: string, first: KnownGame, second: KnownGame): KnownGame {
  const exact = first.exact.map((value, player) => value + second.exact[player]);
  return knownGame(name, exact, (coalition) => first.value(coalition) + second.value(coalition));
}

/** The last player brings something only where half of the others are in: in 5% of walks of 20. */
function rare(players: number, gain: number): KnownGame {
  const half = (players - 2) / 2;
  // All together do not have it: what the last one brings, the others take away in equal parts.
  const own = gain / players;
  const exact = Array.from(
    { length: players },
    (_, player) => player === players - 1 ? own : -own / (players - 1),
  );
  return knownGame("rare", exact, (coalition) => {
    if (coalition[players - 1] === 0) return 0;
    return coalition.reduce((sum, present) => sum + present, -1) === half ? gain : 0;
  });
}

/** Like minus a loss: the first to arrive bring nearly everything. */
const loss = (scale: number) => (total: number) => -2.3 * Math.exp(-total / scale);

const repeated = (players: number) =>
  Array.from({ length: players }, (_, player) => 1 + player % 4);

/** Skewed, rare, near normal, of few players and of many. */
export const COVERAGE_GAMES: readonly KnownGame[] = [
  largest([1, 2, 3, 4, 5, 6, 7, 8]),
  noisy(10),
  softmax(8, 0),
  softmax(10, 1),
  weighted("loss of 8", repeated(8), loss(6)),
  together("rare and large", rare(20, 5), weighted("loss of 19", [...repeated(19), 0], loss(6))),
  tabulated(
    "gloves",
    9,
    (c) => Math.min(c[0] + c[1] + c[2], totalOf([0, 0, 0, 1, 1, 1, 1, 1, 1], c)),
  ),
  weighted("majority of 9", new Array(9).fill(1), (total) => total >= 5 ? 1 : 0),
  weighted("weighted majority", [9, 7, 6, 5, 4, 3, 3, 2, 1, 1], (total) => total > 20 ? 1 : 0),
  weighted("any of 32", new Array(32).fill(1), (total) => total > 0 ? 1 : 0),
  largest(Array.from({ length: 32 }, (_, player) => 1 + player)),
  weighted("loss of 32", repeated(32), loss(10)),
];
