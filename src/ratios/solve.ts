/**
 * Layer-wise ratios for a budget: how many channels of every group stay. Counted after real
 * surgery, so coupled layers, flattened inputs and option-A shortcuts cost what they cost.
 */

import { SecateurError } from "../errors.ts";
import type { ChannelGroup } from "../graph/channels.ts";

import { costOf } from "../graph/cost.ts";
import { cutShapes } from "../graph/cut.ts";
import type { Graph } from "../graph/graph.ts";

/** What to cut, as a share of the original model's. */
export interface Budget {
  readonly kind: "flops" | "parameters";
  /** Share to remove, in (0, 1). */
  readonly cut: number;
}

export interface RatioOptions {
  readonly budget: Budget;
  /** Largest share a group may lose; at least one channel always stays. */
  readonly cap?: number;
  /** The same for single groups, in the given order. */
  readonly caps?: readonly number[];
  /** Kept counts are multiples of this where the group is large enough. */
  readonly roundTo?: number;
}

export interface Ratios {
  /** Channels (players) that stay, by group in the given order. */
  readonly kept: readonly number[];
  /** FLOPs (MACs) or parameters the budget allows, and what the cut model has. */
  readonly allowed: number;
  readonly reached: number;
  /** What the cheapest legal step back would cost; allowed - reached is smaller. */
  readonly step: number;
}

/** Counts the model with the given channels kept; which ones does not matter to cost. */
function counter(graph: Graph, groups: readonly ChannelGroup[], kind: Budget["kind"]) {
  return (kept: readonly number[]): number => {
    const removals = groups.map((group, index) => ({
      group,
      removed: group.players.map((_, player) => player).slice(kept[index]),
    }));
    const cost = costOf(cutShapes(graph, removals));
    return kind === "flops" ? cost.macs : cost.parameters;
  };
}

/** Legal kept counts of a group: its bounds and the step between them. */
interface Range {
  readonly least: number;
  readonly most: number;
  readonly step: number;
}

function rangeOf(group: ChannelGroup, cap: number, roundTo: number): Range {
  const most = group.players.length;
  const step = Math.min(roundTo, most);
  const least = Math.max(1, Math.ceil(most * (1 - cap)));
  return { least: Math.min(most, Math.ceil(least / step) * step), most, step };
}

/** The nearest legal count at or below `wanted`. */
function legal(range: Range, wanted: number): number {
  if (wanted >= range.most) return range.most;
  return Math.max(range.least, Math.floor(wanted / range.step) * range.step);
}

/** The next legal count above. */
const above = (range: Range, kept: number): number =>
  Math.min(range.most, kept - kept % range.step + range.step);

/**
 * Kept share k = clip(lambda * I / mean(I), 1 - cap, 1); lambda by bisection on the counted model,
 * then channels are given back one legal step at a time, the largest rounding loss first, until
 * none fits. Throws "budget-impossible" when even the smallest legal model is too large.
 */
export function solveRatios(
  graph: Graph,
  groups: readonly ChannelGroup[],
  concentration: readonly number[],
  options: RatioOptions,
): Ratios {
  const { budget, cap = 0.9, caps, roundTo = 1 } = options;
  const count = counter(graph, groups, budget.kind);
  const ranges = groups.map((group, i) => rangeOf(group, caps?.[i] ?? cap, roundTo));
  const whole = count(ranges.map((range) => range.most));
  const allowed = whole * (1 - budget.cut);
  refuseImpossible(budget, whole, count(ranges.map((range) => range.least)), allowed);

  const mean = concentration.reduce((sum, figure) => sum + figure, 0) / concentration.length || 1;
  const wanted = (lambda: number) =>
    groups.map((group, i) => lambda * concentration[i] / mean * group.players.length);
  const keptAt = (lambda: number) => wanted(lambda).map((share, i) => legal(ranges[i], share));
  let low = 0, high = 1;
  while (count(keptAt(high)) <= allowed && high < 1e6) high *= 2;
  for (let round = 0; round < 60 && high - low > 1e-9 * high; round++) {
    const middle = (low + high) / 2;
    if (count(keptAt(middle)) <= allowed) low = middle;
    else high = middle;
  }
  return giveBack(keptAt(low), wanted(low), ranges, count, allowed);
}

function refuseImpossible(budget: Budget, whole: number, least: number, allowed: number): void {
  if (least <= allowed) return;
  const percent = (share: number) => `${(100 * share).toFixed(1)}%`;
  const what = budget.kind === "flops" ? "FLOPs" : "parameters";
  throw new SecateurError(
    "budget-impossible",
    `Expected to cut ${percent(budget.cut)} of the ${what}, but cutting every prunable group as ` +
      `far as allowed removes only ${percent(1 - least / whole)}: ask for less, or widen what ` +
      `may be cut (--scope all, --cap, a smaller --round-to).`,
  );
}

function giveBack(
  start: readonly number[],
  wanted: readonly number[],
  ranges: readonly Range[],
  count: (kept: readonly number[]) => number,
  allowed: number,
): Ratios {
  const kept = [...start];
  for (;;) {
    const order = kept.map((_, index) => index)
      .filter((index) => kept[index] < ranges[index].most)
      .sort((a, b) => (wanted[b] - kept[b]) - (wanted[a] - kept[a]) || a - b);
    const reached = count(kept);
    let step = Infinity;
    let chosen: number | undefined;
    for (const index of order) {
      const trial = kept.with(index, above(ranges[index], kept[index]));
      const cost = count(trial);
      step = Math.min(step, cost - reached);
      if (cost <= allowed) {
        chosen = index;
        break;
      }
    }
    if (chosen === undefined) return { kept, allowed, reached, step };
    kept[chosen] = above(ranges[chosen], kept[chosen]);
  }
}
