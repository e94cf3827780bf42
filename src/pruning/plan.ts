import { channelMapCuts, parameterCuts, type Removal } from "../graph/cut.ts";
import type { Graph } from "../graph/graph.ts";
import type { Constraints } from "./constraints.ts";

/**
 * What a run decided, in terms of the original model: enough to cut the same channels out of the
 * same checkpoint with any other tool. Written as plan.json.
 */
export interface Plan {
  readonly model: string;
  /** Channels (players) that stay in every group, by index. */
  readonly groups: readonly {
    readonly name: string;
    readonly kind: "inner" | "stream";
    readonly channels: number;
    readonly kept: readonly number[];
  }[];
  /** Indices that stay along an axis of every original parameter that loses any. */
  readonly parameters: readonly {
    readonly name: string;
    readonly axis: number;
    /** Indices before the cut. */
    readonly extent: number;
    readonly kept: readonly number[];
  }[];
  /** Layers without parameters that rearrange or pad channels, where that changes. */
  readonly maps: readonly {
    readonly name: string;
    /** What it read before the cut; of that and of its output, what stays. */
    readonly channels: number;
    readonly keptIn: readonly number[];
    readonly keptOut: readonly number[];
    /** Source of every output channel, -1 for zeros: before the cut, and after it. */
    readonly from: readonly number[];
    readonly cut: readonly number[];
    /** The groups that lose what passes there. */
    readonly groups: readonly string[];
  }[];
  /** What --keep and --max-ratio asked of groups. */
  readonly constraints: Constraints;
}

/** The plan of some removals from a graph. */
export function planOf(
  graph: Graph,
  removals: readonly Removal[],
  constraints: Constraints = { keep: [], maxRatio: {} },
): Plan {
  return {
    model: graph.name,
    groups: removals.map(({ group, removed }) => {
      const gone = new Set(removed);
      const kept = group.players.map((_, player) => player).filter((player) => !gone.has(player));
      return { name: group.name, kind: group.kind, channels: group.players.length, kept };
    }),
    parameters: parameterCuts(graph, removals).map(({ parameter, ...part }) => ({
      name: parameter,
      ...part,
    })),
    maps: channelMapCuts(graph, removals).map(({ node, ...part }) => ({ name: node, ...part })),
    constraints,
  };
}
