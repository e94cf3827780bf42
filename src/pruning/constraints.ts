/** Which groups may lose channels, and how many, where the user knows better than the method. */

import { SecateurError } from "../errors.ts";
import { quoted } from "../formats/bytes.ts";
import { type ChannelGroup, channelGroups } from "../graph/channels.ts";
import type { Graph } from "../graph/graph.ts";
import { closestString } from "../std.ts";
import type { PruneOptions } from "./options.ts";

/** Groups that may lose channels, and what was asked of the others. */
export interface ConstrainedGroups {
  readonly groups: readonly ChannelGroup[];
  /** Largest share that each of them may lose. */
  readonly caps: readonly number[];
  readonly constraints: Constraints;
}

/** What --keep and --max-ratio came to, by group. */
export interface Constraints {
  /** Groups that stay whole, as asked. */
  readonly keep: readonly string[];
  readonly maxRatio: Readonly<Record<string, number>>;
}

/** "layer1.*.conv?" as an expression: * stands for any letters, ? for one. */
function patternOf(text: string): RegExp {
  const escaped = text.replace(/[.+^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${escaped.replace(/\*/g, ".*").replace(/\?/g, ".")}$`, "s");
}

/** Names that a user may mean a group by: its own, and the layers whose channels are its. */
function namesByGroup(graph: Graph, groups: readonly ChannelGroup[]): Set<string>[] {
  const writers = new Map(graph.nodes.map(({ name, output }) => [output, name]));
  return groups.map((group) => {
    const names = new Set([group.name, ...group.producers]);
    for (const { channels } of group.players) {
      for (const { value } of channels) {
        const writer = writers.get(value);
        if (writer !== undefined) names.add(writer);
      }
    }
    return names;
  });
}

/** Indices of the groups that a name or pattern means. Throws "option-invalid" when nothing has it. */
function matching(
  option: string,
  wanted: string,
  graph: Graph,
  names: readonly ReadonlySet<string>[],
): number[] {
  const pattern = patternOf(wanted);
  const all = new Set([...names.flatMap((each) => [...each]), ...graph.nodes.map((n) => n.name)]);
  if (![...all].some((name) => pattern.test(name))) {
    const nearest = closestString(wanted, [...all], { caseSensitive: true });
    throw new SecateurError(
      "option-invalid",
      `Expected ${option} to name a layer of ${graph.name}, a group or a pattern such as ` +
        `layer1.*, but nothing is called ${quoted(wanted)}; the nearest name is ` +
        `${quoted(nearest)}, and inspect lists them all.`,
    );
  }
  return names.flatMap((each, index) =>
    [...each].some((name) => pattern.test(name)) ? [index] : []
  );
}

/**
 * The groups that may lose channels under these options, and how much each.
 * @throws SecateurError `option-invalid` for names that no layer and no group has;
 * `graph-unsupported` when no group is left.
 */
export function constrainedGroups(
  graph: Graph,
  { scope, cap, keep = [], maxRatio = {} }: Pick<
    PruneOptions,
    "scope" | "cap" | "keep" | "maxRatio"
  >,
): ConstrainedGroups {
  const all = channelGroups(graph);
  const names = namesByGroup(graph, all);
  const kept = new Set(keep.flatMap((wanted) => matching("--keep", wanted, graph, names)));
  const caps = new Map<number, number>();
  for (const [wanted, share] of Object.entries(maxRatio)) {
    for (const index of matching("--max-ratio", wanted, graph, names)) {
      caps.set(index, Math.min(share, caps.get(index) ?? 1));
    }
  }
  const prunable = all.map((_, index) => index).filter((index) =>
    all[index].pinned === undefined && (scope === "all" || all[index].kind === "inner")
  );
  const free = prunable.filter((index) => !kept.has(index));
  if (free.length === 0) {
    const why = prunable.length > 0
      ? "--keep leaves none that may be removed: keep fewer"
      : "it has none that may be removed: see its groups with inspect, or allow residual streams " +
        "with --scope all";
    throw new SecateurError(
      "graph-unsupported",
      `Expected channels of ${graph.name} to choose from, but ${why}.`,
    );
  }
  return {
    groups: free.map((index) => all[index]),
    caps: free.map((index) => caps.get(index) ?? cap),
    constraints: {
      keep: prunable.filter((index) => kept.has(index)).map((index) => all[index].name),
      maxRatio: Object.fromEntries(
        free.filter((index) => caps.has(index)).map((index) => [all[index].name, caps.get(index)!]),
      ),
    },
  };
}
