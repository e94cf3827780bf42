/** Channels spread over blocks of pixels: DepthToSpace in both orders, cut and written. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseOnnx } from "../../src/formats/onnx/read/read.ts";
import { channelGroups } from "../../src/graph/channels.ts";
import { RandomStream } from "../../src/random.ts";
import { dataFolder } from "../support/data.ts";
import { blockGraph } from "../support/graphs/blocks.ts";
import { expectMaskedIsCut } from "../support/graphs/masked_is_cut.ts";
import { expectSameAnswers } from "../support/onnx/answers.ts";
import { built, floats, node } from "../support/onnx/build.ts";

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
      await expectSameAnswers(bytes);
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
      await expectMaskedIsCut(graph, new RandomStream(seed, "blocks"));
    }
  });

  it.skipIf(dataFolder() === undefined)("of the network with a pixel shuffle", async () => {
    const bytes = readFileSync(join(dataFolder()!, "faults", "shuffle.onnx"));
    await expectSameAnswers(bytes);
  });
});
