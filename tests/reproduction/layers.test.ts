// What a cut is said to cost against what it costs the layers of real networks.

import { describe, expect, it } from "vitest";
import { calibrationBatches } from "../../src/data/batches/calibration.ts";
import { type Dataset, normalisations, subset } from "../../src/data/dataset.ts";
import { EMBEDDED_MODEL, EMBEDDED_WEIGHTS } from "../../src/commands/inputs/model.ts";
import { generateDataset } from "../../src/data/sources/generated.ts";
import { readWeights } from "../../src/formats/checkpoint.ts";
import { channelGroups, prunableGroups } from "../../src/graph/channels.ts";
import { bindWeights } from "../../src/models/bind.ts";
import { cutGraph } from "../../src/graph/cut.ts";
import type { Graph, Node } from "../../src/graph/graph.ts";
import { shapesOf } from "../../src/graph/shapes.ts";
import { GraphBuilder } from "../../src/models/builder.ts";
import { createModel } from "../../src/models/models.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import { Reproduction } from "../../src/native/reproduction.ts";
import { measureMoments } from "../../src/reproduction/moments.ts";
import { consumersOf, needsOf } from "../../src/reproduction/readers.ts";
import { repairedReaders } from "../../src/reproduction/repair.ts";
import { compensate } from "../../src/surgery/compensate.ts";
import { RIDGE } from "../../src/surgery/least_squares.ts";
import { smallPictures } from "../support/pictures/small.ts";

const normalisation = normalisations.cifar;

async function valuesOf(graph: Graph, pictures: Dataset, value: string): Promise<Float32Array> {
  const images = pictures.count;
  using model = LoadedModel.open(graph, [
    { kind: "forward", name: "values", images, fetch: [value] },
  ], { dtype: "f32" });
  const { feeds, values } = model.entry("values");
  const [batch] = calibrationBatches(pictures, images, normalisation);
  const name = values.get(value)!;
  const result = await model.run("values", {
    feeds: { [feeds.images!]: batch.images },
    fetch: [name],
  });
  return result[name] as Float32Array;
}

/** By how much the batch norm behind a layer stretches its outputs. */
function stretchOf(graph: Graph, { output }: Node, channels: number): Float64Array {
  const norm = graph.nodes.find(({ op, inputs }) => op === "batch_norm" && inputs[0] === output);
  if (norm?.op !== "batch_norm") return new Float64Array(channels).fill(1);
  const variance = graph.parameters.get(norm.variance)!.data;
  return Float64Array.from(
    graph.parameters.get(norm.scale)!.data,
    (scale, c) => scale / Math.sqrt(variance[c] + norm.epsilon),
  );
}

/** The sum that a layer's output ends in, directly or through its batch norm. */
function sumOf(graph: Graph, { output }: Node): string | undefined {
  const readers = (value: string) => graph.nodes.filter(({ inputs }) => inputs.includes(value));
  let [reader] = readers(output);
  if (reader?.op === "batch_norm") [reader] = readers(reader.output);
  return reader?.op === "add" ? reader.output : undefined;
}

/** Variance about each channel's mean, stretched, summed over channels; [cells, channels]. */
function variance(values: Float32Array, stretch: Float64Array): number {
  const channels = stretch.length, cells = values.length / channels;
  let total = 0;
  for (let c = 0; c < channels; c++) {
    let sum = 0, squares = 0;
    for (let i = c; i < values.length; i += channels) {
      sum += values[i];
      squares += values[i] ** 2;
    }
    total += stretch[c] ** 2 * (squares / cells - (sum / cells) ** 2);
  }
  return total;
}

/**
 * Predicted and measured error of a group's readers after a cut, in shares of their outputs: compensated,
 * and with the weights that the game itself ends with.
 */
async function errorsOf(graph: Graph, name: string, share: number, pictures: Dataset) {
  const group = channelGroups(graph).find((one) => one.name === name)!;
  const needs = needsOf(graph, [group]);
  const options = { normalisation, batch: pictures.count };
  const moments = await measureMoments(graph, needs.layers, needs.values, pictures, options);
  const readers = consumersOf(graph, group, moments);
  const game = new Reproduction(readers.map(({ native }) => native), group.players.length, RIDGE);
  const { players, costs } = await game.eliminate(Math.round(share * group.players.length));
  const removals = [{ group, removed: [...players].sort((a, b) => a - b) }];
  const cut = cutGraph(graph, removals);
  const better = await compensate(graph, cut, removals, pictures, options);
  const solved = await repairedReaders(graph, readers, game);
  const repaired = { ...graph, parameters: new Map([...graph.parameters, ...solved]) };
  let measured = 0, own = 0;
  for (const layer of graph.nodes.filter(({ name }) => group.consumers.includes(name))) {
    const before = await valuesOf(graph, pictures, layer.output);
    const after = await valuesOf(better, pictures, layer.output);
    const [channels] = shapesOf(graph).get(layer.output)!;
    const stretch = stretchOf(graph, layer, channels);
    const alone = variance(before, stretch);
    const sum = sumOf(graph, layer);
    const whole = sum === undefined
      ? alone
      : Math.max(alone, variance(await valuesOf(graph, pictures, sum), stretch.map(() => 1)));
    const lost = (values: Float32Array) =>
      variance(values.map((value, i) => value - before[i]), stretch) / whole;
    measured += lost(after);
    own += lost(await valuesOf(cutGraph(repaired, removals), pictures, layer.output));
  }
  return { predicted: costs.reduce((sum, cost) => sum + cost, 0), measured, own };
}

/** A group read by two convolutions, one of them in two groups. */
function twoReaders(): Graph {
  const builder = new GraphBuilder("two readers", [3, 8, 8], 5);
  const made = builder.relu(
    "relu",
    builder.convolution("make", builder.input, { out: 12, kernel: 3, bias: true }),
  );
  const left = builder.convolution("left", made, { out: 6, kernel: 3, bias: true });
  const right = builder.convolution("right", made, { out: 6, kernel: 3, groups: 2, bias: true });
  const joined = builder.flatten("flatten", builder.add("add", left, right));
  return builder.finish(builder.linear("fc", joined, 4));
}

/** A linear layer behind flattened pictures. */
function flattened(): Graph {
  const builder = new GraphBuilder("flattened", [3, 8, 8], 5);
  const made = builder.convolution("make", builder.input, {
    out: 8,
    kernel: 2,
    stride: 2,
    bias: true,
  });
  const flat = builder.flatten("flatten", builder.relu("relu", made));
  return builder.finish(builder.linear("fc", flat, 5));
}

describe("the predicted error of a cut", () => {
  const pictures = smallPictures(2000);

  it("is what its readers lose, within 1%: a group with two readers, one of them grouped", async () => {
    // Each reader is solved for itself only where their sum is not made up for.
    const { predicted, measured, own } = await errorsOf(twoReaders(), "make", 0.5, pictures);
    expect(predicted).toBeGreaterThan(0.01);
    expect(Math.abs(own - predicted)).toBeLessThan(0.01 * predicted);
    expect(Math.abs(measured - predicted)).toBeLessThan(0.01 * predicted);
  });

  it("is what a linear layer behind a flatten loses", async () => {
    const { predicted, measured, own } = await errorsOf(flattened(), "make", 0.4, pictures);
    expect(predicted).toBeGreaterThan(0.001);
    expect(Math.abs(own - predicted)).toBeLessThan(0.01 * predicted);
    expect(Math.abs(measured - predicted)).toBeLessThan(0.01 * predicted);
  });

  it("is what every inner layer of the trained network that comes along loses", async () => {
    const graph = bindWeights(
      createModel(EMBEDDED_MODEL, { classes: 10, shape: [3, 32, 32] }),
      await readWeights(EMBEDDED_WEIGHTS),
      EMBEDDED_WEIGHTS,
    );
    const seen = subset(
      generateDataset("train"),
      Int32Array.from({ length: 256 }, (_, i) => 7 * i),
      "seen",
    );
    for (const { name } of prunableGroups(graph, "inner")) {
      const { predicted, measured, own } = await errorsOf(graph, name, 0.5, seen);
      expect(predicted, name).toBeGreaterThan(1e-3);
      expect(Math.abs(own - predicted), name).toBeLessThan(0.01 * predicted);
      expect(Math.abs(measured - predicted), name).toBeLessThan(0.01 * predicted);
    }
  });

  it("is what a layer behind a depthwise convolution loses, but for the ridge", async () => {
    const mobile = createModel("mobilenet_v2", { classes: 10, shape: [3, 8, 8] });
    const few = smallPictures(300);
    const { predicted, measured } = await errorsOf(mobile, "features.2.conv.0.0", 0.5, few);
    expect(predicted).toBeGreaterThan(1e-4);
    // Random weights on blurred pictures lose so little that what the ridge charges shows.
    expect(Math.abs(measured - predicted)).toBeLessThan(0.03 * predicted);
  });
});
