// Budgets in time: widths solved against a table whose times follow from a formula.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { prunableGroups } from "../../src/graph/channels.ts";
import { cutShapes } from "../../src/graph/cut.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { latencyOf, type LayerCosts, layerCosts } from "../../src/latency/costs.ts";
import { profileLayers } from "../../src/latency/profile.ts";
import type { LatencyTable } from "../../src/latency/table.ts";
import { createModel } from "../../src/models/models.ts";
import { RandomStream } from "../../src/random.ts";
import { LatencyCounter } from "../../src/ratios/latency_counter.ts";
import { problemOf, type Ratios } from "../../src/ratios/budget.ts";
import { solveKnapsack } from "../../src/ratios/knapsack.ts";
import { solveShares } from "../../src/ratios/shares.ts";
import { imaginedRuntime } from "../support/imagined_runtime.ts";

const small = { classes: 10, shape: [3, 32, 32] };
const cache = process.env.SECATEUR_CACHE;
const folder = mkdtempSync(join(tmpdir(), "secateur-time-budget-"));
beforeAll(() => void (process.env.SECATEUR_CACHE = folder));
afterAll(() => {
  if (cache === undefined) delete process.env.SECATEUR_CACHE;
  else process.env.SECATEUR_CACHE = cache;
  rmSync(folder, { recursive: true });
});

/** Time of the graph of which the first `kept` of each group stay, by real surgery. */
function timeOf(graph: Graph, table: LatencyTable, kept: readonly number[]): number {
  const groups = prunableGroups(graph, "all");
  return latencyOf(
    cutShapes(
      graph,
      groups.map((group, i) => ({
        group,
        removed: group.players.map((_, player) => player).slice(kept[i]),
      })),
    ),
    table,
  );
}

/** Costs whose layers take steps of so many channels: what lies between is free. */
function inSteps(
  { costAt, ...costs }: LayerCosts,
  lanes: (index: number, inWidth: number) => number,
): LayerCosts {
  const step = (width: number, by: number) => Math.ceil(width / by) * by;
  return {
    ...costs,
    costAt: (index, into, out) => costAt(index, step(into, 8), step(out, lanes(index, into))),
  };
}

for (const name of ["resnet8", "mobilenet_v2"]) {
  describe(`a budget in time on ${name}`, () => {
    const graph = createModel(name, small);
    const groups = prunableGroups(graph, "all");
    const random = new RandomStream(3, "losses");
    const losses = groups.map(({ players }) => {
      const weight = 0.1 + random.uniform();
      return Float64Array.from(
        { length: players.length + 1 },
        (_, k) => weight * (k / players.length) ** 2,
      );
    });
    let table: LatencyTable, costs: LayerCosts;
    beforeAll(async () => {
      table = await profileLayers(graph, imaginedRuntime(`budget ${name}`).runtime);
      costs = layerCosts(graph, table);
    });

    const rules = {
      shares: (of: LayerCosts, cut: number): Ratios =>
        solveShares(graph, groups, groups.map((_, i) => 1 + 0.5 * Math.sin(i)), {
          budget: { kind: "latency", cut, costs: of },
        }),
      knapsack: (of: LayerCosts, cut: number): Ratios =>
        solveKnapsack(graph, groups, losses, { budget: { kind: "latency", cut, costs: of } }),
    };

    it("is counted as surgery leaves the model, whatever was set before", () => {
      const counter = new LatencyCounter(groups, costs);
      expect(counter.total).toBeCloseTo(latencyOf(graph, table), 9);
      for (let round = 0; round < 3; round++) {
        const kept = groups.map(({ players }) => 1 + random.integer(players.length));
        kept.forEach((count, group) => counter.set(group, count));
        expect(counter.total).toBeCloseTo(timeOf(graph, table, kept), 9);
      }
    });

    for (const [rule, solve] of Object.entries(rules)) {
      for (const cut of [0.2, 0.4]) {
        it(`is met within one channel step: ${rule}, ${cut}`, () => {
          const { kept, allowed, reached, step } = solve(costs, cut);
          expect(allowed).toBeCloseTo((1 - cut) * latencyOf(graph, table), 9);
          expect(timeOf(graph, table, kept)).toBeCloseTo(reached, 9);
          expect(reached).toBeLessThanOrEqual(allowed);
          expect(allowed - reached).toBeLessThan(step);
          // A step of one group is little of the whole.
          expect((allowed - reached) / latencyOf(graph, table)).toBeLessThan(0.03);
        });
      }

      // The other steps are seen only where other groups have been cut.
      for (const steps of ["equal", "others behind narrow inputs"] as const) {
        it(`takes no channels that cost nothing: ${rule}, steps ${steps}`, () => {
          const narrow = (index: number, into: number) =>
            steps !== "equal" && into < costs.layers[index].inWidth;
          const stepped = inSteps(costs, (index, into) => narrow(index, into) ? 12 : 8);
          const { kept, reached } = solve(stepped, 0.4);
          const counter = new LatencyCounter(groups, stepped);
          kept.forEach((count, group) => counter.set(group, count));
          expect(counter.total).toBeCloseTo(reached, 12);
          kept.forEach((count, group) => {
            for (let width = count + 1; width <= groups[group].players.length; width++) {
              counter.set(group, width);
              expect(counter.total, `${groups[group].name}: ${width}`).toBeGreaterThan(reached);
            }
            counter.set(group, count);
          });
        });
      }
    }

    it("knows whole steps where measurements differ by little", () => {
      const { costAt, ...rest } = inSteps(costs, () => 8);
      const noisy: LayerCosts = {
        ...rest,
        costAt: (index, into, out) =>
          costAt(index, into, out) * (1 + 5e-4 * Math.sin(into + 3 * out)),
      };
      const budget = { kind: "latency", cut: 0.4, costs: noisy } as const;
      problemOf(graph, groups, { budget }).ranges.forEach(({ worth, most }, group) => {
        // Steps of wider groups are as small as what measurements differ by.
        if (most > 256) return;
        const parts = worth!.filter((width) => width % 8 !== 0 && width !== most);
        expect(parts, groups[group].name).toEqual([]);
        expect(worth!.length, groups[group].name).toBeGreaterThan(1);
      });
    });

    it("that cannot be met is refused", () => {
      expect(() => rules.shares(costs, 0.995)).toThrow(/^Expected to cut 99.5% of the time, but/);
    });
  });
}
