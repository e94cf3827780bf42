/** Passes of several graphs in several engines, timed in turns. */

import { availableParallelism } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { encodeOnnx } from "../../src/formats/onnx/export/export.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { type Timing, timingOf } from "../../src/latency/timing.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import { RandomStream } from "../../src/random.ts";
import { elementCount } from "../../src/tensor.ts";

export type Engine = "secateur f32" | "secateur bf16" | "onnxruntime f32";

/** Runs one pass; the engine's own copies of inputs and outputs count, as a user's would. */
interface Runner {
  run(): Promise<unknown>;
  close(): Promise<void>;
}

function noise(graph: Graph, images: number): Float32Array {
  const random = new RandomStream(0, "latency", images);
  const count = images * elementCount(graph.input.shape);
  return Float32Array.from({ length: count }, () => random.normal());
}

function ours(graph: Graph, images: number, dtype: "f32" | "bf16"): Runner {
  const request = { kind: "forward", name: "forward", images } as const;
  const model = LoadedModel.open(graph, [request], { dtype });
  const { feeds, logits } = model.entry("forward");
  const inputs = { feeds: { [feeds.images!]: noise(graph, images) }, fetch: [logits!] };
  return {
    run: () => model.run("forward", inputs),
    close: () => Promise.resolve(model[Symbol.dispose]()),
  };
}

async function onnxRuntime(graph: Graph, images: number): Promise<Runner> {
  const session = await InferenceSession.create(encodeOnnx(graph, { batch: images }), {
    intraOpNumThreads: availableParallelism(),
    graphOptimizationLevel: "all",
    logSeverityLevel: 3,
  });
  const input = new Tensor("float32", noise(graph, images), [images, ...graph.input.shape]);
  const feeds = { [session.inputNames[0]]: input };
  return { run: () => session.run(feeds), close: () => session.release() };
}

export interface ContestRow extends Timing {
  readonly variant: string;
  readonly engine: Engine;
  readonly batch: number;
}

/** Passes before the clock counts. */
const WARM_UP = 2;
/** Milliseconds between passes: onnxruntime's threads spin for a while, on the next one's cores. */
const PAUSE = 20;
/** Least and most timed rounds; between them, as many as fit in the time given. */
const ROUNDS = { least: 5, most: 30 };

/**
 * Milliseconds of a pass of every variant in every engine, median and quartiles. Each round runs
 * all of them once, so that a drifting clock meets all alike.
 */
export async function contest(
  variants: ReadonlyMap<string, Graph>,
  batch: number,
  seconds: number,
): Promise<ContestRow[]> {
  const entrants: { variant: string; engine: Engine; runner: Runner; times: number[] }[] = [];
  for (const [variant, graph] of variants) {
    const add = (engine: Engine, runner: Runner) =>
      entrants.push({ variant, engine, runner, times: [] });
    add("secateur f32", ours(graph, batch, "f32"));
    add("secateur bf16", ours(graph, batch, "bf16"));
    add("onnxruntime f32", await onnxRuntime(graph, batch));
  }
  const started = performance.now();
  const late = () => performance.now() - started > 1000 * seconds;
  for (let round = -WARM_UP; round < ROUNDS.most && !(round >= ROUNDS.least && late()); round++) {
    for (const { runner, times } of entrants) {
      await delay(PAUSE);
      const before = performance.now();
      await runner.run();
      if (round >= 0) times.push(performance.now() - before);
    }
  }
  for (const { runner } of entrants) await runner.close();
  return entrants.map(({ variant, engine, times }) => ({
    variant,
    engine,
    batch,
    ...timingOf(times),
  }));
}
