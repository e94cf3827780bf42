/**
 * Widths from the groups' own curves of worth lost against channels removed, as one knapsack over the
 * whole model: the channel goes next that loses least for what it saves.
 */

import type { ChannelGroup } from "../graph/channels.ts";
import type { Graph } from "../graph/graph.ts";
import {
  above,
  below,
  giveBack,
  legal,
  type Problem,
  problemOf,
  type RatioOptions,
  type Ratios,
} from "./budget.ts";

/** Worth lost when the first k players to go have gone, for k from 0; not necessarily convex. */
export type LossCurve = ArrayLike<number>;

/**
 * The greatest convex curve below one, at every count: the loss of the k-th channel never falls, so
 * that taking channels one by one finds what taking several at once would.
 */
export function convexBelow(curve: LossCurve): Float64Array {
  const hull: number[] = [];
  for (let k = 0; k < curve.length; k++) {
    while (hull.length >= 2) {
      const [a, b] = hull.slice(-2);
      if ((curve[b] - curve[a]) * (k - a) <= (curve[k] - curve[a]) * (b - a)) break;
      hull.pop();
    }
    hull.push(k);
  }
  const convex = new Float64Array(curve.length);
  for (let i = 0; i + 1 < hull.length; i++) {
    const [a, b] = [hull[i], hull[i + 1]];
    for (let k = a; k <= b; k++) {
      convex[k] = curve[a] + (curve[b] - curve[a]) * (k - a) / (b - a);
    }
  }
  return convex;
}

/** Prices of the next step down of every group, recounted only where a neighbour changed. */
class Prices {
  readonly #problem: Problem;
  readonly #curves: readonly Float64Array[];
  readonly #kept: number[];
  /** What each group's next step leaves, and what it loses for what it saves. */
  readonly #next: number[];
  readonly #prices: Float64Array;

  constructor(problem: Problem, curves: readonly Float64Array[]) {
    this.#problem = problem;
    this.#curves = curves;
    this.#kept = problem.ranges.map(({ most }) => most);
    this.#next = [...this.#kept];
    this.#prices = new Float64Array(curves.length);
    this.#kept.forEach((_, group) => this.#price(group));
  }

  get kept(): readonly number[] {
    return this.#kept;
  }

  /** The group whose next step loses least for what it saves; undefined when none may go on. */
  cheapest(): number | undefined {
    let best: number | undefined;
    this.#prices.forEach((price, group) => {
      if (price < (best === undefined ? Infinity : this.#prices[best])) best = group;
    });
    return best;
  }

  stepDown(group: number): void {
    const { ranges, counter } = this.#problem;
    this.#kept[group] = this.#prices[group] < Infinity
      ? this.#next[group]
      : below(ranges[group], this.#kept[group]);
    counter.set(group, this.#kept[group]);
    for (const neighbour of counter.neighbours[group]) this.#price(neighbour);
  }

  #price(group: number): void {
    const { ranges, counter } = this.#problem;
    const kept = this.#kept[group];
    const before = counter.total;
    let next = kept, saved = 0;
    // What saves nothing is not taken away, however little it loses, but with more that does.
    for (let lower = below(ranges[group], kept); saved <= 0 && lower < next;) {
      next = lower;
      counter.set(group, next);
      saved = before - counter.total;
      lower = below(ranges[group], next);
    }
    counter.set(group, kept);
    this.#next[group] = next;
    const removed = ranges[group].most - kept;
    const lost = this.#curves[group][removed + kept - next] - this.#curves[group][removed];
    this.#prices[group] = saved > 0 ? Math.max(0, lost) / saved : Infinity;
  }
}

/**
 * Widths that lose least by the curves, one a group of players + 1 points, within the budget. Greedy
 * on convex curves, which is exact for one constraint but for the last channel; then channels are given
 * back, the dearest first, until none fits. Throws "budget-impossible" as `problemOf` does.
 */
export function solveKnapsack(
  graph: Graph,
  groups: readonly ChannelGroup[],
  curves: readonly LossCurve[],
  options: RatioOptions,
): Ratios {
  const problem = problemOf(graph, groups, options);
  const { counter, ranges, allowed } = problem;
  const convex = curves.map(convexBelow);
  const prices = new Prices(problem, convex);
  while (counter.total > allowed) {
    const group = prices.cheapest();
    // No single step saves anything though the smallest model fits: take the widest group's.
    prices.stepDown(group ?? widest(prices.kept, ranges));
  }
  const gain = (group: number, kept: number) => {
    const removed = ranges[group].most - kept;
    const back = above(ranges[group], kept) - kept;
    return convex[group][removed] - convex[group][Math.max(0, removed - back)];
  };
  return giveBack(prices.kept, problem, (kept) =>
    kept.map((_, index) => index)
      .sort((a, b) => gain(b, kept[b]) - gain(a, kept[a]) || a - b));
}

function widest(kept: readonly number[], ranges: Problem["ranges"]): number {
  const room = kept.map((count, group) => count - legal(ranges[group], 0));
  return room.indexOf(Math.max(...room));
}
