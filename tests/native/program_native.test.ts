// Whole compiled programs in native code: every entry against the f64 oracle, the same bytes for
// any number of threads, and bf16 near f32.

import { describe, expect, it } from "vitest";
import { prunableGroups } from "../../src/graph/channels.ts";
import type { Graph } from "../../src/graph/graph.ts";
import type { Engine } from "../../src/native/addon.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import type { TypedArray } from "../../src/native/session.ts";
import type { EntryRequest } from "../../src/program/compile.ts";
import { RandomStream } from "../../src/random.ts";
import { Interpreted, randomImages, toNhwc } from "../support/interpreted.ts";
import { blockGraph } from "../support/graphs/blocks.ts";
import { diverseGraph } from "../support/graphs/diverse.ts";
import { randomGraph } from "../support/graphs/random.ts";
import { mapGraph } from "../support/graphs/maps.ts";
import { sharedGraph } from "../support/graphs/shared.ts";

const IMAGES = 6;
const LABELS = [0, 1, 2, 3, 0, 1];
const ENGINES: readonly Engine[] = ["portable", "automatic"];

function requests(graph: Graph): EntryRequest[] {
  const [group] = prunableGroups(graph, "all").slice(-2);
  return [
    { kind: "forward", name: "forward", images: IMAGES, loss: { smoothing: 0.1 } },
    {
      kind: "coalitions",
      name: "game",
      images: IMAGES,
      coalitions: [3],
      gates: group.sites.map((value) => ({ value })),
      loss: { smoothing: 0 },
    },
    {
      kind: "step",
      name: "step",
      images: IMAGES,
      loss: { smoothing: 0.1 },
      optimizer: { kind: "sgd", weightDecay: 1e-3 },
    },
  ];
}

/** What every entry is fed, by value name, and the values to compare, in the order of running. */
interface Script {
  readonly entry: string;
  readonly feeds: Readonly<Record<string, readonly number[]>>;
  readonly fetch: readonly string[];
}

function script(oracle: Interpreted, images: readonly Float64Array[]): Script[] {
  const pictures = [...toNhwc(images, oracle.graph.input.shape)].map(Math.fround);
  const forward = oracle.entry("forward"), step = oracle.entry("step");
  const prefix = oracle.entry("game/prefix"), suffix = oracle.entry("game/suffix/3");
  const random = new RandomStream(1, "gates");
  const gates = [...suffix.feeds.gates.values()].map((feed) => {
    const { shape } = oracle.compiled.program.values.find(({ name }) => name === feed)!;
    return [feed, Array.from({ length: 3 * shape[1] }, () => random.integer(2))] as const;
  });
  const parameters = [...oracle.graph.parameters.keys()];
  const gradients = [...step.optimizerState.keys()].map((name) => `grad/${name}`);
  return [
    {
      entry: "forward",
      feeds: { [forward.feeds.images!]: pictures, [forward.feeds.labels!]: LABELS },
      fetch: [forward.logits!, forward.loss!],
    },
    { entry: "game/prefix", feeds: { [prefix.feeds.images!]: pictures }, fetch: [] },
    {
      entry: "game/suffix/3",
      feeds: {
        ...Object.fromEntries(gates),
        [suffix.feeds.labels!]: [...LABELS, ...LABELS, ...LABELS],
      },
      fetch: [suffix.logits!, suffix.loss!],
    },
    {
      entry: "step",
      feeds: {
        [step.feeds.images!]: pictures,
        [step.feeds.labels!]: LABELS,
        [step.feeds.hyper!]: [0.125, 0.875],
      },
      fetch: [step.logits!, step.loss!, ...gradients, ...parameters],
    },
  ];
}

function typed(model: LoadedModel, name: string, data: readonly number[]): TypedArray {
  const { dtype } = model.session.program.values.find((value) => value.name === name)!;
  return dtype === "i32" ? Int32Array.from(data) : Float32Array.from(data);
}

/** Everything a script fetches, by entry and value. */
async function run(model: LoadedModel, steps: readonly Script[]): Promise<Map<string, TypedArray>> {
  const results = new Map<string, TypedArray>();
  for (const { entry, feeds, fetch } of steps) {
    const data = Object.fromEntries(
      Object.entries(feeds).map(([name, values]) => [name, typed(model, name, values)]),
    );
    const fetched = await model.run(entry, { feeds: data, fetch });
    for (const [name, values] of Object.entries(fetched)) results.set(`${entry}: ${name}`, values);
  }
  return results;
}

function interpretScript(oracle: Interpreted, steps: readonly Script[]): Map<string, Float64Array> {
  const results = new Map<string, Float64Array>();
  for (const { entry, feeds, fetch } of steps) {
    for (const [name, data] of Object.entries(feeds)) oracle.write(name, data);
    oracle.run(entry);
    for (const name of fetch) results.set(`${entry}: ${name}`, oracle.value(name).slice());
  }
  return results;
}

/** Largest difference relative to the largest expected magnitude, at least `floor`. */
function error(actual: ArrayLike<number>, expected: ArrayLike<number>, floor: number): number {
  let difference = 0, scale = floor;
  for (let i = 0; i < expected.length; i++) {
    difference = Math.max(difference, Math.abs(actual[i] - expected[i]));
    scale = Math.max(scale, Math.abs(expected[i]));
  }
  return actual.length === expected.length ? difference / scale : Infinity;
}

function prepare(seed: number) {
  const graph = seed < 6
    ? randomGraph(seed, 3)
    : seed < 12
    ? diverseGraph(seed, 3)
    : seed < 16
    ? sharedGraph(seed, 4)
    : seed < 18
    ? mapGraph(seed, 4)
    : blockGraph(seed, 4);
  const oracle = new Interpreted(graph, requests(graph), { slice: 2 });
  const images = randomImages(graph, IMAGES, new RandomStream(seed, "native"));
  return { graph, oracle, steps: script(oracle, images) };
}

describe("native programs", () => {
  for (const engine of ENGINES) {
    it(`give what the f64 oracle gives, engine ${engine}`, async () => {
      for (let seed = 0; seed < 20; seed++) {
        const { graph, oracle, steps } = prepare(seed);
        const expected = interpretScript(oracle, steps);
        const options = { dtype: "f32", engine, threads: 2, slice: 2 } as const;
        using model = LoadedModel.open(graph, requests(graph), options);
        const actual = await run(model, steps);
        expect([...actual.keys()]).toEqual([...expected.keys()]);
        for (const [name, values] of expected) {
          // Biases before batch norm have no gradient but rounding errors.
          expect(error(actual.get(name)!, values, 1e-2), `${name} of seed ${seed}`)
            .toBeLessThan(2e-4);
        }
      }
    });

    it(`give the same bytes on 1, 2 and 3 threads, engine ${engine}`, async () => {
      for (const dtype of ["f32", "bf16"] as const) {
        const { graph, steps } = prepare(7);
        const results = [];
        for (const threads of [1, 2, 3]) {
          const options = { dtype, engine, threads, slice: 2 };
          using model = LoadedModel.open(graph, requests(graph), options);
          await run(model, steps);
          results.push(await run(model, steps));
        }
        expect(results[1]).toEqual(results[0]);
        expect(results[2]).toEqual(results[0]);
      }
    });

    it(`stay near f32 in bf16, engine ${engine}`, async () => {
      const { graph, steps } = prepare(2);
      const results = [];
      for (const dtype of ["f32", "bf16"] as const) {
        using model = LoadedModel.open(graph, requests(graph), { dtype, engine, slice: 2 });
        results.push(await run(model, steps));
      }
      for (const name of ["forward: forward:loss", "game/suffix/3: game/suffix/3:loss"]) {
        const difference = error(results[1].get(name)!, results[0].get(name)!, 1e-2);
        expect(difference, name).toBeLessThan(0.05);
        expect(difference, name).toBeGreaterThan(0);
      }
    });
  }
});
