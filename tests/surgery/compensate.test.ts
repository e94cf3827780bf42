import { describe, expect, it } from "vitest";
import { batchOf } from "../../src/data/batches/batches.ts";
import { type Dataset, normalisations } from "../../src/data/dataset.ts";
import { prunableGroups } from "../../src/graph/channels.ts";
import { cutGraph } from "../../src/graph/cut.ts";
import type { ConvolutionNode, Graph } from "../../src/graph/graph.ts";
import { shapesOf } from "../../src/graph/shapes.ts";
import { GraphBuilder } from "../../src/models/builder.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import type { Progress } from "../../src/progress.ts";
import { RandomStream } from "../../src/random.ts";
import { compensate } from "../../src/surgery/compensate.ts";
import type { Tensor } from "../../src/tensor.ts";
import { randomGraph } from "../support/graphs/random.ts";
import { randomRemovals } from "../support/graphs/removals.ts";
import { smallPictures } from "../support/pictures/small.ts";

const normalisation = normalisations.cifar;

/** A value of every picture, in f32. */
async function valuesOf(graph: Graph, dataset: Dataset, value = graph.outputs[0]) {
  const images = dataset.count;
  using model = LoadedModel.open(graph, [
    { kind: "forward", name: "values", images, fetch: [value] },
  ], { dtype: "f32" });
  const { feeds, values } = model.entry("values");
  const indices = Int32Array.from({ length: images }, (_, i) => i);
  const name = values.get(value)!;
  const result = await model.run("values", {
    feeds: { [feeds.images!]: batchOf(dataset, indices, normalisation) },
    fetch: [name],
  });
  return result[name] as Float32Array;
}

/** Mean square of the difference between two networks' values. */
async function distance(
  a: Graph,
  b: Graph,
  dataset: Dataset,
  value = a.outputs[0],
): Promise<number> {
  const [x, y] = [await valuesOf(a, dataset, value), await valuesOf(b, dataset, value)];
  expect(x.length).toBe(y.length);
  return x.reduce((sum, one, i) => sum + (one - y[i]) ** 2, 0) / x.length;
}

/** Makes channel `target` of a convolution the sum of others, each times its factor. */
function combine(
  graph: Graph,
  layer: string,
  target: number,
  terms: readonly (readonly [channel: number, factor: number])[],
  constant: number,
): Graph {
  const weight = graph.parameters.get(`${layer}.weight`)!;
  const bias = graph.parameters.get(`${layer}.bias`)!;
  const row = weight.data.length / weight.shape[0];
  const data = weight.data.slice();
  for (let i = 0; i < row; i++) {
    data[target * row + i] = terms.reduce(
      (sum, [c, factor]) => sum + factor * data[c * row + i],
      0,
    );
  }
  const offsets = bias.data.slice();
  offsets[target] = terms.reduce((sum, [c, factor]) => sum + factor * offsets[c], constant);
  const parameters = new Map(graph.parameters)
    .set(`${layer}.weight`, { ...weight, data })
    .set(`${layer}.bias`, { ...bias, data: offsets });
  return { ...graph, parameters };
}

/** Gives every batch norm statistics and offsets that are not neutral, every bias a value. */
function unsettle(graph: Graph): Graph {
  const random = new RandomStream(3, "unsettled");
  const parameters = new Map<string, Tensor>();
  for (const [name, { shape, data }] of graph.parameters) {
    const vector = shape.length === 1;
    const drawn = data.map((x) => x + 0.5 * random.uniform());
    parameters.set(name, { shape, data: vector ? drawn : data });
  }
  return { ...graph, parameters };
}

type Ending = "batch norm" | "bias" | "nowhere" | "linear";

/** Channels made by `make` (last of each half redundant), read by a layer of some kind. */
function redundant(ending: Ending, groups: 1 | 2): Graph {
  const builder = new GraphBuilder(`redundant ${ending}`, [3, 8, 8], 5);
  const made = builder.convolution("make", builder.input, {
    out: 6,
    kernel: 2,
    stride: 2,
    bias: true,
  });
  if (ending === "linear") {
    const flat = builder.flatten("flatten", made);
    return combined(builder.finish(builder.linear("linear", flat, 4)), groups);
  }
  let value = builder.convolution("read", made, {
    out: 8,
    kernel: 3,
    groups,
    bias: ending === "bias",
  });
  if (ending === "batch norm") value = builder.batchNorm("bn", value);
  value = builder.flatten("flatten", builder.relu("relu", value));
  return combined(builder.finish(builder.linear("linear", value, 4)), groups);
}

function combined(graph: Graph, groups: number): Graph {
  const unsettled = unsettle(graph);
  // In two groups a removed player takes one channel of each half.
  return groups === 1 ? combine(unsettled, "make", 5, [[0, 0.5], [1, -1], [3, 0.7]], 0.4) : combine(
    combine(unsettled, "make", 2, [[0, 0.5], [1, -1]], 0.4),
    "make",
    5,
    [[3, 0.8], [4, 0.6]],
    -0.3,
  );
}

describe("compensation", () => {
  const pictures = smallPictures(600);
  const unseen = smallPictures(64, 2);

  for (
    const [ending, groups] of [
      ["batch norm", 1],
      ["batch norm", 2],
      ["bias", 1],
      ["bias", 2],
      ["linear", 1],
    ] as const
  ) {
    it(`restores what a redundant channel gave: ${ending}, ${groups} group(s)`, async () => {
      const graph = redundant(ending, groups);
      const group = prunableGroups(graph, "all").find(({ name }) => name === "make")!;
      const removals = [{ group, removed: [group.players.length - 1] }];
      const cut = cutGraph(graph, removals);
      const reports: Progress[] = [];
      const better = await compensate(graph, cut, removals, pictures, {
        normalisation,
        batch: 100,
        onProgress: (progress) => reports.push(progress),
      });
      const before = await distance(graph, cut, unseen);
      const after = await distance(graph, better, unseen);
      expect(before).toBeGreaterThan(0.01);
      expect(Math.sqrt(after)).toBeLessThan(Math.sqrt(before) / 100);
      // The layer that lost inputs, and the one behind it that reads what is left of the error.
      const total = ending === "linear" ? 1 : 2;
      expect(reports).toEqual(
        Array.from(
          { length: total },
          (_, i) => ({ stage: "compensation", done: i + 1, total, unit: "layers" }),
        ),
      );
      expect(shapesOf(better)).toEqual(shapesOf(cut));
    });
  }

  it("leaves a layer alone whose intercept has nowhere to go", async () => {
    const graph = redundant("nowhere", 1);
    const [group] = prunableGroups(graph, "all");
    const removals = [{ group, removed: [5] }];
    const cut = cutGraph(graph, removals);
    const same = await compensate(graph, cut, removals, pictures, { normalisation });
    expect(same.parameters.get("read.weight")).toEqual(cut.parameters.get("read.weight"));
  });

  it("lets a residual branch make up for what its stream has lost before", async () => {
    const builder = new GraphBuilder("stream", [3, 8, 8], 4);
    const convolution = (name: string, from: string, out: number) =>
      builder.convolution(name, from, { out, kernel: 1, bias: true });
    const stem = convolution("stem", builder.input, 6);
    const narrow = builder.relu("relu1", convolution("narrow", stem, 12));
    const first = builder.add(
      "first",
      builder.batchNorm("bn1", convolution("b1", narrow, 6)),
      stem,
    );
    const wide = builder.relu("relu2", convolution("wide", first, 40));
    const norm = builder.batchNorm("bn2", convolution("b2", wide, 6));
    const second = builder.add("second", norm, first);
    const flat = builder.flatten("flatten", second);
    const graph = unsettle(builder.finish(builder.linear("fc", flat, 3)));
    const group = prunableGroups(graph, "all").find(({ name }) => name === "narrow")!;
    const removals = [{ group, removed: [0, 1, 2, 3, 4, 5, 6, 7, 8] }];
    const cut = cutGraph(graph, removals);
    const better = await compensate(graph, cut, removals, pictures, { normalisation });
    const lost = await distance(graph, better, unseen, first);
    expect(lost).toBeGreaterThan(1e-4);
    // Solved for its own old output, the branch would add its error to the stream's.
    expect(await distance(graph, better, unseen, second)).toBeLessThan(0.7 * lost);
  });

  it("solves weights that two layers share over both of them", async () => {
    const builder = new GraphBuilder("twice", [3, 8, 8], 4);
    let value = builder.convolution("make", builder.input, { out: 6, kernel: 1, bias: true });
    value = builder.relu("relu1", value);
    const first = builder.convolution("first", value, { out: 6, kernel: 1, bias: true });
    const second = builder.convolution("second", builder.relu("relu2", first), {
      out: 6,
      kernel: 1,
      bias: true,
    });
    const flat = builder.flatten("flatten", builder.relu("relu3", second));
    const built = unsettle(builder.finish(builder.linear("fc", flat, 3)));
    const nodes = built.nodes.map((node) =>
      node.name === "second" && node.op === "convolution"
        ? { ...node, weight: "first.weight", bias: "first.bias" }
        : node
    );
    const parameters = new Map(built.parameters);
    parameters.delete("second.weight");
    parameters.delete("second.bias");
    const graph: Graph = { ...built, nodes, parameters };
    const group = prunableGroups(graph, "all")[0];
    const removals = [{ group, removed: [1] }];
    const cut = cutGraph(graph, removals);
    const better = await compensate(graph, cut, removals, pictures, { normalisation });
    expect(better.parameters.get("first.weight")).not.toEqual(cut.parameters.get("first.weight"));
    expect(await distance(graph, better, unseen)).toBeLessThan(
      await distance(graph, cut, unseen) / 2,
    );
  });

  it("changes nothing when nothing was cut", async () => {
    const graph = redundant("batch norm", 1);
    const same = await compensate(graph, graph, [], pictures, { normalisation });
    expect(same.parameters).toEqual(graph.parameters);
  });

  it("brings random graphs nearer to the original, layer by layer and at the end", async () => {
    let nearer = 0, layers = 0;
    for (let seed = 0; seed < 6; seed++) {
      const graph = randomGraph(seed);
      const random = new RandomStream(seed, "compensation test");
      const groups = prunableGroups(graph, "all");
      const removals = randomRemovals(groups, random, 0.3);
      const cut = cutGraph(graph, removals);
      const better = await compensate(graph, cut, removals, pictures, { normalisation });
      if (await distance(graph, better, unseen) < await distance(graph, cut, unseen)) nearer++;
      // One group alone: the first layer that reads it keeps all its own channels.
      const [group] = groups;
      const reader = graph.nodes.find(({ name }) => name === group.consumers[0])!;
      if (reader.op !== "convolution" || !hasHome(graph, reader)) continue;
      const alone = [{ group, removed: [0, 1] }];
      const lone = cutGraph(graph, alone);
      const restored = await compensate(graph, lone, alone, pictures, { normalisation });
      const before = await centredDistance(graph, lone, pictures, reader.output);
      const after = await centredDistance(graph, restored, pictures, reader.output);
      layers++;
      expect(after, `${reader.name} of seed ${seed}`).toBeLessThan(before);
    }
    expect(nearer).toBeGreaterThanOrEqual(5);
    expect(layers).toBeGreaterThan(2);
  });

  it("gives the same bytes on 1 and 2 threads", async () => {
    const graph = randomGraph(5);
    const groups = prunableGroups(graph, "all");
    const removals = randomRemovals(groups, new RandomStream(5, "compensation test"), 0.3);
    const cut = cutGraph(graph, removals);
    const found = [];
    for (const threads of [1, 2]) {
      const options = { normalisation, threads, slice: 8, batch: 64 };
      found.push([...(await compensate(graph, cut, removals, pictures, options)).parameters]);
    }
    expect(found[1]).toEqual(found[0]);
  });
});

/** Whether a layer's intercept has somewhere to go. */
function hasHome(graph: Graph, { output, bias }: ConvolutionNode): boolean {
  return bias !== undefined ||
    graph.nodes.some((node) => node.op === "batch_norm" && node.inputs[0] === output);
}

/** As `distance`, apart from a constant per channel, which may sit in the batch norm after it. */
async function centredDistance(a: Graph, b: Graph, dataset: Dataset, value: string) {
  const [channels] = shapesOf(a).get(value)!;
  const [x, y] = [await valuesOf(a, dataset, value), await valuesOf(b, dataset, value)];
  const difference = x.map((one, i) => one - y[i]);
  let sum = 0;
  for (let c = 0; c < channels; c++) {
    const own = difference.filter((_, i) => i % channels === c);
    const mean = own.reduce((total, d) => total + d, 0) / own.length;
    sum += own.reduce((total, d) => total + (d - mean) ** 2, 0) / own.length;
  }
  return sum / channels;
}

describe("compensation of inputs that never vary", () => {
  it("solves the intercept alone", async () => {
    const builder = new GraphBuilder("constant", [3, 8, 8], 2);
    let value = builder.convolution("a", builder.input, { out: 4, kernel: 1 });
    value = builder.relu("relu", builder.batchNorm("norm", value));
    value = builder.convolution("b", value, { out: 5, kernel: 1, bias: true });
    value = builder.flatten("flatten", builder.globalAveragePool("pool", value));
    const built = builder.finish(builder.linear("fc", value, 3));
    const fill = (x: number): Tensor => ({ shape: [4], data: new Float32Array(4).fill(x) });
    const parameters = new Map(built.parameters)
      .set("norm.weight", fill(0)).set("norm.bias", fill(1));
    const graph = { ...built, parameters };
    const [group] = prunableGroups(graph, "all");
    const removals = [{ group, removed: [1, 3] }];
    const cut = cutGraph(graph, removals);
    const dataset = smallPictures(24);
    const options = { normalisation, batch: 8 };
    const result = await compensate(graph, cut, removals, dataset, options);
    expect(await distance(graph, cut, dataset)).toBeGreaterThan(1e-3);
    expect(await distance(graph, result, dataset)).toBeLessThan(1e-9);
  });
});
