/** What must go, what may go, and what came of it. */

import { SecateurError } from "../errors.ts";
import type { ChannelGroup } from "../graph/channels.ts";
import type { Graph } from "../graph/graph.ts";
import type { LayerCosts } from "../latency/costs.ts";
import { widthsWorthTaking } from "../latency/envelope.ts";
import { LayerCounter, ParameterCounter, type WidthCounter } from "./counter.ts";
import { JointCounter } from "./joint_counter.ts";
import { LatencyCounter } from "./latency_counter.ts";

/** What to cut, in shares of the original model's. */
export interface CountedBudget {
  readonly kind: "flops" | "parameters";
  /** Share to remove, in (0, 1). */
  readonly cut: number;
  /** Beside FLOPs: the share of the parameters that must go too. */
  readonly alsoParameters?: number;
}

/** The same of the time of a pass, which layers' costs predict. */
export interface LatencyBudget {
  readonly kind: "latency";
  readonly cut: number;
  readonly costs: LayerCosts;
}

export type Budget = CountedBudget | LatencyBudget;

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
  /** MACs, parameters or milliseconds the budget allows, and what the cut model has. */
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
  /** Those of them that are worth taking, ascending, where not all are. */
  readonly worth?: readonly number[];
}

export function rangeOf(group: ChannelGroup, cap: number, roundTo: number): Range {
  const most = group.players.length;
  const step = Math.min(roundTo, most);
  const least = Math.max(1, Math.ceil(most * (1 - cap)));
  return { least: Math.min(most, Math.ceil(least / step) * step), most, step };
}

/** The nearest count worth taking at or below `wanted`. */
export function legal({ least, most, step, worth }: Range, wanted: number): number {
  if (wanted >= most) return most;
  if (worth !== undefined) return worth.findLast((count) => count <= wanted) ?? worth[0];
  return Math.max(least, Math.floor(wanted / step) * step);
}

/** The next count worth taking above, and the next below. */
export const above = ({ most, step, worth }: Range, kept: number): number =>
  worth === undefined
    ? Math.min(most, kept - kept % step + step)
    : worth.find((count) => count > kept) ?? most;
export const below = ({ least, step, worth }: Range, kept: number): number =>
  worth === undefined
    ? Math.max(least, (Math.ceil(kept / step) - 1) * step)
    : worth.findLast((count) => count < kept) ?? worth[0];

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
  const counter = counterOf(graph, groups, budget);
  const legalRanges = groups.map((group, i) => rangeOf(group, caps?.[i] ?? cap, roundTo));
  const ranges = counter instanceof LatencyCounter
    ? legalRanges.map((range, group) => worthTaking(range, group, counter))
    : legalRanges;
  const whole = counter.total;
  const allowed = counter instanceof JointCounter ? counter.allowed : whole * (1 - budget.cut);
  setAll(counter, ranges.map((range) => legal(range, 0)));
  const least = counter.total;
  const smallest = counter instanceof JointCounter ? counter.removed : [1 - least / whole];
  setAll(counter, ranges.map(({ most }) => most));
  if (least > allowed) throw impossible(budget, smallest);
  return { ranges, counter, allowed };
}

function counterOf(
  graph: Graph,
  groups: readonly ChannelGroup[],
  budget: Budget,
): WidthCounter {
  if (budget.kind === "latency") return new LatencyCounter(groups, budget.costs);
  const { kind, cut, alsoParameters } = budget;
  if (kind === "parameters") return new ParameterCounter(graph, groups);
  const macs = new LayerCounter(graph, groups);
  if (alsoParameters === undefined) return macs;
  return new JointCounter(macs, cut, new ParameterCounter(graph, groups), alsoParameters);
}

/** A group's range without widths that take no less than larger ones, the other groups whole. */
function worthTaking(range: Range, group: number, counter: LatencyCounter): Range {
  const widths: number[] = [];
  for (let width = range.most; width > range.least; width = below(range, width)) {
    widths.unshift(width);
  }
  if (widths.length === 0) return range;
  widths.unshift(range.least);
  const costs = widths.map((width) => {
    counter.set(group, width);
    return counter.timeAround(group);
  });
  counter.set(group, range.most);
  return { ...range, worth: widthsWorthTaking(costs).map((place) => widths[place]) };
}

/** Sets the widths of all groups. */
export function setAll(counter: WidthCounter, kept: readonly number[]): void {
  kept.forEach((count, group) => counter.set(group, count));
}

/** The error for a budget of which cutting as far as may be takes only `removed`, count by count. */
function impossible(budget: Budget, removed: readonly number[]): SecateurError {
  const percent = (share: number) => `${(100 * share).toFixed(1)}%`;
  const what = { flops: "FLOPs", parameters: "parameters", latency: "time" }[budget.kind];
  const also = budget.kind === "latency" ? undefined : budget.alsoParameters;
  return new SecateurError(
    "budget-impossible",
    `Expected to cut ${percent(budget.cut)} of the ${what}` +
      (also === undefined ? "" : ` and ${percent(also)} of the parameters`) +
      `, but cutting every prunable group as far as allowed removes only ` +
      `${removed.map(percent).join(" and ")}` +
      (budget.kind === "latency" ? ", as the rest does not lie in how many there are" : "") +
      `: ask for less, or widen what may be cut (--scope all, --cap, a smaller --round-to).`,
  );
}

/**
 * Gives channels back one step at a time, the group first that `order` puts first, until none fits:
 * the gap to the budget is then smaller than the cheapest step. Of times, channels that cost none
 * are given back too.
 */
export function giveBack(
  start: readonly number[],
  problem: Problem,
  order: (kept: readonly number[]) => readonly number[],
): Ratios {
  const kept = [...start];
  setAll(problem.counter, kept);
  for (;;) {
    const ratios = giveBackSteps(kept, problem, order);
    if (!giveBackFree(kept, problem)) return ratios;
  }
}

function giveBackSteps(
  kept: number[],
  { ranges, counter, allowed }: Problem,
  order: (kept: readonly number[]) => readonly number[],
): Ratios {
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

/** Widens groups, whatever widths are worth, as long as the model takes no longer; says if any. */
function giveBackFree(kept: number[], { ranges, counter }: Problem): boolean {
  const before = [...kept];
  ranges.forEach(({ worth, ...range }, group) => {
    if (worth === undefined) return;
    let reached = counter.total;
    for (let width = kept[group]; width < range.most;) {
      width = above(range, width);
      counter.set(group, width);
      if (counter.total > reached) continue;
      reached = counter.total;
      kept[group] = width;
    }
    counter.set(group, kept[group]);
  });
  return kept.some((count, group) => count > before[group]);
}
