/**
 * Rank of a channel's feature map, averaged over pictures and the channel's sites (Lin et al., "HRank:
 * Filter pruning using high-rank feature map", arXiv 2002.10179).
 */

import { calibrationBatches } from "../data/batches/calibration.ts";
import { shapesOf } from "../graph/shapes.ts";
import { LoadedModel } from "../native/loaded_model.ts";
import { stopIfAsked } from "../progress.ts";
import { type CriterionContext, type Ranking, rankingBy } from "./ranking.ts";

/** HRank takes 5 batches of 128. */
const IMAGES = 640;
const BATCH = 128;

/** Mean rank of every channel of each value. */
async function ranksOf(
  context: CriterionContext,
  values: readonly string[],
): Promise<Map<string, Float64Array>> {
  const { graph, normalisation, compute, signal, onProgress } = context;
  const pictures = await context.pictures(IMAGES, "hrank");
  const images = Math.min(BATCH, pictures.count);
  using model = LoadedModel.open(graph, [
    { kind: "forward", name: "ranks", images, ranks: values },
  ], { ...compute, dtype: "f32" });
  const entry = model.entry("ranks");
  const names = values.map((value) => entry.ranks.get(value)!);
  const sums = values.map((value) => new Float64Array(shapesOf(graph).get(value)![0]));
  const batches = calibrationBatches(pictures, images, normalisation);
  for (const [index, batch] of batches.entries()) {
    stopIfAsked(signal);
    const result = await model.run("ranks", {
      feeds: { [entry.feeds.images!]: batch.images },
      fetch: names,
    });
    names.forEach((name, v) => {
      const ranks = result[name] as Float32Array;
      ranks.forEach((rank, i) => sums[v][i % sums[v].length] += rank / images / batches.length);
    });
    onProgress?.({ stage: "ranks", done: index + 1, total: batches.length, unit: "batches" });
  }
  return new Map(values.map((value, v) => [value, sums[v]]));
}

export async function hrank(context: CriterionContext): Promise<Ranking[]> {
  const { graph, groups } = context;
  const shapes = shapesOf(graph);
  const isMap = (value: string) => {
    const shape = shapes.get(value)!;
    return shape.length === 3 && Math.min(shape[1], shape[2]) > 1;
  };
  const values = [...new Set(groups.flatMap(({ sites }) => sites.filter(isMap)))];
  const ranks = values.length > 0 ? await ranksOf(context, values) : new Map();
  return groups.map((group) =>
    rankingBy(
      group.players.map(({ sites }) =>
        sites.reduce((sum, { value, channel }) => sum + (ranks.get(value)?.[channel] ?? 0), 0)
      ),
    )
  );
}
