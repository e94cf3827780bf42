/** Sizes of the filters that make a channel, summed over the layers that make it. */

import { filtersOf } from "./filters.ts";
import { type CriterionContext, type Ranking, rankingBy } from "./ranking.ts";

/** What criteria of weights alone look at. */
type Weights = Pick<CriterionContext, "graph" | "groups">;

function byFilters(
  { graph, groups }: Weights,
  sizeOf: (weights: Float32Array) => number,
): Promise<Ranking[]> {
  return Promise.resolve(groups.map((group) =>
    rankingBy(
      filtersOf(graph, group).map((filters) =>
        filters.reduce((sum, { weights }) => sum + sizeOf(weights), 0)
      ),
    )
  ));
}

/** Sum of |w| (Li et al., "Pruning filters for efficient ConvNets", arXiv 1608.08710). */
export const l1 = (context: Weights): Promise<Ranking[]> =>
  byFilters(context, (weights) => weights.reduce((sum, w) => sum + Math.abs(w), 0));

/** Euclidean norm (He et al., "Soft filter pruning", arXiv 1808.06866). */
export const l2 = (context: Weights): Promise<Ranking[]> =>
  byFilters(context, (weights) => Math.hypot(...weights));
