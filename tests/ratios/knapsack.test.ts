// Widths from curves against every choice there is.

import { describe, expect, it } from "vitest";
import { prunableGroups } from "../../src/graph/channels.ts";
import { GraphBuilder } from "../../src/models/builder.ts";
import { createModel } from "../../src/models/models.ts";
import { RandomStream } from "../../src/random.ts";
import { LayerCounter } from "../../src/ratios/counter.ts";
import { convexBelow, solveKnapsack } from "../../src/ratios/knapsack.ts";

/** Branches beside each other from one input, so that what one saves does not depend on others. */
function branches(widths: readonly number[]) {
  const builder = new GraphBuilder("branches", [3, 4, 4], 5);
  const ends = widths.map((width, i) => {
    const made = builder.convolution(`make${i}`, builder.input, { out: width, kernel: 1 });
    return builder.convolution(`read${i}`, made, { out: 4, kernel: 1 });
  });
  const sum = ends.reduce((left, right, i) => builder.add(`add${i}`, left, right));
  const flat = builder.flatten("flatten", sum);
  return builder.finish(builder.linear("fc", flat, 2));
}

describe("convexBelow", () => {
  it("is convex, nowhere above, and touches both ends", () => {
    const random = new RandomStream(1, "curve");
    for (let round = 0; round < 50; round++) {
      let level = 0;
      const curve = Array.from({ length: 20 }, (_, k) => k === 0 ? 0 : level += random.uniform());
      const convex = convexBelow(curve);
      curve.forEach((loss, k) => expect(convex[k]).toBeLessThanOrEqual(loss + 1e-12));
      expect(convex[0]).toBe(0);
      expect(convex[19]).toBeCloseTo(curve[19], 10);
      for (let k = 1; k < 19; k++) {
        expect(convex[k + 1] - convex[k]).toBeGreaterThanOrEqual(convex[k] - convex[k - 1] - 1e-12);
      }
    }
  });
});

describe("widths from curves", () => {
  it("lose no more than one channel's worth beyond the best of all choices", () => {
    const widths = [5, 6, 7];
    const graph = branches(widths);
    const groups = prunableGroups(graph, "inner");
    expect(groups.map(({ players }) => players.length)).toEqual(widths);
    const counter = new LayerCounter(graph, groups);
    const random = new RandomStream(2, "knapsack");
    for (let round = 0; round < 30; round++) {
      const curves = widths.map((width) => {
        const steps = Array.from({ length: width }, () => random.uniform()).sort((a, b) => a - b);
        return steps.reduce((curve, step) => [...curve, curve.at(-1)! + step], [0]);
      });
      const options = {
        budget: { kind: "flops", cut: 0.3 + 0.4 * random.uniform() },
        cap: 0.9,
      } as const;
      const found = solveKnapsack(graph, groups, curves, options);
      const lossOf = (kept: readonly number[]) =>
        kept.reduce((sum, count, i) => sum + curves[i][widths[i] - count], 0);
      let best = Infinity;
      for (let a = 1; a <= 5; a++) {
        for (let b = 1; b <= 6; b++) {
          for (let c = 1; c <= 7; c++) {
            [a, b, c].forEach((count, group) => counter.set(group, count));
            if (counter.total <= found.allowed) best = Math.min(best, lossOf([a, b, c]));
          }
        }
      }
      expect(found.reached).toBeLessThanOrEqual(found.allowed);
      expect(found.allowed - found.reached).toBeLessThan(found.step);
      // One channel is what greedy choices may be off by.
      const dearest = Math.max(
        ...curves.flatMap((curve) => curve.slice(1).map((x, k) => x - curve[k])),
      );
      expect(lossOf(found.kept)).toBeLessThanOrEqual(best + dearest);
    }
  });

  it("spare the group whose channels cost most, and take what costs nothing first", () => {
    const graph = createModel("resnet20", { classes: 10 });
    const groups = prunableGroups(graph, "inner");
    const curves = groups.map(({ players }, group) =>
      Array.from(
        { length: players.length + 1 },
        (_, k) => group === 0 ? 0 : group === 3 ? 9 * k : k,
      )
    );
    const { kept } = solveKnapsack(graph, groups, curves, {
      budget: { kind: "flops", cut: 0.4 },
    });
    expect(kept[3]).toBe(groups[3].players.length);
    expect(kept[0]).toBe(Math.ceil(0.1 * groups[0].players.length));
  });

  it("keep multiples with roundTo", () => {
    const graph = createModel("resnet20", { classes: 10 });
    const groups = prunableGroups(graph, "inner");
    const curves = groups.map(({ players }) =>
      Float64Array.from({ length: players.length + 1 }, (_, k) => k * k)
    );
    const { kept } = solveKnapsack(graph, groups, curves, {
      budget: { kind: "parameters", cut: 0.4 },
      roundTo: 8,
    });
    expect(kept.every((count) => count % 8 === 0)).toBe(true);
  });
});
