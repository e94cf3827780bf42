import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { prunableGroups } from "../../src/graph/channels.ts";
import { createModel } from "../../src/models/models.ts";
import type { Progress } from "../../src/progress.ts";
import { evaluationPasses } from "../../src/pruning/forecast.ts";
import { shapleyOf } from "../../src/pruning/network_shapley.ts";
import { StageStore } from "../../src/pruning/store.ts";
import { RandomStream } from "../../src/random.ts";

const graph = createModel("resnet8", { classes: 10, shape: [3, 16, 16] });
const groups = prunableGroups(graph, "inner");

async function sweep(kept: readonly number[], pairs: number) {
  const folder = mkdtempSync(join(tmpdir(), "secateur-sweep-"));
  const random = new RandomStream(1, "sweep pictures");
  const batch = {
    images: Float32Array.from({ length: 4 * 3 * 16 * 16 }, () => random.normal()),
    labels: Int32Array.from({ length: 4 }, () => random.integer(10)),
  };
  const reports: Progress[] = [];
  try {
    const store = await StageStore.open(folder, "sweep", false);
    const onProgress = (report: Progress) => reports.push(report);
    const options = { seed: 0, pairs, dtype: "f32", onProgress } as const;
    return { estimates: await shapleyOf(graph, groups, kept, [batch], store, options), reports };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe("progress of a Shapley sweep", () => {
  it("counts evaluations made, and drops those that a settled group does not need", async () => {
    // Nothing is cut of the first group, which is settled at the first look, after four pairs.
    const kept = groups.map(({ players }, index) => players.length - Math.min(index, 1));
    const { estimates, reports } = await sweep(kept, 6);
    expect(estimates.map(({ pairs }) => pairs)).toEqual([4, 6, 6]);

    const first = reports[0], last = reports.at(-1)!;
    expect(first.total).toBe(
      groups.reduce((sum, { players }) => sum + 2 + 2 * 6 * (players.length - 1), 0),
    );
    expect(last.done).toBe(estimates.reduce((sum, { evaluations }) => sum + evaluations, 0));
    expect(last).toMatchObject({ total: last.done, atMost: true });
    expect(first.total - last.total).toBe(2 * 2 * (groups[0].players.length - 1));
    expect(last.work!.done).toBeCloseTo(last.work!.total, 9);
    reports.slice(1).forEach((report, before) => {
      expect(report.total).toBeLessThanOrEqual(reports[before].total);
    });
  });

  it("takes evaluations near the model's output for cheaper", () => {
    const passes = groups.map((group) => evaluationPasses(graph, group));
    expect(passes).toEqual(passes.toSorted((a, b) => b - a));
    expect(passes[0]).toBeLessThan(1);
    expect(passes.at(-1)).toBeGreaterThan(0);
  });
});
