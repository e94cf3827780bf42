/** What exporters make of one layer: recognised as that layer, with channels still prunable. */

import { describe, expect, it } from "vitest";
import { encodeOnnx } from "../../src/formats/onnx/export/export.ts";
import { parseOnnx, readOnnx } from "../../src/formats/onnx/read/read.ts";
import { POINTS, recognised } from "../../src/formats/onnx/import/recognise.ts";
import { channelGroups } from "../../src/graph/channels.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { RandomStream } from "../../src/random.ts";
import { randomImages } from "../support/interpreted.ts";
import { largestDifference, onnxFixture, runOnnx, runOracle } from "../support/onnx/files.ts";

const file = (name: string) => onnxFixture(`pattern_${name}.onnx`);

async function read(name: string): Promise<Graph> {
  return (await readOnnx(file(name))).graph;
}

const layersOf = ({ nodes }: Graph): string[] =>
  nodes.map((node) => node.op === "activation" ? node.kind : node.op);

/** Fixtures with the layers they must become. */
const PATTERNS: readonly (readonly [string, readonly string[]])[] = [
  ["gelu_erf", ["gelu"]],
  ["gelu_halved", ["gelu"]],
  ["gelu_tanh", ["gelu_tanh"]],
  ["gelu_operator", ["gelu", "gelu_tanh"]],
  ["hard_swish", ["hard_swish"]],
  ["hard_sigmoid_swish", ["hard_swish"]],
  ["hard_sigmoid", ["hard_sigmoid"]],
  ["silu", ["silu"]],
  ["silu_exp", ["silu"]],
  ["relu6", ["clip"]],
  ["sigmoid_twice_used", ["sigmoid", "silu", "relu", "add"]],
  ["layer_norm_last", ["layer_norm"]],
  ["layer_norm_parts", ["layer_norm"]],
  ["layer_norm_first", ["layer_norm"]],
  ["convnext_block", ["convolution", "layer_norm", "convolution", "gelu", "convolution", "add"]],
  ["normalised_input", ["convolution", "convolution"]],
  ["transformed_input", ["convolution", "convolution"]],
  ["scaled_convolution", ["convolution", "relu"]],
  ["scaled_beside", ["convolution", "convolution", "add"]],
  ["scaled_shared_weight", ["convolution", "convolution", "add"]],
  ["scaled_batch_norm", ["batch_norm"]],
  ["scaled_linear", ["flatten", "linear"]],
  [
    "gate_unsqueezed",
    ["global_average_pool", "flatten", "linear", "relu", "linear", "sigmoid", "multiply"],
  ],
  [
    "gate_reshaped",
    ["global_average_pool", "flatten", "linear", "relu", "linear", "hard_sigmoid", "multiply"],
  ],
  ["gate_last", ["global_average_pool", "convolution", "sigmoid", "multiply"]],
  ["strided_view", ["global_average_pool", "flatten"]],
  ["shuffle_flat", ["convolution", "channel_map"]],
  ["merged_zeros", ["convolution", "convolution"]],
];

describe("ONNX patterns", () => {
  it.each(PATTERNS)("%s", async (name, layers) => {
    const graph = await read(name);
    expect(layersOf(graph)).toEqual(layers);
    const images = randomImages(graph, 2, new RandomStream(4, name));
    const ours = runOracle(graph, images);
    expect(largestDifference(ours, await runOnnx(file(name), images, graph.input.shape)))
      .toBeLessThan(1e-5);
    for (const opset of [13, 17, 20]) {
      const written = encodeOnnx(graph, { opset });
      expect(largestDifference(ours, await runOnnx(written, images, graph.input.shape)))
        .toBeLessThan(1e-5);
      const again = parseOnnx(written, "again").graph;
      expect(layersOf(again)).toEqual(layers);
      expect(again.nodes.map(({ name }) => name)).toEqual(graph.nodes.map(({ name }) => name));
      expect([...again.parameters.keys()].sort()).toEqual([...graph.parameters.keys()].sort());
    }
  });

  it("keeps the names of scales and biases where a layer takes them whole", async () => {
    const parameters = async (name: string) => [...(await read(name)).parameters.keys()];
    expect(await parameters("layer_norm_parts")).toEqual(["g", "b"]);
    expect(await parameters("layer_norm_first")).toEqual(["g", "b"]);
    expect(await parameters("convnext_block"))
      .toEqual(["dw", "db", "g", "b", "w1", "b1", "w2", "b2"]);
    expect(await parameters("scaled_batch_norm")).toEqual(["g", "b", "mean", "var"]);
    // A shared weight is not scaled for both.
    expect(await parameters("scaled_shared_weight")).toEqual(["w", "w.2", "Sub_d.bias"]);
    // Equal vectors of equal elements are an exporter's saving, not shared weights.
    expect(await parameters("merged_zeros")).toEqual(["w", "b", "v", "b.2"]);
  });

  it("leaves channels prunable behind scalings, and pins those of layer norms", async () => {
    const pins = async (name: string) =>
      channelGroups(await read(name)).map(({ name, pinned }) => [name, pinned !== undefined]);
    expect(await pins("convnext_block")).toEqual([["MatMul_m2", true], ["MatMul_m1", false]]);
    expect(await pins("normalised_input")).toEqual([["Conv_y", true]]);
  });

  it("takes activations for what they compute, not for how they are written", () => {
    const sampled = (compute: (x: number) => number) => recognised(POINTS.map(compute));
    const gate = (x: number) => Math.min(1, Math.max(0, 0.25 * x + 0.5));
    expect(sampled((x) => Math.max(0, x))).toEqual({ op: "relu" });
    expect(sampled(gate)).toMatchObject({ kind: "hard_sigmoid", alpha: 0.25, beta: 0.5 });
    expect(sampled((x) => x * gate(x))).toMatchObject({ kind: "hard_swish", alpha: 0.25 });
    expect(sampled((x) => Math.max(x, x / 8))).toMatchObject({ kind: "leaky_relu", alpha: 0.125 });
    expect(sampled((x) => Math.max(-2, x))).toMatchObject({ kind: "clip", alpha: -2 });
    expect(sampled((x) => x * Math.tanh(Math.log1p(Math.exp(x))))).toBe(undefined);
    expect(sampled((x) => x / (1 + Math.exp(-1.702 * x)))).toBe(undefined);
    expect(sampled((x) => x)).toBe(undefined);
    expect(sampled((x) => x * x)).toBe(undefined);
    expect(sampled(() => NaN)).toBe(undefined);
  });
});
