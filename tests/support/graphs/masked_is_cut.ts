/** Cuts of whole networks, held to the networks whose players are masked instead. */

import { expect } from "vitest";
import { prunableGroups } from "../../../src/graph/channels.ts";
import { cutGraph } from "../../../src/graph/cut.ts";
import type { Graph } from "../../../src/graph/graph.ts";
import type { Engine } from "../../../src/native/addon.ts";
import type { RandomStream } from "../../../src/random.ts";
import { checkCut } from "../../../src/surgery/check.ts";
import { randomImages, toNhwc } from "../interpreted.ts";
import { randomRemovals } from "./removals.ts";

/** Cuts at random, on pictures as random; gives the cut, the pictures and their answers' scale. */
export async function expectMaskedIsCut(
  graph: Graph,
  random: RandomStream,
  engine: Engine = "automatic",
): Promise<{ readonly cut: Graph; readonly pictures: Float64Array[]; readonly scale: number }> {
  const removals = randomRemovals(prunableGroups(graph, "all"), random);
  const cut = cutGraph(graph, removals);
  const pictures = randomImages(graph, 5, random);
  const images = Float32Array.from(toNhwc(pictures, graph.input.shape));
  const batch = { images, labels: new Int32Array(pictures.length) };
  const { error, tolerance, change, scale } = await checkCut(graph, cut, removals, batch, {
    engine,
  });
  expect(error).toBeLessThanOrEqual(tolerance * scale);
  expect(change).toBeGreaterThan(1e-3 * scale);
  return { cut, pictures, scale };
}
