/** Measured time of a forward pass before and after pruning, on this machine. */

import type { Graph } from "../graph/graph.ts";
import { timingOf } from "../latency/timing.ts";
import { type ComputeOptions, LoadedModel } from "../native/loaded_model.ts";
import type { RunOptions } from "../progress.ts";
import { RandomStream } from "../random.ts";
import { elementCount } from "../tensor.ts";
import type { LatencyRow } from "./report.ts";

export interface LatencyOptions extends RunOptions, ComputeOptions {
  /** Pictures per pass; default 1 and 64. */
  readonly batches?: readonly number[];
  /** Timed passes of each model and batch; default 30. */
  readonly runs?: number;
}

/** Passes before the clock counts: caches, threads and clock rates settle. */
const WARM_UP = 3;

const entryName = (batch: number): string => `forward/${batch}`;

/** Milliseconds of one pass, pictures in and outputs out. */
async function timePass(
  model: LoadedModel,
  batch: number,
  images: Float32Array,
  signal?: AbortSignal,
): Promise<number> {
  const { feeds, outputs } = model.entry(entryName(batch));
  const started = performance.now();
  await model.run(entryName(batch), {
    feeds: { [feeds.images!]: images },
    fetch: [...new Set(outputs.values())],
    ...(signal ? { signal } : {}),
  });
  return performance.now() - started;
}

/**
 * Times both models on the same pictures (normal noise), in turns, so that a drifting clock meets
 * both alike. Batches of 1 and 64 by default.
 */
export async function measureLatency(
  original: Graph,
  pruned: Graph,
  options: LatencyOptions = {},
): Promise<LatencyRow[]> {
  const { batches = [1, 64], runs = 30, signal, onProgress } = options;
  const requests = batches.map((images) => ({
    kind: "forward" as const,
    name: entryName(images),
    images,
  }));
  using before = LoadedModel.open(original, requests, options);
  using after = LoadedModel.open(pruned, requests, options);
  const rows: LatencyRow[] = [];
  for (const batch of batches) {
    const random = new RandomStream(0, "latency", batch);
    const images = Float32Array.from(
      { length: batch * elementCount(original.input.shape) },
      () => random.normal(),
    );
    const times: [number[], number[]] = [[], []];
    for (let run = -WARM_UP; run < runs; run++) {
      const first = await timePass(before, batch, images, signal);
      const second = await timePass(after, batch, images, signal);
      if (run < 0) continue;
      times[0].push(first);
      times[1].push(second);
      const done = rows.length * runs + run + 1;
      onProgress?.({ stage: "latency", done, total: batches.length * runs, unit: "rounds" });
    }
    rows.push({ batch, original: timingOf(times[0]), pruned: timingOf(times[1]), runs });
  }
  return rows;
}
