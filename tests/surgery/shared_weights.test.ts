/** Layers that share their weights at other sizes and strides are cut together. */

import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readOnnx } from "../../src/formats/onnx/read/read.ts";
import { channelGroups } from "../../src/graph/channels.ts";
import type { Graph } from "../../src/graph/graph.ts";
import type { Engine } from "../../src/native/addon.ts";
import { RandomStream } from "../../src/random.ts";
import { dataFolder } from "../support/data.ts";
import { expectMaskedIsCut } from "../support/graphs/masked_is_cut.ts";
import { sharedGraph } from "../support/graphs/shared.ts";
import { randomImages } from "../support/interpreted.ts";
import { runNative } from "../support/native_graph.ts";
import { largestDifference, runOnnx, runOracle } from "../support/onnx/files.ts";

async function expectCutTogether(graph: Graph, seed: number, engine: Engine) {
  const random = new RandomStream(seed, "shared weights");
  const { cut, pictures, scale } = await expectMaskedIsCut(graph, random, engine);
  expect(largestDifference(await runNative(cut, pictures), runOracle(cut, pictures)))
    .toBeLessThan(1e-4 * Math.max(1, scale));
}

describe("shared weights", () => {
  it("make one group of all their layers", () => {
    const groups = channelGroups(sharedGraph(0, 4));
    expect(groups.map(({ producers }) => producers)).toEqual([
      [...["first", "twice", "again.same", "again.small", "again.dilated", "again.strided"]],
      ["out"],
    ]);
  });

  for (const engine of ["portable", "automatic"] as const) {
    it(`are masked as they are cut, engine ${engine}`, async () => {
      for (let seed = 0; seed < 6; seed++) {
        await expectCutTogether(sharedGraph(seed, 4), seed, engine);
      }
    });
  }

  it.skipIf(dataFolder() === undefined)("of the network that died of them", async () => {
    const path = join(dataFolder()!, "faults", "twice.onnx");
    const { graph } = await readOnnx(path);
    await expectCutTogether(graph, 1, "automatic");
    const images = randomImages(graph, 2, new RandomStream(3, "twice"));
    const expected = await runOnnx(path, images, graph.input.shape);
    expect(largestDifference(await runNative(graph, images), expected)).toBeLessThan(1e-4);
  });
});
