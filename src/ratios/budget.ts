/** What must go, what may go, and what came of it. */

import { SecateurError } from "../errors.ts";
import type { ChannelGroup } from "../graph/channels.ts";
import type { Graph } from "../graph/graph.ts";
import { LayerCounter, ParameterCounter, type WidthCounter } from "./counter.ts";

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

/** Legal kept counts of a group: its bounds and the step between them. */
export interface Range {
  readonly least: number;
  readonly most: number;
  readonly step: number;
}

export function rangeOf(group: ChannelGroup, cap: number, roundTo: number): Range {
  const most = group.players.length;
  const step = Math.min(roundTo, most);
  const least = Math.max(1, Math.ceil(most * (1 - cap)));
  return { least: Math.min(most, Math.ceil(least / step) * step), most, step };
}

/** The nearest legal count at or below `wanted`. */
export function legal(range: Range, wanted: number): number {
  if (wanted >= range.most) return range.most;
  return Math.max(range.least, Math.floor(wanted / range.step) * range.step);
}

/** The next legal count above, and the next below. */
export const above = (range: Range, kept: number): number =>
  Math.min(range.most, kept - kept % range.step + range.step);
export const below = (range: Range, kept: number): number =>
  Math.max(range.least, (Math.ceil(kept / range.step) - 1) * range.step);

/** Groups, their legal widths and a counter that stands at the whole model. */
export interface Problem {
  readonly ranges: readonly Range[];
  readonly counter: WidthCounter;
  readonly allowed: number;
}

/** Sets up a budget. Throws "budget-impossible" when even the smallest legal model is too large. */
export function problemOf(
  graph: Graph,
  groups: readonly ChannelGroup[],
  { budget, cap = 0.9, caps, roundTo = 1 }: RatioOptions,
): Problem {
  const counter = budget.kind === "flops"
    ? new LayerCounter(graph, groups)
    : new ParameterCounter(graph, groups);
  const ranges = groups.map((group, i) => rangeOf(group, caps?.[i] ?? cap, roundTo));
  const whole = counter.total;
  const allowed = whole * (1 - budget.cut);
  setAll(counter, ranges.map(({ least }) => least));
  const least = counter.total;
  setAll(counter, ranges.map(({ most }) => most));
  refuseImpossible(budget, whole, least, allowed);
  return { ranges, counter, allowed };
}

/** Sets the widths of all groups. */
export function setAll(counter: WidthCounter, kept: readonly number[]): void {
  kept.forEach((count, group) => counter.set(group, count));
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

/**
 * Gives channels back one legal step at a time, the group first that `order` puts first, until none
 * fits: the gap to the budget is then smaller than the cheapest step.
 */
export function giveBack(
  start: readonly number[],
  { ranges, counter, allowed }: Problem,
  order: (kept: readonly number[]) => readonly number[],
): Ratios {
  const kept = [...start];
  setAll(counter, kept);
  for (;;) {
    const reached = counter.total;
    let step = Infinity;
    let chosen: number | undefined;
    for (const group of order(kept)) {
      if (kept[group] >= ranges[group].most) continue;
      const next = above(ranges[group], kept[group]);
      counter.set(group, next);
      const cost = counter.total;
      step = Math.min(step, cost - reached);
      if (cost <= allowed) {
        chosen = group;
        kept[group] = next;
        break;
      }
      counter.set(group, kept[group]);
    }
    if (chosen === undefined) return { kept, allowed, reached, step };
  }
}
