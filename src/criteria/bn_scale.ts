/**
 * Size of the batch norm's scale, summed over a player's channels (Liu et al., "Learning efficient
 * convolutional networks through network slimming", arXiv 1708.06519). Groups without batch norm go by
 * their filters' L1 norm.
 */

import { normOffsets } from "./filters.ts";
import { l1 } from "./norms.ts";
import { type CriterionContext, type Ranking, rankingBy } from "./ranking.ts";

export async function bnScale(context: CriterionContext): Promise<Ranking[]> {
  const { graph, groups } = context;
  const scales = normOffsets(graph);
  const norms = await l1(context);
  return groups.map((group, index) => {
    const own = group.players.map(({ slices }) =>
      slices.filter(({ parameter }) => scales.has(parameter))
    );
    if (own.some((slices) => slices.length === 0)) return norms[index];
    return rankingBy(own.map((slices) =>
      slices.reduce((sum, { parameter, index }) => {
        return sum + Math.abs(graph.parameters.get(parameter)!.data[index]);
      }, 0)
    ));
  });
}
