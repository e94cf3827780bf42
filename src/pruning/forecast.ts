/** Rough forecasts of how long stages take, from measured inference. */

import type { ChannelGroup } from "../graph/channels.ts";
import { costOf } from "../graph/cost.ts";
import type { Graph } from "../graph/graph.ts";

/** A training step costs about three forward passes: two of its three products are backward. */
const STEP_PER_FORWARD = 3.5;

/** Share of a model's MACs that a group's masks reach: what each coalition replays. */
function replayedShare(graph: Graph, group: ChannelGroup): number {
  const macs = new Map(costOf(graph).layers.map((layer) => [layer.name, layer.macs]));
  const masked = new Set(group.sites);
  let total = 0, replayed = 0;
  for (const node of graph.nodes) {
    const own = macs.get(node.name) ?? 0;
    total += own;
    if (!node.inputs.some((value) => masked.has(value))) continue;
    masked.add(node.output);
    replayed += own;
  }
  return replayed / total;
}

/** Forward passes of one image that Shapley sampling of all groups amounts to, at most. */
export function shapleyPasses(
  graph: Graph,
  groups: readonly ChannelGroup[],
  pairs: number,
  images: number,
): number {
  const passes = groups.map((group) =>
    replayedShare(graph, group) * (2 * pairs * (group.players.length - 1) + 2)
  );
  return images * passes.reduce((sum, one) => sum + one, 0);
}

/** Forward passes that training amounts to, for a model of `share` of the original's MACs. */
export function trainingPasses(images: number, epochs: number, share: number): number {
  return STEP_PER_FORWARD * images * epochs * share;
}
