/** Models judged and trained by their original's outputs, without labels. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, describe, expect, it } from "vitest";
import { batchOf } from "../../src/data/batches/batches.ts";
import { normalisations } from "../../src/data/dataset.ts";
import { coveringView, hasClasses, readPictures } from "../../src/data/sources/pictures.ts";
import { prunableGroups } from "../../src/graph/channels.ts";
import { cutGraph } from "../../src/graph/cut.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { GraphBuilder } from "../../src/models/builder.ts";
import { evaluateMatch, matchingOf } from "../../src/objectives/matching.ts";
import { prune } from "../../src/pruning/pipeline.ts";
import { measureLatency } from "../../src/report/latency.ts";
import { compensate } from "../../src/surgery/compensate.ts";
import { train } from "../../src/training/train.ts";
import { runNativeOutputs } from "../support/native_graph.ts";
import { smallPictures } from "../support/pictures/small.ts";
import { SMALL_OPTIONS } from "../support/small_run.ts";

const normalisation = normalisations.cifar;
const options = { normalisation, dtype: "f32" } as const;
const folder = mkdtempSync(join(tmpdir(), "secateur-match-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A network of two maps of different sizes, one of them on the way to the other. */
function twoHeads(): Graph {
  const builder = new GraphBuilder("two heads", [3, 8, 8], 4);
  const layer = (name: string, from: string, out: number) =>
    builder.relu(
      `${name}.relu`,
      builder.convolution(name, from, { out, kernel: 3, padding: 1, bias: true }),
    );
  const inner = layer("second", layer("first", builder.input, 12), 12);
  const fine = builder.convolution("fine", inner, { out: 3, kernel: 1, bias: true });
  const coarse = builder.convolution("coarse", builder.maxPool("pool", inner, 2, 2), {
    out: 5,
    kernel: 1,
    bias: true,
  });
  return builder.finish(fine, coarse);
}

/** Pictures of one class, which is none. */
function unlabelled(count: number, seed: number) {
  const pictures = smallPictures(count, seed);
  return { ...pictures, labels: new Int32Array(count), classes: ["pictures"] };
}

function halved(graph: Graph): { cut: Graph; removals: { group: never; removed: number[] }[] } {
  const removals = prunableGroups(graph, "all").map((group) => ({
    group,
    removed: group.players.map((_, player) => player).filter((player) => player % 2 === 1),
  }));
  return { cut: cutGraph(graph, removals), removals: removals as never };
}

/** Pictures channels first, as the oracle takes them. */
function planes(count: number): Float64Array[] {
  const pictures = smallPictures(count);
  const all = batchOf(pictures, Int32Array.from({ length: count }, (_, i) => i), normalisation);
  return Array.from(
    { length: count },
    (_, n) =>
      Float64Array.from({ length: 192 }, (_, i) => all[n * 192 + i % 64 * 3 + Math.floor(i / 64)]),
  );
}

describe("the objective match", () => {
  it("is the squared error of every output as a share of its variance", async () => {
    const graph = twoHeads(), { cut } = halved(graph), count = 10;
    const matching = await matchingOf(graph, smallPictures(count), { ...options, batch: 4 });
    const found = await evaluateMatch(cut, matching, smallPictures(count), {
      ...options,
      batch: 4,
    });
    const ours = await runNativeOutputs(graph, planes(count));
    const theirs = await runNativeOutputs(cut, planes(count));
    const channels = new Map([["fine", 3], ["coarse", 5]]);
    const errors = graph.outputs.map((output) => {
      const a = ours.get(output)!, b = theirs.get(output)!;
      const of = channels.get(output)!, cells = a.length / count / of;
      const means = Array.from(
        { length: of },
        (_, c) =>
          a.filter((_, i) => Math.floor(i / cells) % of === c).reduce((x, y) => x + y, 0) /
          (count * cells),
      );
      const variance = a.reduce(
        (sum, x, i) => sum + (x - means[Math.floor(i / cells) % of]) ** 2,
        0,
      );
      return a.reduce((sum, x, i) => sum + (x - b[i]) ** 2, 0) / variance;
    });
    found.errors!.forEach(({ output, error }, i) => {
      expect(output).toBe(graph.outputs[i]);
      expect(error).toBeGreaterThan(0.01);
      expect(Math.abs(error / errors[i] - 1)).toBeLessThan(1e-3);
    });
    expect(found.loss).toBeCloseTo((errors[0] + errors[1]) / 2, 3);
    expect((await evaluateMatch(graph, matching, smallPictures(count), options)).loss).toBe(0);
  });

  it("falls by compensation, and further by training on it", async () => {
    const graph = twoHeads(), { cut, removals } = halved(graph);
    const data = smallPictures(128), validation = smallPictures(32, 2);
    const matching = await matchingOf(graph, data, options);
    const judge = async (one: Graph) =>
      (await evaluateMatch(one, matching, validation, options)).loss;
    const repaired = await compensate(graph, cut, removals, data, { normalisation });
    const before = await judge(cut), after = await judge(repaired);
    expect(after).toBeLessThan(0.5 * before);
    const trained = await train(repaired, {
      ...options,
      data,
      validation,
      matching,
      epochs: 4,
      batch: 16,
      optimizer: { kind: "sgd", weightDecay: 0 },
      learningRate: 0.05,
      clip: 5,
      probe: true,
      seed: 1,
    });
    expect(trained.outcome.start!.loss).toBeCloseTo(after, 5);
    expect(trained.history[0].validation!.top1).toBe(undefined);
    expect(await judge(trained.best)).toBeLessThan(0.8 * after);
    expect(await judge(trained.best)).toBeCloseTo(trained.outcome.best!.loss, 5);
  });

  it("leads a whole run, without a label", async () => {
    const graph = twoHeads();
    const input = {
      graph,
      training: unlabelled(96, 1),
      heldOut: unlabelled(40, 2),
      test: unlabelled(40, 3),
      normalisation,
    };
    const pruned = await prune(input, {
      ...SMALL_OPTIONS,
      objective: "match",
      epochs: 6,
      learningRate: 0.05,
      out: join(folder, "run"),
    });
    const lossOf = (moment: string) => pruned.measured.get(moment)!.heldOut.loss;
    expect(lossOf("original")).toBe(0);
    expect(lossOf("afterCompensation")).toBeLessThan(lossOf("afterCut"));
    expect(pruned.keptSteps).toContain("afterCompensation");
    expect(pruned.history.at(-1)!.loss).toBeLessThan(pruned.history[0].loss);
    expect(pruned.measured.get("lastEpoch")!.test.errors!.map(({ output }) => output))
      .toEqual(["fine", "coarse"]);
    const [timed] = await measureLatency(graph, pruned.graph, { batches: [2], runs: 2 });
    expect(timed.pruned.median).toBeGreaterThan(0);
    expect(pruned.check.error).toBeLessThanOrEqual(pruned.check.tolerance * pruned.check.scale);
  });

  it("needs outputs that vary", async () => {
    const graph = twoHeads();
    const still = new Map(
      [...graph.parameters].map(([name, { shape, data }]) => [
        name,
        { shape, data: new Float32Array(data.length) },
      ]),
    );
    await expect(matchingOf({ ...graph, parameters: still }, smallPictures(8), options)).rejects
      .toMatchObject({ code: "data-mismatch" });
  });
});

describe("pictures without classes", () => {
  it("are brought to what a model takes: the middle of what covers it", () => {
    const view = coveringView({ width: 200, height: 100 }, { width: 50, height: 40 });
    expect(view.scaled).toEqual({ width: 80, height: 40 });
    expect(view.window).toEqual({ left: 15, top: 0, width: 50, height: 40 });
    expect(coveringView({ width: 3, height: 7 }, { width: 6, height: 6 }).scaled)
      .toEqual({ width: 6, height: 14 });
  });

  it("come from a folder or a pattern, every fifth for reporting", async () => {
    for (let i = 0; i < 10; i++) {
      const colour = { r: 20 * i, g: 0, b: 0 };
      const picture = sharp({ create: { width: 9, height: 6, channels: 3, background: colour } });
      writeFileSync(join(folder, `${i < 5 ? "a" : "b"}${i}.png`), await picture.png().toBuffer());
    }
    const extent = { width: 4, height: 3 };
    const reds = async (path: string, split: "train" | "test") => {
      const { pixels, count, classes } = await readPictures(path, split, { extent });
      expect(hasClasses({ classes })).toBe(false);
      return Array.from({ length: count }, (_, i) => pixels[i * 36] / 20);
    };
    expect(await reds(folder, "train")).toEqual([0, 1, 2, 3, 5, 6, 7, 8]);
    expect(await reds(folder, "test")).toEqual([4, 9]);
    expect(await reds(join(folder, "b*.png"), "train")).toEqual([5, 6, 7, 8]);
    await expect(readPictures(join(folder, "c*"), "train", { extent })).rejects
      .toMatchObject({ code: "data-empty" });
  });
});
