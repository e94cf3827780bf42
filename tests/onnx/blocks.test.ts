/** Channels spread over blocks of pixels: DepthToSpace in both orders, cut and written. */

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
import { blockGraph } from "../support/graphs/blocks.ts";
import { randomRemovals } from "../support/graphs/removals.ts";
import { randomImages, toNhwc } from "../support/interpreted.ts";
import { runNative } from "../support/native_graph.ts";
import { built, floats, node } from "../support/onnx/build.ts";
import { largestDifference, runOnnx, runOracle } from "../support/onnx/files.ts";

async function agreement(graph: Graph, bytes: Uint8Array): Promise<void> {
  const images = randomImages(graph, 2, new RandomStream(8, "blocks"));
  const expected = await runOnnx(bytes, images, graph.input.shape);
  expect(largestDifference(runOracle(graph, images), expected)).toBeLessThan(1e-5);
  expect(largestDifference(await runNative(graph, images), expected)).toBeLessThan(1e-4);
  const written = encodeOnnx(graph);
  expect(largestDifference(await runOnnx(written, images, graph.input.shape), expected))
    .toBeLessThan(1e-5);
  expect(parseOnnx(written, "again").graph.nodes).toEqual(graph.nodes);
}

describe("blocks of pixels", () => {
  const orders: [mode: string, blocksize: number][] = [["DCR", 2], ["CRD", 2], ["CRD", 3], [
    "DCR",
    3,
  ]];
  it.each(orders)(
    "%s, %d pixels wide",
    async (mode, blocksize) => {
      const nodes = [
        node("Conv", ["x", "w"], "c"),
        node("DepthToSpace", ["c"], "y", { mode, blocksize }),
      ];
      const tensors = [floats("w", [36, 3, 3, 3])];
      const bytes = built({ nodes, tensors });
      await agreement(parseOnnx(bytes, "x.onnx").graph, bytes);
    },
  );

  it("take channels that they do not divide for a fault", () => {
    const nodes = [node("DepthToSpace", ["x"], "y", { blocksize: 2 })];
    expect(() => parseOnnx(built({ nodes }), "x.onnx"))
      .toThrow(/DepthToSpace, which spreads 3 channels over blocks of 2/);
  });

  it("lose whole blocks of channels, masked as cut", async () => {
    for (let seed = 0; seed < 6; seed++) {
      const graph = blockGraph(seed, 4);
      const groups = channelGroups(graph).map(({ producers: [name], players }) =>
        [name, players.length, players[0].channels.length] as const
      );
      expect(groups.map(([name, count]) => [name, count])).toEqual([["a", 4], ["b", 5], [
        "out",
        4,
      ]]);
      const random = new RandomStream(seed, "blocks");
      const removals = randomRemovals(prunableGroups(graph, "all"), random);
      const pictures = randomImages(graph, 4, random);
      const images = Float32Array.from(toNhwc(pictures, graph.input.shape));
      const batch = { images, labels: new Int32Array(4) };
      const check = await checkCut(graph, cutGraph(graph, removals), removals, batch);
      expect(check.error).toBeLessThanOrEqual(check.tolerance * check.scale);
      expect(check.change).toBeGreaterThan(1e-3 * check.scale);
    }
  });

  it.skipIf(dataFolder() === undefined)("of the network with a pixel shuffle", async () => {
    const bytes = readFileSync(join(dataFolder()!, "faults", "shuffle.onnx"));
    await agreement(parseOnnx(bytes, "shuffle.onnx").graph, bytes);
  });
});
