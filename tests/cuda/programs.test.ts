/** Whole compiled programs through the CUDA executor, in the emulator, against the CPU executor. */

import { describe, expect, it } from "vitest";
import type { Graph } from "../../src/graph/graph.ts";
import { createModel } from "../../src/models/models.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import type { Device, TypedArray } from "../../src/native/session.ts";
import type { EntryRequest } from "../../src/program/compile.ts";
import type { Precision } from "../../src/program/precision.ts";
import { RandomStream } from "../../src/random.ts";
import {
  buildFirst,
  EMULATED_TIMEOUT,
  emulator,
  inOrder,
  missing,
  ORDERS,
} from "../support/cuda/emulator.ts";

const IMAGES = 5, SIDE = 8;
const LABELS = Int32Array.of(0, 1, 2, 3, 1);

const REQUESTS: readonly EntryRequest[] = [
  { kind: "forward", name: "forward", images: IMAGES, loss: { smoothing: 0.1 } },
  { kind: "statistics", name: "statistics", images: IMAGES },
  {
    kind: "step",
    name: "step",
    images: IMAGES,
    loss: { smoothing: 0.1 },
    optimizer: { kind: "sgd", weightDecay: 1e-3 },
  },
];

function resnet8(): Graph {
  return createModel("resnet8", { classes: 4, shape: [3, SIDE, SIDE], seed: 1 });
}

interface Options {
  readonly device?: Device;
  readonly dtype?: Precision;
  readonly slice?: number;
}

/**
 * Everything that three steps, a re-estimation of batch norm and a forward pass before and after
 * leave: losses, logits and all parameters.
 */
async function outcome(options: Options): Promise<Map<string, TypedArray>> {
  const graph = resnet8();
  using model = LoadedModel.open(graph, REQUESTS, {
    engine: "portable",
    threads: 1,
    dtype: "f32",
    ...options,
  });
  const random = new RandomStream(1, "pictures");
  const pictures = Float32Array.from(
    { length: IMAGES * SIDE * SIDE * 3 },
    () => random.normal(),
  );
  const results = new Map<string, TypedArray>();
  const run = async (name: string, round: string, more: Record<string, TypedArray>) => {
    const { feeds, logits, loss } = model.entry(name);
    const fetch = [logits, loss].filter((each) => each !== undefined);
    const labels = feeds.labels === undefined ? {} : { [feeds.labels]: LABELS };
    const data = { [feeds.images!]: pictures, ...labels, ...more };
    const found = await model.run(name, { feeds: data, fetch });
    for (const [value, numbers] of Object.entries(found)) {
      results.set(`${round}: ${value}`, numbers);
    }
  };
  await run("forward", "before", {});
  for (const step of [1, 2, 3]) {
    const hyper = { [model.entry("step").feeds.hyper!]: Float32Array.of(0.05, 0.9) };
    await run("step", `step ${step}`, hyper);
  }
  const momentum = { [model.entry("statistics").feeds.momentum!]: Float32Array.of(0.25) };
  await run("statistics", "statistics", momentum);
  await run("forward", "after", {});
  for (const [name, { data }] of (await model.current()).parameters) {
    results.set(`after: ${name}`, data as Float32Array);
  }
  return results;
}

/** Largest difference relative to the largest expected magnitude, at least 0.01. */
function error(actual: TypedArray, expected: TypedArray): number {
  let difference = 0, scale = 0.01;
  for (let i = 0; i < expected.length; i++) {
    const distance = Math.abs(actual[i] - expected[i]);
    difference = Number.isNaN(distance) ? Infinity : Math.max(difference, distance);
    scale = Math.max(scale, Math.abs(expected[i]));
  }
  return actual.length === expected.length ? difference / scale : Infinity;
}

function furthest(actual: Map<string, TypedArray>, expected: Map<string, TypedArray>) {
  expect([...actual.keys()]).toEqual([...expected.keys()]);
  return [...expected]
    .map(([name, values]) => ({ name, error: error(actual.get(name)!, values) }))
    .reduce((worst, each) => each.error > worst.error ? each : worst);
}

describe.skipIf(missing !== undefined)(
  `resnet8 in the emulator${missing ? `: ${missing}` : ""}`,
  () => {
    buildFirst(emulator);

    it("leaves after steps, statistics and forward passes in f32 what the CPU leaves", async () => {
      const expected = await outcome({});
      const worst = furthest(await outcome({ device: emulator() }), expected);
      expect(worst.error, worst.name).toBeLessThan(1e-4);
      // The steps must have changed something.
      const [before, after] = [
        expected.get("before: forward:loss")!,
        expected.get("after: forward:loss")!,
      ];
      expect(error(after, before)).toBeGreaterThan(0.01);
    }, EMULATED_TIMEOUT);

    it("leaves the same bytes in every order of blocks and threads", async () => {
      const results = [];
      for (const order of ORDERS) {
        results.push(await inOrder(order, () => outcome({ device: emulator() })));
      }
      expect(results[1]).toEqual(results[0]);
      expect(results[2]).toEqual(results[0]);
    }, EMULATED_TIMEOUT);

    it("runs slice by slice where values live in the slice arena", async () => {
      const sliced = await outcome({ device: emulator(), slice: 2 });
      const worst = furthest(sliced, await outcome({ slice: 2 }));
      expect(worst.error, worst.name).toBeLessThan(1e-4);
    }, EMULATED_TIMEOUT);

    it("stays near f32 in bf16", async () => {
      const expected = await outcome({ device: emulator() });
      const halves = await outcome({ device: emulator(), dtype: "bf16" });
      for (const name of ["before: forward:loss", "after: forward:loss"]) {
        const difference = error(halves.get(name)!, expected.get(name)!);
        expect(difference, name).toBeLessThan(0.05);
        expect(difference, name).toBeGreaterThan(0);
      }
    }, EMULATED_TIMEOUT);
  },
);
