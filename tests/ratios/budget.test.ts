import { describe, expect, it } from "vitest";
import { concentrate, fuse } from "../../src/concentration/concentration.ts";
import { solveKnapsack } from "../../src/ratios/knapsack.ts";
import { solveShares } from "../../src/ratios/shares.ts";
import { prunableGroups } from "../../src/graph/channels.ts";
import { costOf } from "../../src/graph/cost.ts";
import { cutGraph } from "../../src/graph/cut.ts";
import { createModel } from "../../src/models/models.ts";

const graph = createModel("resnet20", { classes: 10 });
const groups = prunableGroups(graph, "all");
const uneven = groups.map((_, i) => 1 + 0.5 * Math.sin(i));

const removalsTo = (kept: readonly number[]) =>
  groups.map((group, i) => ({
    group,
    removed: group.players.map((_, player) => player).slice(kept[i]),
  }));

describe("budget", () => {
  for (const kind of ["flops", "parameters"] as const) {
    for (const cut of [0.1, 0.3, 0.455, 0.7]) {
      it(`removes ${cut} of the ${kind} within one channel step`, () => {
        const { kept, allowed, reached, step } = solveShares(graph, groups, uneven, {
          budget: { kind, cut },
        });
        const cost = costOf(cutGraph(graph, removalsTo(kept)));
        expect(kind === "flops" ? cost.macs : cost.parameters).toBe(reached);
        expect(reached).toBeLessThanOrEqual(allowed);
        expect(allowed - reached).toBeLessThan(step);
      });
    }
  }

  it("keeps more where concentration is higher", () => {
    const ratios = solveShares(graph, groups, groups.map((_, i) => i === 3 ? 3 : 1), {
      budget: { kind: "flops", cut: 0.5 },
    });
    const shares = ratios.kept.map((kept, i) => kept / groups[i].players.length);
    expect(shares[3]).toBe(1);
    expect(Math.max(...shares.filter((_, i) => i !== 3))).toBeLessThan(1);
  });

  it("keeps multiples with roundTo", () => {
    const { kept } = solveShares(graph, groups, uneven, {
      budget: { kind: "flops", cut: 0.4 },
      roundTo: 8,
    });
    expect(kept.every((count) => count % 8 === 0)).toBe(true);
  });

  for (const [cut, alsoParameters] of [[0.455, 0.403], [0.3, 0.6], [0.6, 0.1]]) {
    it(`removes ${cut} of the FLOPs and ${alsoParameters} of the parameters, hardly more`, () => {
      const budget = { kind: "flops", cut, alsoParameters } as const;
      const before = costOf(graph);
      const curves = groups.map(({ players }, i) =>
        Float64Array.from({ length: players.length + 1 }, (_, k) => uneven[i] * (k / 16) ** 2)
      );
      const solutions = [
        solveShares(graph, groups, uneven, { budget }),
        solveKnapsack(graph, groups, curves, { budget }),
      ];
      for (const { kept } of solutions) {
        const cost = costOf(cutGraph(graph, removalsTo(kept)));
        const [flops, parameters] = [
          1 - cost.macs / before.macs - cut,
          1 - cost.parameters / before.parameters - alsoParameters,
        ];
        expect(Math.min(flops, parameters)).toBeGreaterThanOrEqual(0);
        // No channel can be given back, of which the largest is two hundredths of either.
        expect(Math.min(flops, parameters)).toBeLessThan(0.02);
      }
    });
  }

  it("says which of two cannot be met", () => {
    const budget = { kind: "flops", cut: 0.1, alsoParameters: 0.995 } as const;
    expect(() => solveShares(graph, groups, uneven, { budget })).toThrow(
      /10\.0% of the FLOPs and 99\.5% of the parameters, but .* only 9\d\.\d% and 9\d\.\d%/,
    );
  });

  it("says so when it cannot be met", () => {
    expect(() => solveShares(graph, groups, uneven, { budget: { kind: "flops", cut: 0.995 } }))
      .toThrow(/removes only 9\d\.\d%/);
  });
});

describe("fusion", () => {
  it("lies between its two indicators", () => {
    for (const fusion of ["arithmetic", "geometric", "harmonic"] as const) {
      const fused = fuse(0.2, 0.8, fusion, 0.5);
      expect(fused).toBeGreaterThan(0.2);
      expect(fused).toBeLessThan(0.8);
    }
    expect(fuse(0.2, 0.8, "arithmetic")).toBeCloseTo(0.5);
    expect(fuse(0.2, 0.8, "geometric")).toBeCloseTo(0.4);
    expect(fuse(0.2, 0.8, "harmonic")).toBeCloseTo(0.32);
    expect(fuse(0.2, 0.8, "product")).toBeCloseTo(0.16);
  });

  it("does not depend on the scale of an indicator", () => {
    const sites = [{ value: "a", rank: 0.5, entropy: 0.2 }, {
      value: "b",
      rank: 0.9,
      entropy: 0.6,
    }];
    const scaled = sites.map((site) => ({ ...site, entropy: site.entropy / 2 }));
    const plain = concentrate(sites).map((site) => site.concentration);
    const other = concentrate(scaled).map((site) => site.concentration);
    plain.forEach((figure, i) => expect(other[i]).toBeCloseTo(figure, 12));
  });
});
