/**
 * How far a network's outputs move for what the readers of one group lose: each group is cut alone, to
 * half, its readers made up for it, and the outputs are compared. What a curve of losses says of layers
 * becomes comparable between groups by what it does to the outputs.
 */

import type { Dataset } from "../data/dataset.ts";
import type { ChannelGroup } from "../graph/channels.ts";
import { cutGraph } from "../graph/cut.ts";
import type { Graph } from "../graph/graph.ts";
import { evaluateMatch, matchingOf, type MatchOptions } from "../objectives/matching.ts";
import type { Games } from "./games.ts";
import { repairedReaders } from "./repair.ts";

/** Pixels that one measurement shows a network, at most, and pictures at most and at least. */
const PIXELS = 2 ** 21, MOST_IMAGES = 512, LEAST_IMAGES = 64;

/** Pictures that sensitivities are measured on: every group asks for a pass over all of them. */
export function sensitivityImages({ input: { shape: [, height, width] } }: Graph): number {
  const images = Math.floor(PIXELS / (height * width));
  return Math.max(LEAST_IMAGES, Math.min(MOST_IMAGES, images));
}

/** How many players go: half, or as many as cost anything. */
function depthOf(curve: ArrayLike<number>, most: number): number {
  let depth = Math.max(1, Math.min(most, Math.round((curve.length - 1) / 2)));
  while (depth < most && !(curve[depth] > 0)) depth++;
  return depth;
}

/** What is cut of each group, what that costs its readers, and how many may go at most. */
export interface SensitivityQuestion {
  readonly orders: readonly (readonly number[])[];
  readonly curves: readonly ArrayLike<number>[];
  readonly most: readonly number[];
}

/**
 * By group: squared error of the outputs in shares of their variance, mean over outputs, for one share of
 * what the group's readers put out that they lose. 0 for groups of which nothing may go or nothing is
 * lost. Throws what `matchingOf` and `evaluateMatch` throw.
 */
export async function measureSensitivity(
  graph: Graph,
  groups: readonly ChannelGroup[],
  games: Games,
  { orders, curves, most }: SensitivityQuestion,
  pictures: Dataset,
  { onProgress, ...options }: MatchOptions,
): Promise<number[]> {
  const match: MatchOptions = { ...options, dtype: "f32-fast" };
  const matching = await matchingOf(graph, pictures, match);
  let done = 0;
  return await games.each(async (game, index) => {
    const report = () =>
      onProgress?.({ stage: "sensitivity", done: ++done, total: groups.length, unit: "groups" });
    const depth = most[index] === 0 ? 0 : depthOf(curves[index], most[index]);
    if (!(curves[index][depth] > 0)) {
      report();
      return 0;
    }
    const removed = orders[index].slice(0, depth).toSorted((a, b) => a - b);
    await game.remove(Int32Array.from(removed));
    const changed = await repairedReaders(graph, games.readers(index), game);
    const repaired = { ...graph, parameters: new Map([...graph.parameters, ...changed]) };
    const cut = cutGraph(repaired, [{ group: groups[index], removed }]);
    const { loss } = await evaluateMatch(cut, matching, pictures, match);
    report();
    return loss / curves[index][depth];
  });
}
