import { describe, expect, it } from "vitest";
import { type ChannelGroup, prunableGroups } from "../../src/graph/channels.ts";
import { cutGraph } from "../../src/graph/cut.ts";
import { shapesOf } from "../../src/graph/shapes.ts";
import { RandomStream } from "../../src/random.ts";
import { evaluateGraph } from "../oracle/graph.ts";
import { diverseGraph } from "../support/graphs/diverse.ts";
import { masksOf, randomRemovals } from "../support/graphs/removals.ts";
import { randomImages } from "../support/interpreted.ts";

/** No channel belongs to two players, and names differ. */
function expectConsistent(groups: readonly ChannelGroup[], seed: number): void {
  expect(new Set(groups.map(({ name }) => name)).size, `seed ${seed}`).toBe(groups.length);
  const channels = groups.flatMap((group) => group.players)
    .flatMap((player) => player.channels.map(({ value, channel }) => `${value}\n${channel}`));
  expect(new Set(channels).size, `seed ${seed}`).toBe(channels.length);
}

const largest = (values: Float64Array) =>
  values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);

describe("masked equals cut on networks of every operator, in the f64 oracle", () => {
  const GRAPHS = 100;
  for (let first = 0; first < 5 * GRAPHS; first += GRAPHS) {
    it(`on graphs ${first} to ${first + GRAPHS - 1}`, () => {
      let cuts = 0, changed = 0;
      for (let seed = first; seed < first + GRAPHS; seed++) {
        const graph = diverseGraph(seed);
        const random = new RandomStream(seed, "surgery of operators");
        const groups = prunableGroups(graph, "all");
        expectConsistent(groups, seed);
        // Half of every group's players, or all but one.
        const removals = randomRemovals(groups, random, seed % 5 === 0 ? 1 : 0.5);
        const cut = cutGraph(graph, removals);
        expect(shapesOf(cut).get(cut.outputs[0])).toEqual([4]);
        const [image] = randomImages(graph, 1, random);
        const answer = (of: typeof graph, masks = new Map<string, Set<number>>()) =>
          evaluateGraph(of, image, masks).get(graph.outputs[0])!;
        const masked = answer(graph, masksOf(removals)), after = answer(cut);
        const scale = largest(masked);
        const error = largest(masked.map((x, i) => x - after[i]));
        expect(error, `seed ${seed}`).toBeLessThanOrEqual(1e-10 * scale);
        if (removals.every(({ removed }) => removed.length === 0)) continue;
        cuts++;
        const whole = answer(graph);
        if (largest(whole.map((x, i) => x - after[i])) > 1e-8 * scale) changed++;
      }
      // Equality proves nothing where the cut does not matter, as behind saturated activations.
      expect(cuts).toBeGreaterThan(0.9 * GRAPHS);
      expect(changed).toBeGreaterThanOrEqual(cuts - 2);
    });
  }
});
