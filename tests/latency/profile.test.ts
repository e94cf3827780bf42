import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { prunableGroups } from "../../src/graph/channels.ts";
import { cutShapes } from "../../src/graph/cut.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { latencyOf, layerCosts } from "../../src/latency/costs.ts";
import { filled } from "../../src/latency/layer_graph.ts";
import { measureWhole } from "../../src/latency/measure.ts";
import { nodeTimes, onnxRuntime } from "../../src/latency/onnx_runtime.ts";
import { lineThrough, profileLayers } from "../../src/latency/profile.ts";
import type { Runtime } from "../../src/latency/runtime.ts";
import { secateurRuntime } from "../../src/latency/secateur_runtime.ts";
import { unitsOf } from "../../src/latency/units.ts";
import { createModel } from "../../src/models/models.ts";
import { RandomStream } from "../../src/random.ts";
import { imaginedRuntime, imaginedTime, wholeTime } from "../support/imagined_runtime.ts";

const small = { classes: 10, shape: [3, 32, 32] };
let folder: string;
let cache: string | undefined;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "secateur-latency-"));
  cache = process.env.SECATEUR_CACHE;
  process.env.SECATEUR_CACHE = folder;
});

afterEach(() => {
  if (cache === undefined) delete process.env.SECATEUR_CACHE;
  else process.env.SECATEUR_CACHE = cache;
  rmSync(folder, { recursive: true });
});

/** The graph with a random share, at least a fifth, of every group, in multiples of `roundTo`. */
function randomCut(graph: Graph, seed: number, roundTo = 1): Graph {
  const random = new RandomStream(seed, "latency cut");
  return filled(cutShapes(
    graph,
    prunableGroups(graph, "all").map((group) => {
      const players = group.players.map((_, player) => player);
      const share = players.length * (0.2 + 0.8 * random.uniform());
      const kept = Math.ceil(share / roundTo) * roundTo;
      return { group, removed: players.slice(kept) };
    }),
  ));
}

describe("units", () => {
  it("hold every node but flattening once, sums with the later of what they add", () => {
    for (const name of ["resnet8", "mobilenet_v2", "densenet121", "shufflenet_v2_x0_5"]) {
      const graph = createModel(name, small);
      const nodes = unitsOf(graph).flatMap((unit) => unit.nodes.map((node) => node.name));
      const all = graph.nodes.filter(({ op }) => op !== "flatten").map((node) => node.name);
      expect(nodes.toSorted(), name).toEqual(all.toSorted());
    }
    const units = unitsOf(createModel("resnet8", small));
    const [second] = units.filter(({ name }) => name === "layer2.0.conv2");
    const pad = units.find(({ name }) => name === "layer2.0.shortcut.pad")!;
    const ops = (nodes: readonly { op: string }[]) => nodes.map(({ op }) => op);
    expect(ops(second.nodes)).toEqual(["convolution", "batch_norm"]);
    expect(ops(pad.nodes)).toEqual(["channel_map", "add", "relu"]);
  });
});

describe("a profile in a runtime whose times are known", () => {
  for (const name of ["resnet8", "densenet40", "shufflenet_v2_x0_5", "mobilenet_v3_small"]) {
    it(`predicts pruned models: ${name}`, async () => {
      const graph = createModel(name, small);
      const table = await profileLayers(graph, imaginedRuntime(name).runtime);
      const whole = latencyOf(graph, table) / wholeTime(graph);
      expect(Math.abs(whole - 1), name).toBeLessThan(0.01);
      for (let seed = 0; seed < 4; seed++) {
        const cut = randomCut(graph, seed);
        const ratio = latencyOf(cut, table) / wholeTime(cut);
        expect(Math.abs(ratio - 1), `${name}, cut ${seed}`).toBeLessThan(0.05);
      }
    });
  }

  it("gives every layer its own time at its own widths", async () => {
    const graph = createModel("resnet8", small);
    const table = await profileLayers(graph, imaginedRuntime("layers").runtime);
    const { layers, costAt } = layerCosts(graph, table);
    unitsOf(graph).forEach((unit, index) => {
      const own = new Set(unit.nodes.map((node) => node.name));
      const time = imaginedTime(graph, ({ name }) => own.has(name));
      const { name, inWidth, outWidth } = layers[index];
      expect(name).toBe(unit.name);
      expect(costAt(index, inWidth, outWidth) / table.scale / time).toBeCloseTo(1, 6);
    });
  });

  it("times layers alike once, and what is in the cache never again", async () => {
    const graph = createModel("resnet56", small);
    const { runtime, opened } = imaginedRuntime("once");
    const first = await profileLayers(graph, runtime, { roundTo: 4 });
    // Layers of three stages alike but for their first.
    expect(first.curves.length).toBeLessThan(first.layers.length / 3);
    const count = opened.filter(({ name }) => name !== "reference").length;
    expect(count).toBeGreaterThan(0);
    expect(await profileLayers(graph, runtime, { roundTo: 4 })).toEqual(first);
    expect(opened.filter(({ name }) => name !== "reference")).toHaveLength(count);
    // Another version is another machine as far as times go.
    const other = imaginedRuntime("other");
    await profileLayers(graph, other.runtime, { roundTo: 4 });
    expect(other.opened.filter(({ name }) => name !== "reference")).toHaveLength(count);
  });

  it("reports every turn and stops when asked", async () => {
    const graph = createModel("resnet8", small);
    const reports: { done: number; total: number }[] = [];
    await profileLayers(graph, imaginedRuntime("turns").runtime, {
      roundTo: 8,
      onProgress: ({ done, total }) => reports.push({ done, total }),
    });
    expect(reports.at(-1)!.done).toBe(reports[0].total);
    const controller = new AbortController();
    const stopped = profileLayers(graph, imaginedRuntime("stopped").runtime, {
      signal: controller.signal,
      onProgress: () => controller.abort(),
    });
    await expect(stopped).rejects.toMatchObject({ code: "cancelled" });
  });

  it("refuses another model", async () => {
    const table = await profileLayers(
      createModel("resnet8", small),
      imaginedRuntime("refused").runtime,
      { roundTo: 16 },
    );
    expect(() => latencyOf(createModel("vgg16_bn", small), table)).toThrow(
      /Expected times of vgg16_bn's layer .* the table of resnet8 has none of that name/,
    );
    // The same names at another size of pictures.
    expect(() => latencyOf(createModel("resnet8", { classes: 10, shape: [3, 16, 16] }), table))
      .toThrow(/has it otherwise/);
  });
});

describe("a profile of this machine", () => {
  // Shares of the whole model's time; layers alone find their weights in the cache more often.
  const SPREAD = 0.2;
  const conditions = { batch: 1, threads: 1 };
  // A runner that gives up takes the process with it where onnxruntime still runs: stop before that.
  const STOP = 240_000, TIMEOUT = 300_000;

  for (const [name, roundTo] of [["resnet8", 8], ["mobilenet_v3_small", 16]] as const) {
    it(`in secateur predicts ${name} and what is cut from it`, async () => {
      const graph = filled(createModel(name, small));
      await predicts(graph, secateurRuntime(conditions, "f32"), roundTo);
    }, TIMEOUT);
  }

  it("in onnxruntime predicts resnet8 and what is cut from it", async () => {
    const graph = filled(createModel("resnet8", small));
    await predicts(graph, await onnxRuntime(conditions), 16);
  }, TIMEOUT);

  /** Misses of cuts' shares of the whole's time, the middle one of five. */
  async function middleMiss(
    graph: Graph,
    runtime: Runtime,
    roundTo: number,
    signal: AbortSignal,
  ): Promise<number> {
    const table = await profileLayers(graph, runtime, { roundTo, signal });
    const cuts = [0, 1, 2, 3, 4].map((seed) => randomCut(graph, seed, roundTo));
    const [whole, ...measured] = await measureWhole([graph, ...cuts], runtime, { signal });
    const misses = cuts.map((cut, place) => {
      const predicted = latencyOf(cut, table) / latencyOf(graph, table);
      return Math.abs(predicted / (measured[place] / whole) - 1);
    });
    return misses.toSorted((a, b) => a - b)[2];
  }

  /** Whatever else the machine does only makes times worse: the best of three counts. */
  async function predicts(graph: Graph, runtime: Runtime, roundTo: number) {
    const signal = AbortSignal.timeout(STOP);
    let best = Infinity;
    for (let attempt = 0; attempt < 3 && best >= SPREAD; attempt++) {
      best = Math.min(best, await middleMiss(graph, runtime, roundTo, signal));
    }
    expect(best).toBeLessThan(SPREAD);
  }
});

describe("fitting", () => {
  it("finds overhead and scale, and no less of them than there can be", () => {
    const points = (line: (layers: number) => number) =>
      [1, 2, 3].map((layers) => ({ layers, measured: line(layers) }));
    const exact = lineThrough(points((x) => 0.5 + 2 * x), 0);
    expect(exact.overhead).toBeCloseTo(0.5, 12);
    expect(exact.scale).toBeCloseTo(2, 12);
    const through = lineThrough(points((x) => 2 * x - 0.5), 0);
    expect(through).toMatchObject({ overhead: 0 });
    expect(through.scale).toBeCloseTo(3.5 / 2, 12);
    const clocked = lineThrough(points((x) => 2 * x - 0.5), -1);
    expect(clocked.overhead).toBeCloseTo(-0.5, 12);
    expect(clocked.scale).toBeCloseTo(2, 12);
    expect(lineThrough(points((x) => 5 - x), 0)).toMatchObject({ scale: 1.5, overhead: 0 });
  });
});

describe("onnxruntime", () => {
  it("is quoted on what it does not run, whole models and layers alike", async () => {
    const { openWhole, openLayer } = await onnxRuntime({ batch: 1, threads: 1 });
    const graph = createModel("resnet8", small);
    const weight = graph.parameters.get("conv1.weight")!;
    const parameters = new Map(graph.parameters)
      .set("conv1.weight", { ...weight, data: weight.data.subarray(1) });
    for (const open of [openWhole, openLayer]) {
      const refused = open({ ...graph, parameters });
      await expect(refused).rejects.toMatchObject({ code: "check-failed" });
      await expect(refused).rejects.toThrow(/^onnxruntime was expected to run "resnet8", but it /);
    }
  });
});

describe("onnxruntime's profile", () => {
  it("is summed by pass, over the nodes named and the changes of layout that they need", () => {
    const node = (name: string, dur: number, op_name = "Conv", output_size = "4096") => {
      return { cat: "Node", name: `${name}_kernel_time`, dur, args: { op_name, output_size } };
    };
    const run = { cat: "Session", name: "model_run", dur: 99 };
    const fence = { ...node("unit/a", 3), name: "unit/a_fence_before" };
    expect(nodeTimes(
      [
        ...[
          { cat: "Session", name: "session_initialization", dur: 5 },
          node("around/make0/unit/x_nchwc", 7),
          node("fused around/convolution", 8),
        ],
        ...[node("ReorderInput", 20, "ReorderInput"), node("unit/a_nchwc", 11)],
        ...[
          node("fused unit/relu", 2),
          node("LayerNormalization", 1),
          node("ReorderOutput", 5, "ReorderOutput", "32"),
          run,
        ],
        ...[fence, node("unit/a", 4), run],
      ],
      32,
    )).toEqual([0.034, 0.004]);
  });
});
