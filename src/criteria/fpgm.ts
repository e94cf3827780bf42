/**
 * Distance to the geometric median: a filter that lies near all others of its layer is one that they
 * can stand in for (He et al., "Filter pruning via geometric median", arXiv 1811.00250).
 */

import { type Filter, filtersOf } from "./filters.ts";
import { type CriterionContext, type Ranking, rankingBy } from "./ranking.ts";

function distance(a: Float32Array, b: Float32Array): number {
  let squares = 0;
  for (let i = 0; i < a.length; i++) squares += (a[i] - b[i]) ** 2;
  return Math.sqrt(squares);
}

/** Sum of each player's distances to the filters of all others, layer by layer. */
function scoresOf(filters: readonly (readonly Filter[])[]): Float64Array {
  const scores = new Float64Array(filters.length);
  const byLayer = new Map<string, { player: number; weights: Float32Array }[]>();
  filters.forEach((own, player) => {
    for (const { parameter, weights } of own) {
      byLayer.set(parameter, [...byLayer.get(parameter) ?? [], { player, weights }]);
    }
  });
  for (const layer of byLayer.values()) {
    for (let i = 0; i < layer.length; i++) {
      for (let j = 0; j < i; j++) {
        const apart = distance(layer[i].weights, layer[j].weights);
        scores[layer[i].player] += apart;
        scores[layer[j].player] += apart;
      }
    }
  }
  return scores;
}

export const fpgm = ({ graph, groups }: CriterionContext): Promise<Ranking[]> =>
  Promise.resolve(groups.map((group) => rankingBy(scoresOf(filtersOf(graph, group)))));
