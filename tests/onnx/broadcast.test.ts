/** Sums, differences and products of pictures, and of a picture with a map for all its channels. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { encodeOnnx } from "../../src/formats/onnx/export/export.ts";
import { parseOnnx } from "../../src/formats/onnx/read/read.ts";
import { channelGroups, prunableGroups } from "../../src/graph/channels.ts";
import { cutGraph } from "../../src/graph/cut.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { RandomStream } from "../../src/random.ts";
import { checkCut } from "../../src/surgery/check.ts";
import { dataFolder } from "../support/data.ts";
import { mapGraph } from "../support/graphs/maps.ts";
import { randomRemovals } from "../support/graphs/removals.ts";
import { randomImages, toNhwc } from "../support/interpreted.ts";
import { runNative } from "../support/native_graph.ts";
import { built, type BuiltNode, floats, integers, node } from "../support/onnx/build.ts";
import { largestDifference, runOnnx, runOracle } from "../support/onnx/files.ts";

const tensors = [
  floats("w", [5, 3, 3, 3]),
  floats("v", [5, 3, 3, 3]),
  floats("m", [1, 3, 3, 3]),
  integers("area", [2, 3]),
  integers("last", [1, 2]),
];
const layers = [
  node("Conv", ["x", "w"], "a"),
  node("Conv", ["x", "v"], "b"),
  node("Conv", ["x", "m"], "s"),
];
const turned = (value: string) => node("Transpose", [value], `${value}t`, { perm: [0, 2, 3, 1] });
const back = node("Transpose", ["t"], "y", { perm: [0, 3, 1, 2] });

const CASES: readonly (readonly [string, readonly BuiltNode[]])[] = [
  ["a product with a map", [node("Mul", ["a", "s"], "y")]],
  ["a product of a map", [node("Mul", ["s", "a"], "y")]],
  ["a sum with a map", [node("Add", ["a", "s"], "y")]],
  ["a difference", [node("Sub", ["a", "b"], "y")]],
  ["a difference from a map", [node("Sub", ["s", "a"], "y")]],
  ["a difference that is used again", [node("Sub", ["a", "b"], "d"), node("Mul", ["d", "b"], "y")]],
  ["a sum over pixels", [node("ReduceSum", ["a", "area"], "y")]],
  [
    "a sum over pixels without their axes",
    [node("ReduceSum", ["a", "area"], "r", { keepdims: 0 }), node("Relu", ["r"], "y")],
  ],
  [
    "a sum over pixels, channels last",
    [turned("a"), node("ReduceSum", ["at", "last"], "t"), back],
  ],
  ["channels last", [turned("a"), turned("s"), node("Mul", ["at", "st"], "t"), back]],
];

async function agreement(graph: Graph, bytes: Uint8Array): Promise<void> {
  const images = randomImages(graph, 2, new RandomStream(7, "broadcast"));
  const expected = await runOnnx(bytes, images, graph.input.shape);
  expect(largestDifference(runOracle(graph, images), expected)).toBeLessThan(1e-5);
  expect(largestDifference(await runNative(graph, images), expected)).toBeLessThan(1e-4);
  const written = await runOnnx(encodeOnnx(graph), images, graph.input.shape);
  expect(largestDifference(written, expected)).toBeLessThan(1e-5);
}

describe("broadcasts", () => {
  it.each(CASES)("%s", async (_what, nodes) => {
    const bytes = built({ nodes: [...layers, ...nodes], tensors });
    await agreement(parseOnnx(bytes, "x.onnx").graph, bytes);
  });

  it("leave the map's layer alone, whatever channels go", async () => {
    for (let seed = 0; seed < 6; seed++) {
      const graph = mapGraph(seed, 4);
      const groups = channelGroups(graph).map((
        { producers, players },
      ) => [producers[0], players.length]);
      expect(groups).toEqual([["a", 6], ["map", 1], ["b", 5], ["height", 1], ["c", 6], ["out", 4]]);
      const random = new RandomStream(seed, "maps");
      const removals = randomRemovals(prunableGroups(graph, "all"), random);
      const pictures = randomImages(graph, 4, random);
      const images = Float32Array.from(toNhwc(pictures, graph.input.shape));
      const batch = { images, labels: new Int32Array(4) };
      const check = await checkCut(graph, cutGraph(graph, removals), removals, batch);
      expect(check.error).toBeLessThanOrEqual(check.tolerance * check.scale);
      expect(check.change).toBeGreaterThan(1e-3 * check.scale);
    }
  });

  it.skipIf(dataFolder() === undefined)("of the network with spatial attention", async () => {
    const bytes = readFileSync(join(dataFolder()!, "faults", "spatial.onnx"));
    await agreement(parseOnnx(bytes, "spatial.onnx").graph, bytes);
  });
});
