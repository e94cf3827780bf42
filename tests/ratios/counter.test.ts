// Costs that follow widths against the whole model counted anew.

import { describe, expect, it } from "vitest";
import { prunableGroups } from "../../src/graph/channels.ts";
import { costOf } from "../../src/graph/cost.ts";
import { cutShapes } from "../../src/graph/cut.ts";
import { createModel } from "../../src/models/models.ts";
import { RandomStream } from "../../src/random.ts";
import { LayerCounter, ParameterCounter } from "../../src/ratios/counter.ts";
import { solveShares } from "../../src/ratios/shares.ts";
import { randomGraph } from "../support/graphs/random.ts";

const graphs = [
  createModel("resnet20", { classes: 10 }),
  createModel("mobilenet_v2", { classes: 10, shape: [3, 32, 32] }),
  createModel("densenet40", { classes: 10 }),
  createModel("shufflenet_v2_x0_5", { classes: 10, shape: [3, 64, 64] }),
  createModel("vgg16-cifar", { classes: 10 }),
  ...Array.from({ length: 12 }, (_, seed) => randomGraph(seed)),
];

describe("costs that follow widths", () => {
  for (const [index, graph] of graphs.entries()) {
    it(`are those of the cut model: ${graph.name} (${index})`, () => {
      const groups = prunableGroups(graph, "all");
      const random = new RandomStream(index, "widths");
      const macs = new LayerCounter(graph, groups);
      const parameters = new ParameterCounter(graph, groups);
      expect(macs.total).toBe(costOf(graph).macs);
      expect(parameters.total).toBe(costOf(graph).parameters);
      const kept = groups.map(({ players }) => players.length);
      for (let step = 0; step < 12; step++) {
        // A few groups at a time, up and down, so that the order of changes is tried too.
        for (let change = 0; change < 3; change++) {
          const group = random.integer(groups.length);
          kept[group] = 1 + random.integer(groups[group].players.length);
          macs.set(group, kept[group]);
          parameters.set(group, kept[group]);
        }
        const cost = costOf(cutShapes(
          graph,
          groups.map((group, i) => ({
            group,
            removed: group.players.map((_, player) => player).slice(kept[i]),
          })),
        ));
        expect(macs.total).toBe(cost.macs);
        expect(parameters.total).toBe(cost.parameters);
      }
    });
  }

  it("names as neighbours all whose next channel is worth another amount", () => {
    const graph = createModel("mobilenet_v2", { classes: 10, shape: [3, 32, 32] });
    const groups = prunableGroups(graph, "all");
    const counter = new LayerCounter(graph, groups);
    const savings = () =>
      groups.map(({ players }, group) => {
        const before = counter.total;
        counter.set(group, players.length - 1);
        const saved = before - counter.total;
        counter.set(group, players.length);
        return saved;
      });
    const before = savings();
    counter.set(2, 1);
    const after = groups.map(({ players }, group) => {
      if (group === 2) return before[group];
      const total = counter.total;
      counter.set(group, players.length - 1);
      const saved = total - counter.total;
      counter.set(group, players.length);
      return saved;
    });
    const changed = before.flatMap((saved, group) => saved === after[group] ? [] : [group]);
    expect(changed.length).toBeGreaterThan(0);
    expect(changed.filter((group) => !counter.neighbours[2].includes(group))).toEqual([]);
  });
});

describe("solving a budget", () => {
  it("takes less than two seconds for deep networks of many groups", () => {
    const graph = createModel("densenet121", { classes: 10, shape: [3, 64, 64] });
    const groups = prunableGroups(graph, "all");
    const budget = { kind: "flops", cut: 0.5 } as const;
    const started = performance.now();
    const { reached, allowed } = solveShares(graph, groups, groups.map(() => 1), { budget });
    // Six times what it takes, since this may run beside anything.
    expect(performance.now() - started).toBeLessThan(12_000);
    expect(reached).toBeLessThanOrEqual(allowed);
  });
});
