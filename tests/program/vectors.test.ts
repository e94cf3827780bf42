/** Vectors of features are pictures of one cell: the oracle and the engine treat both alike. */

import { describe, expect, it } from "vitest";
import type { Graph, Node, Shape } from "../../src/graph/graph.ts";
import { RandomStream } from "../../src/random.ts";
import { randomImages } from "../support/interpreted.ts";
import { runNative } from "../support/native_graph.ts";
import { largestDifference, runOracle } from "../support/onnx/files.ts";

const CHANNELS = 6;

type Unnamed<N> = N extends Node ? Omit<N, "name" | "inputs" | "output"> : never;

const named = (inputs: readonly string[], layer: Unnamed<Node>): Node => ({
  ...layer,
  name: "y",
  inputs,
  output: "y",
});
const unary = (layer: Unnamed<Node>): Node => named(["x"], layer);
const binary = (op: "add" | "multiply" | "concat"): Node => named(["x", "m"], { op });

/** Operators that take vectors as well as pictures; "m" is x with its channels turned round. */
const LAYERS: readonly Node[] = [
  unary({ op: "channel_map", from: [4, 0, 5] }),
  unary({ op: "channel_map", from: [-1, 2] }),
  unary({ op: "relu" }),
  unary({ op: "activation", kind: "sigmoid" }),
  unary({ op: "softmax" }),
  unary({
    op: "batch_norm",
    scale: "a",
    offset: "b",
    mean: "b",
    variance: "a",
    epsilon: 1e-5,
    momentum: 0.1,
  }),
  unary({ op: "layer_norm", scale: "a", offset: "b", epsilon: 1e-5 }),
  unary({ op: "local_response_norm", size: 3, alpha: 0.1, beta: 0.75, bias: 1 }),
  unary({ op: "prelu", slope: "b" }),
  binary("add"),
  binary("multiply"),
  binary("concat"),
];

function graphOf(layer: Node, shape: Shape): Graph {
  const from = Array.from({ length: CHANNELS }, (_, c) => CHANNELS - 1 - c);
  const turned: Node = { op: "channel_map", name: "m", inputs: ["x"], output: "m", from };
  const vector = (data: number[]) => ({ shape: [CHANNELS], data: Float32Array.from(data) });
  return {
    name: "vectors",
    input: { name: "x", shape },
    outputs: ["y"],
    nodes: layer.inputs.length > 1 ? [turned, layer] : [layer],
    parameters: new Map([
      ["a", vector([0.5, 1, 1.5, 2, 0.7, 1.1])],
      ["b", vector([0.1, -0.2, 0.3, -0.4, 0.5, -0.6])],
    ]),
  };
}

describe("vectors of features", () => {
  it.each(LAYERS.map((layer) => [JSON.stringify(layer).slice(0, 60), layer] as const))(
    "go through %s as pictures of one cell do",
    async (_name, layer) => {
      const flat = graphOf(layer, [CHANNELS]), picture = graphOf(layer, [CHANNELS, 1, 1]);
      const images = randomImages(flat, 3, new RandomStream(1, "vectors"));
      const expected = runOracle(picture, images);
      expect(Math.max(...expected.map(Math.abs))).toBeGreaterThan(0.1);
      expect(largestDifference(runOracle(flat, images), expected)).toBe(0);
      expect(largestDifference(await runNative(flat, images), expected)).toBeLessThan(1e-5);
    },
  );
});
