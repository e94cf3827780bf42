import { describe, expect, it } from "vitest";
import { prunableGroups } from "../../src/graph/channels.ts";
import { cutGraph } from "../../src/graph/cut.ts";
import { shapesOf } from "../../src/graph/shapes.ts";
import { elementCount } from "../../src/tensor.ts";
import { RandomStream } from "../../src/random.ts";
import { evaluateGraph } from "../oracle/graph.ts";
import { randomGraph } from "../support/graphs/random.ts";
import { masksOf, randomRemovals } from "../support/graphs/removals.ts";

const largest = (values: Float64Array) =>
  values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);

describe("masked equals cut, in the f64 oracle", () => {
  for (let first = 0; first < 200; first += 50) {
    it(`on random graphs ${first} to ${first + 49}`, () => {
      for (let seed = first; seed < first + 50; seed++) {
        const graph = randomGraph(seed);
        const random = new RandomStream(seed, "surgery test");
        const removals = randomRemovals(prunableGroups(graph, "all"), random);
        const cut = cutGraph(graph, removals);
        expect(shapesOf(cut).get(cut.outputs[0])).toEqual([4]);
        const image = Float64Array.from(
          { length: elementCount(graph.input.shape) },
          () => random.normal(),
        );
        const masked = evaluateGraph(graph, image, masksOf(removals)).get(graph.outputs[0])!;
        const after = evaluateGraph(cut, image).get(cut.outputs[0])!;
        const whole = evaluateGraph(graph, image).get(graph.outputs[0])!;
        const scale = largest(masked);
        const error = largest(masked.map((x, i) => x - after[i]));
        expect(error, `seed ${seed}`).toBeLessThanOrEqual(1e-10 * scale);
        // The cut must matter, or equality proves nothing.
        const gone = removals.reduce((sum, removal) => sum + removal.removed.length, 0);
        const change = largest(whole.map((x, i) => x - after[i]));
        if (gone > 0) expect(change, `seed ${seed}`).toBeGreaterThan(1e-8 * scale);
      }
    });
  }
});
