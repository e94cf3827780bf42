/**
 * Channel independence: how much of the nuclear norm of all maps of a picture goes with a channel's map
 * (Sui et al., "CHIP: Channel independence-based pruning", arXiv 2110.13981, equation 3), averaged over
 * pictures and summed over a player's sites. Singular values of maps [channels, cells] are the roots of
 * the eigenvalues of their Gram matrix.
 */

import { calibrationBatches } from "../data/batches/calibration.ts";
import { shapesOf } from "../graph/shapes.ts";
import { LoadedModel } from "../native/loaded_model.ts";
import { stopIfAsked } from "../progress.ts";
import { elementCount } from "../tensor.ts";
import { eigenvalues } from "./eigenvalues.ts";
import { type CriterionContext, type Ranking, rankingBy } from "./ranking.ts";

/** The paper takes 5 batches of 128; the figure settles with far fewer. */
const IMAGES = 64;
const BATCH = 16;

/** Sum of the singular values of maps whose Gram matrix is given, without channel `but`. */
function nuclearNorm(gram: Float64Array, channels: number, but = -1): number {
  const kept = Array.from({ length: channels }, (_, c) => c).filter((c) => c !== but);
  const own = new Float64Array(kept.length ** 2);
  kept.forEach((a, i) => kept.forEach((b, j) => own[i * kept.length + j] = gram[a * channels + b]));
  return eigenvalues(own, kept.length).reduce((sum, x) => sum + Math.sqrt(Math.max(0, x)), 0);
}

/** Products of maps [cells, channels] of one picture: [channels, channels]. */
function gramOf(maps: Float32Array, channels: number): Float64Array {
  const gram = new Float64Array(channels * channels);
  for (let first = 0; first < maps.length; first += channels) {
    for (let a = 0; a < channels; a++) {
      const value = maps[first + a];
      if (value === 0) continue;
      for (let b = 0; b <= a; b++) gram[a * channels + b] += value * maps[first + b];
    }
  }
  for (let a = 0; a < channels; a++) {
    for (let b = 0; b < a; b++) gram[b * channels + a] = gram[a * channels + b];
  }
  return gram;
}

/** Independence of every channel of each value, a mean over pictures. */
async function independenceOf(
  context: CriterionContext,
  values: readonly string[],
): Promise<Map<string, Float64Array>> {
  const { graph, normalisation, compute, signal, onProgress } = context;
  const pictures = await context.pictures(IMAGES, "chip");
  const images = Math.min(BATCH, pictures.count);
  using model = LoadedModel.open(graph, [
    { kind: "forward", name: "maps", images, fetch: values },
  ], { ...compute, dtype: "f32" });
  const entry = model.entry("maps");
  const shapes = shapesOf(graph);
  const sums = new Map(values.map((value) => [value, new Float64Array(shapes.get(value)![0])]));
  const batches = calibrationBatches(pictures, images, normalisation);
  let done = 0;
  for (const batch of batches) {
    const result = await model.run("maps", {
      feeds: { [entry.feeds.images!]: batch.images },
      fetch: values.map((value) => entry.values.get(value)!),
    });
    for (const value of values) {
      const [channels] = shapes.get(value)!;
      const size = elementCount(shapes.get(value)!);
      const data = result[entry.values.get(value)!] as Float32Array;
      for (let image = 0; image < images; image++) {
        stopIfAsked(signal);
        const gram = gramOf(data.subarray(image * size, (image + 1) * size), channels);
        const whole = nuclearNorm(gram, channels);
        sums.get(value)!.forEach((sum, c, all) =>
          all[c] = sum + (whole - nuclearNorm(gram, channels, c)) / images / batches.length
        );
      }
      const total = batches.length * values.length;
      onProgress?.({ stage: "independence", done: ++done, total, unit: "maps" });
    }
  }
  return sums;
}

export async function chip(context: CriterionContext): Promise<Ranking[]> {
  const { groups } = context;
  const values = [...new Set(groups.flatMap(({ sites }) => sites))];
  const found = await independenceOf(context, values);
  return groups.map((group) =>
    rankingBy(
      group.players.map(({ sites }) =>
        sites.reduce((sum, { value, channel }) => sum + found.get(value)![channel], 0)
      ),
    )
  );
}
