/** Widths in proportion to a figure of each group, such as its information concentration. */

import type { ChannelGroup } from "../graph/channels.ts";
import type { Graph } from "../graph/graph.ts";
import { giveBack, legal, problemOf, type RatioOptions, type Ratios, setAll } from "./budget.ts";

/**
 * Kept share k = clip(lambda * I / mean(I), 1 - cap, 1); lambda by bisection on the counted model,
 * then channels are given back one legal step at a time, the largest rounding loss first, until
 * none fits. Throws "budget-impossible" when even the smallest legal model is too large.
 */
export function solveShares(
  graph: Graph,
  groups: readonly ChannelGroup[],
  figures: readonly number[],
  options: RatioOptions,
): Ratios {
  const problem = problemOf(graph, groups, options);
  const { counter, ranges, allowed } = problem;
  const mean = figures.reduce((sum, figure) => sum + figure, 0) / figures.length || 1;
  const wanted = (lambda: number) =>
    groups.map((group, i) => lambda * figures[i] / mean * group.players.length);
  const keptAt = (lambda: number) => wanted(lambda).map((share, i) => legal(ranges[i], share));
  const fits = (lambda: number) => {
    setAll(counter, keptAt(lambda));
    return counter.total <= allowed;
  };
  let low = 0, high = 1;
  while (fits(high) && high < 1e6) high *= 2;
  for (let round = 0; round < 60 && high - low > 1e-9 * high; round++) {
    const middle = (low + high) / 2;
    if (fits(middle)) low = middle;
    else high = middle;
  }
  const shares = wanted(low);
  return giveBack(keptAt(low), problem, (kept) =>
    kept.map((_, index) => index)
      .sort((a, b) => (shares[b] - kept[b]) - (shares[a] - kept[a]) || a - b));
}
