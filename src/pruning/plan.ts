import type { Removal } from "../graph/cut.ts";
import { parameterCuts } from "../graph/cut.ts";
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
    readonly kept: readonly number[];
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
    parameters: parameterCuts(graph, removals).map(({ parameter, axis, kept }) => ({
      name: parameter,
      axis,
      kept,
    })),
    constraints,
  };
}
