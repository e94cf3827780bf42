/** Rough forecasts of how long stages take, from measured inference. */

import type { ChannelGroup } from "../graph/channels.ts";
import { costOf } from "../graph/cost.ts";
import type { Graph } from "../graph/graph.ts";

/** A training step costs about three forward passes: two of its three products are backward. */
const STEP_PER_FORWARD = 3.5;

/** What gates and losses of a coalition cost, in forward passes, however little it replays. */
const LEAST_PASS = 0.05;

/**
 * Forward passes of one image that evaluating a coalition on it amounts to: above all the share of
 * the model's MACs that the group's masks reach, which are replayed.
 */
export function evaluationPasses(graph: Graph, group: ChannelGroup): number {
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
  return LEAST_PASS + replayed / total;
}

/** Coalitions that sampling a group evaluates at most: inner ones of two walks a pair, and the ends. */
export function mostEvaluations({ players }: ChannelGroup, pairs: number): number {
  return 2 + 2 * pairs * (players.length - 1);
}

/** Forward passes of one image that Shapley sampling of all groups amounts to, at most. */
export function shapleyPasses(
  graph: Graph,
  groups: readonly ChannelGroup[],
  pairs: number,
  images: number,
): number {
  const passes = groups.map((group) =>
    evaluationPasses(graph, group) * mostEvaluations(group, pairs)
  );
  return images * passes.reduce((sum, one) => sum + one, 0);
}

/** What training amounts to, in pictures and in a model. */
export interface TrainingExtent {
  readonly epochs: number;
  /** Training pictures of an epoch, and held-out ones that are evaluated after it. */
  readonly images: number;
  readonly heldOut: number;
  /** MACs of the model as a share of those of the model whose passes are counted. */
  readonly share: number;
  /** Whether that model is the teacher, which answers every training picture too. */
  readonly teacher: boolean;
}

/** Forward passes of one image that training amounts to. */
export function trainingPasses(extent: TrainingExtent): number {
  const { epochs, images, heldOut, share, teacher } = extent;
  const trained = STEP_PER_FORWARD * share + (teacher ? 1 : 0);
  return epochs * (images * trained + heldOut * share);
}
