import { describe, expect, it } from "vitest";
import type { CalibrationBatch } from "../../src/data/batches/calibration.ts";
import { prunableGroups } from "../../src/graph/channels.ts";
import { cutGraph } from "../../src/graph/cut.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { cifarResNet } from "../../src/models/resnet.ts";
import { RandomStream } from "../../src/random.ts";
import { checkCut } from "../../src/surgery/check.ts";
import { randomImages, toNhwc } from "../support/interpreted.ts";
import { randomGraph } from "../support/graphs/random.ts";
import { type RandomRemoval, randomRemovals } from "../support/graphs/removals.ts";
import { smallNetwork } from "../support/small_pictures.ts";

function batchFor(graph: Graph, images: number, seed: number): CalibrationBatch {
  const pictures = randomImages(graph, images, new RandomStream(seed, "check pictures"));
  return {
    images: Float32Array.from(toNhwc(pictures, graph.input.shape)),
    labels: new Int32Array(images),
  };
}

/** The network with one number of one parameter changed by a share of itself. */
function tamper(graph: Graph, parameter: string, position: number, share: number): Graph {
  const tensor = graph.parameters.get(parameter)!;
  const data = tensor.data.map((x, i) => i === position ? x * (1 + share) : x);
  return { ...graph, parameters: new Map(graph.parameters).set(parameter, { ...tensor, data }) };
}

/** A cut with one player of every group gone. */
function oneOfEach(graph: Graph): RandomRemoval[] {
  return prunableGroups(graph, "all").map((group) => ({ group, removed: [1] }));
}

describe("masked equals cut, in the engine", () => {
  for (const engine of ["portable", "automatic"] as const) {
    it(`holds on random graphs within the tolerance, engine ${engine}`, async () => {
      for (let seed = 0; seed < 12; seed++) {
        const graph = randomGraph(seed);
        const random = new RandomStream(seed, "check test");
        const removals = randomRemovals(prunableGroups(graph, "all"), random);
        const cut = cutGraph(graph, removals);
        const check = await checkCut(graph, cut, removals, batchFor(graph, 5, seed), { engine });
        expect(check).toMatchObject({ tolerance: 1e-5, images: 5 });
        expect(check.scale).toBeGreaterThan(0);
        expect(check.error).toBeLessThanOrEqual(1e-5 * check.scale);
        expect(check.change).toBeGreaterThan(1e-3 * check.scale);
      }
    });
  }

  it("allows more rounding to deep networks, and is in f32 whatever the model runs in", async () => {
    const graph = cifarResNet({ depth: 32, width: 4, classes: 4, shape: [3, 8, 8], seed: 1 });
    const removals = oneOfEach(graph);
    const cut = cutGraph(graph, removals);
    const batch = batchFor(graph, 4, 1);
    const check = await checkCut(graph, cut, removals, batch, { dtype: "bf16" });
    expect(check.tolerance).toBe(1e-4);
    expect(check.error).toBeLessThan(1e-4 * check.scale);
    expect(await checkCut(graph, cut, removals, batch, { dtype: "f32" })).toEqual(check);
  });

  it("fails when one kept weight is another", async () => {
    const graph = smallNetwork();
    const removals = oneOfEach(graph);
    const cut = cutGraph(graph, removals);
    const batch = batchFor(graph, 8, 2);
    await checkCut(graph, cut, removals, batch);
    for (const parameter of ["conv1.weight", "layer2.0.conv2.weight", "linear.weight"]) {
      const refused = checkCut(graph, tamper(cut, parameter, 4, 0.01), removals, batch);
      await expect(refused, parameter).rejects.toMatchObject({ code: "check-failed" });
      await expect(refused).rejects.toThrow(/^The cut resnet8 differs from the masked one by /);
    }
  });

  it("fails when other channels were cut than were meant", async () => {
    const graph = smallNetwork();
    const removals = oneOfEach(graph);
    const others = removals.map(({ group }) => ({ group, removed: [2] }));
    await expect(checkCut(graph, cutGraph(graph, others), removals, batchFor(graph, 4, 3))).rejects
      .toMatchObject({ code: "check-failed" });
  });

  it("says when a cut that changes nothing proves nothing", async () => {
    const graph = smallNetwork();
    const [group] = prunableGroups(graph, "inner");
    const removals = [{ group, removed: [0] }];
    const blind = graph.parameters.get("layer1.0.conv2.weight")!;
    // Nobody reads the first channel: [out, in, 3, 3].
    const data = blind.data.map((x, i) => Math.floor(i / 9) % blind.shape[1] === 0 ? 0 : x);
    const unread: Graph = {
      ...graph,
      parameters: new Map(graph.parameters).set("layer1.0.conv2.weight", { ...blind, data }),
    };
    const batch = batchFor(graph, 4, 4);
    await expect(checkCut(unread, cutGraph(unread, removals), removals, batch)).rejects
      .toThrow(/masked = cut proves nothing/);
    expect(await checkCut(graph, graph, [], batch)).toMatchObject({ error: 0, change: 0 });
  });
});
