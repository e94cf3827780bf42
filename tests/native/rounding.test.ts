/** Long sums in f32 are taken in pieces, so that rounding stays what a few short sums have. */

import { describe, expect, it } from "vitest";
import type { Graph, Node } from "../../src/graph/graph.ts";
import { RandomStream } from "../../src/random.ts";
import { runNative } from "../support/native_graph.ts";
import { runOracle } from "../support/onnx/files.ts";

/** One layer on random numbers that are mostly positive, as activations are. */
async function errorOf(
  layer: Node,
  shape: readonly number[],
  weight: readonly number[],
  engine: "portable" | "automatic",
): Promise<number> {
  const random = new RandomStream(1, layer.op);
  const count = (extents: readonly number[]) => extents.reduce((all, extent) => all * extent, 1);
  const graph: Graph = {
    name: "long",
    input: { name: "x", shape },
    outputs: ["y"],
    nodes: [layer],
    parameters: new Map(
      weight.length === 0 ? [] : [["w", {
        shape: weight,
        data: Float32Array.from({ length: count(weight) }, () => 1 + random.normal() / 4),
      }]],
    ),
  };
  const images = [
    Float64Array.from({ length: count(shape) }, () => Math.fround(Math.abs(random.normal()))),
  ];
  const expected = runOracle(graph, images);
  const found = await runNative(graph, images, engine);
  return Math.max(...expected.map((value, i) => Math.abs(found[i] - value) / Math.abs(value)));
}

describe("long sums", () => {
  for (const engine of ["portable", "automatic"] as const) {
    it(`of all pixels keep the mean of a large picture, engine ${engine}`, async () => {
      const pool: Node = { op: "global_average_pool", name: "y", inputs: ["x"], output: "y" };
      // One chain of 14,400 numbers loses 4e-6.
      expect(await errorOf(pool, [5, 120, 120], [], engine)).toBeLessThan(8e-7);
    });
  }

  it("of thousands of channels keep a convolution's products", async () => {
    const convolution: Node = {
      op: "convolution",
      name: "y",
      inputs: ["x"],
      output: "y",
      weight: "w",
      kernel: [1, 1],
      stride: [1, 1],
      padding: [0, 0, 0, 0],
      dilation: [1, 1],
      groups: 1,
    };
    // One chain of 4,096 products loses 2e-6.
    expect(await errorOf(convolution, [4096, 2, 3], [20, 4096, 1, 1], "portable"))
      .toBeLessThan(8e-7);
  });
});
