/**
 * How far a network's outputs move for what the readers of one group lose: each group is cut alone, to
 * half, its readers made up for it, and the outputs are compared. What a curve of losses says of layers
 * becomes comparable between groups by what it does to the outputs.
 */

import { type CalibrationBatch, calibrationBatches } from "../data/batches/calibration.ts";
import type { Dataset, Normalisation } from "../data/dataset.ts";
import type { ChannelGroup } from "../graph/channels.ts";
import { cutGraph } from "../graph/cut.ts";
import type { Graph } from "../graph/graph.ts";
import { type ComputeOptions, LoadedModel } from "../native/loaded_model.ts";
import { type RunOptions, stopIfAsked } from "../progress.ts";
import type { Games } from "./games.ts";
import { repairedReaders } from "./repair.ts";

export interface SensitivityOptions extends RunOptions, Omit<ComputeOptions, "dtype"> {
  readonly normalisation: Normalisation;
  /** Most images a pass; default 128. */
  readonly batch?: number;
}

/** Pixels that one measurement shows a network, at most, and pictures at most and at least. */
const PIXELS = 2 ** 21, MOST_IMAGES = 512, LEAST_IMAGES = 64;

/** Pictures that sensitivities are measured on: every group asks for a pass over all of them. */
export function sensitivityImages({ input: { shape: [, height, width] } }: Graph): number {
  const images = Math.floor(PIXELS / (height * width));
  return Math.max(LEAST_IMAGES, Math.min(MOST_IMAGES, images));
}

/** Values of every output, batch after batch. */
async function outputsOf(
  graph: Graph,
  batches: readonly CalibrationBatch[],
  options: SensitivityOptions,
): Promise<Float32Array[][]> {
  const images = batches[0].labels.length;
  using model = LoadedModel.open(graph, [{ kind: "forward", name: "outputs", images }], {
    ...options,
    dtype: "f32-fast",
  });
  const entry = model.entry("outputs");
  const names = graph.outputs.map((output) => entry.outputs.get(output)!);
  const found: Float32Array[][] = names.map(() => []);
  for (const batch of batches) {
    stopIfAsked(options.signal);
    const feeds = { [entry.feeds.images!]: batch.images };
    const result = await model.run(entry.name, { feeds, fetch: names });
    names.forEach((name, index) => found[index].push(result[name] as Float32Array));
  }
  return found;
}

/** Squared differences of values from others, in shares of the others' variance about their mean. */
function relativeError(wanted: readonly Float32Array[], got: readonly Float32Array[]): number {
  let count = 0, sum = 0, squares = 0, error = 0;
  wanted.forEach((values, batch) => {
    values.forEach((value, i) => {
      sum += value;
      squares += value * value;
      error += (got[batch][i] - value) ** 2;
    });
    count += values.length;
  });
  const variance = squares - sum * sum / count;
  return variance > 0 ? error / variance : 0;
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
 * By group: relative error of the outputs, mean over outputs, for one share of what the group's readers
 * put out that they lose. 0 for groups of which nothing may go or nothing is lost.
 */
export async function measureSensitivity(
  graph: Graph,
  groups: readonly ChannelGroup[],
  games: Games,
  { orders, curves, most }: SensitivityQuestion,
  pictures: Dataset,
  options: SensitivityOptions,
): Promise<number[]> {
  const images = Math.min(options.batch ?? 128, pictures.count);
  const batches = calibrationBatches(pictures, images, options.normalisation);
  const wanted = await outputsOf(graph, batches, options);
  let done = 0;
  return await games.each(async (game, index) => {
    const report = () =>
      options.onProgress?.({
        stage: "sensitivity",
        done: ++done,
        total: groups.length,
        unit: "groups",
      });
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
    const got = await outputsOf(cut, batches, options);
    const errors = wanted.map((values, output) => relativeError(values, got[output]));
    report();
    return errors.reduce((sum, error) => sum + error, 0) / errors.length / curves[index][depth];
  });
}
