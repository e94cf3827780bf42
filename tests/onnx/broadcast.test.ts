/** Sums, differences and products of pictures, and of a picture with a map for all its channels. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { channelGroups } from "../../src/graph/channels.ts";
import { RandomStream } from "../../src/random.ts";
import { dataFolder } from "../support/data.ts";
import { mapGraph } from "../support/graphs/maps.ts";
import { expectMaskedIsCut } from "../support/graphs/masked_is_cut.ts";
import { expectSameAnswers } from "../support/onnx/answers.ts";
import { built, type BuiltNode, floats, integers, node } from "../support/onnx/build.ts";

const tensors = [
  floats("w", [5, 3, 3, 3]),
  floats("v", [5, 3, 3, 3]),
  floats("m", [1, 3, 3, 3]),
  integers("area", [2, 3]),
  integers("last", [1, 2]),
  integers("last2", [2, 3]),
];
const layers = [
  node("Conv", ["x", "w"], "a"),
  node("Conv", ["x", "v"], "b"),
  node("Conv", ["x", "m"], "s"),
];
const pooled = node("GlobalAveragePool", ["b"], "p");
const turned = (value: string) => node("Transpose", [value], `${value}t`, { perm: [0, 2, 3, 1] });
const back = node("Transpose", ["t"], "y", { perm: [0, 3, 1, 2] });

const CASES: readonly (readonly [string, readonly BuiltNode[]])[] = [
  ["a product with a map", [node("Mul", ["a", "s"], "y")]],
  ["a product of a map", [node("Mul", ["s", "a"], "y")]],
  ["a sum with numbers of channels", [pooled, node("Add", ["a", "p"], "y")]],
  ["a sum of numbers of channels", [pooled, node("Add", ["p", "a"], "y")]],
  ["a difference from numbers of channels", [pooled, node("Sub", ["p", "a"], "y")]],
  ["numbers of channels less pictures", [pooled, node("Sub", ["a", "p"], "y")]],
  ["a sum with features", [
    node("ReduceMean", ["b"], "f", { axes: [2, 3], keepdims: 0 }),
    node("Unsqueeze", ["f", "last2"], "p"),
    node("Add", ["a", "p"], "y"),
  ]],
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

describe("broadcasts", () => {
  it.each(CASES)("%s", async (_what, nodes) => {
    const bytes = built({ nodes: [...layers, ...nodes], tensors });
    await expectSameAnswers(bytes);
  });

  it("leave the map's layer alone, whatever channels go", async () => {
    for (let seed = 0; seed < 6; seed++) {
      const graph = mapGraph(seed, 4);
      const groups = channelGroups(graph).map((
        { producers, players },
      ) => [producers[0], players.length]);
      expect(groups).toEqual([["a", 6], ["map", 1], ["b", 5], ["height", 1], ["c", 6], ["out", 4]]);
      await expectMaskedIsCut(graph, new RandomStream(seed, "maps"));
    }
  });

  it.skipIf(dataFolder() === undefined)("of the network with spatial attention", async () => {
    const bytes = readFileSync(join(dataFolder()!, "faults", "spatial.onnx"));
    await expectSameAnswers(bytes);
  });
});
