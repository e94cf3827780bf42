// Budgets in time: what is measured decides, and what was decided stays.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pruneOptions } from "../../src/commands/options/prune.ts";
import { normalisations } from "../../src/data/dataset.ts";
import { SecateurError } from "../../src/errors.ts";
import type { PassTimes } from "../../src/latency/outcome.ts";
import { profileLayers } from "../../src/latency/profile.ts";
import { writeTable } from "../../src/latency/table.ts";
import { corrected } from "../../src/pruning/latency_budget.ts";
import type { PruneOptions } from "../../src/pruning/options.ts";
import { prune, type Pruned } from "../../src/pruning/pipeline.ts";
import type { Ratios } from "../../src/ratios/budget.ts";
import { imaginedRuntime } from "../support/imagined_runtime.ts";
import { cifarResNet } from "../../src/models/resnet.ts";
import { smallPictures } from "../support/pictures/small.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-latency-budget-"));
const cache = process.env.SECATEUR_CACHE;
beforeAll(() => void (process.env.SECATEUR_CACHE = join(folder, "cache")));
afterAll(() => {
  if (cache === undefined) delete process.env.SECATEUR_CACHE;
  else process.env.SECATEUR_CACHE = cache;
  rmSync(folder, { recursive: true });
});

/** A model of 10 ms with 1000 channels, each predicted to take as long. */
function solve(cut: number): Ratios {
  if (cut > 0.9) throw new SecateurError("budget-impossible", "too much");
  const kept = Math.floor(1000 * (1 - cut) + 1e-9);
  return { kept: [kept], allowed: 10 * (1 - cut), reached: kept / 100, step: 0.01 };
}

/** Measures a model whose time follows from the share of channels that stay; counts. */
function measuring(share: (stays: number) => number) {
  const asked: number[] = [];
  const measure = ({ kept: [kept] }: Ratios): Promise<PassTimes> => {
    asked.push(kept);
    return Promise.resolve({ original: 20, cut: 20 * share(kept / 1000) });
  };
  return { asked, measure };
}

describe("corrections of a budget in time", () => {
  it("are none where the measurement is within a point", async () => {
    const { asked, measure } = measuring((stays) => stays + 0.009);
    const { outcome } = await corrected(0.4, "secateur", solve, measure);
    expect(asked).toEqual([600]);
    expect(outcome.corrections).toBe(0);
    expect(outcome.measured!.cut / outcome.measured!.original).toBeCloseTo(0.609, 9);
  });

  it("scale the allowance by predicted over measured", async () => {
    const { asked, measure } = measuring((stays) => 1.2 * stays);
    const { ratios, outcome } = await corrected(0.4, "secateur", solve, measure);
    expect(asked).toEqual([600, 500]);
    expect(ratios.kept).toEqual([500]);
    expect(outcome).toMatchObject({ corrections: 1, predicted: { original: 10, cut: 5 } });
    expect(outcome.measured!.cut / outcome.measured!.original).toBeCloseTo(0.6, 9);
  });

  it("are two at most, of which the nearest counts", async () => {
    const results = [0.7, 0.58, 0.66];
    const { asked, measure } = measuring(() => results[asked.length - 1]);
    const { ratios, outcome } = await corrected(0.4, "secateur", solve, measure);
    expect(asked).toHaveLength(3);
    expect(ratios.kept).toEqual([asked[1]]);
    expect(outcome.corrections).toBe(1);
    expect(outcome.measured!.cut).toBeCloseTo(11.6, 9);
  });

  it("end where no legal width would do", async () => {
    const { asked, measure } = measuring(() => 6.1);
    const { ratios, outcome } = await corrected(0.4, "secateur", solve, measure);
    expect(asked).toEqual([600]);
    expect([ratios.kept, outcome.corrections]).toEqual([[600], 0]);
  });
});

const PICTURES = {
  training: smallPictures(96),
  heldOut: smallPictures(40, 2),
  test: smallPictures(40, 3),
  normalisation: normalisations.cifar,
};

/** Wide enough for its layers to take most of the time. */
const network = () => cifarResNet({ depth: 8, width: 32, classes: 4, shape: [3, 8, 8], seed: 1 });

/** A run, and the stages that were run and taken. */
async function run(options: PruneOptions) {
  const ran: string[] = [], taken: string[] = [];
  const pruned: Pruned = await prune({ graph: network(), ...PICTURES }, options, {
    onStage: ({ stage, taken: was }) => (was ? taken : ran).push(stage),
  });
  return { pruned, ran, taken };
}

const optionsOf = (runtime: string, out: string): PruneOptions => ({
  ...pruneOptions({ cutLatency: "10%", runtime, roundTo: "8", epochs: "0" }, false),
  ...{ dtype: "f32", threads: 1, pairs: 2, shapleyStages: 2, out: join(folder, out) },
});

describe("a run with a budget in time", () => {
  it("in this machine's runtime measures, and takes the widths it stored on resuming", async () => {
    const options = optionsOf("secateur", "own");
    const first = await run(options);
    const { latencyOutcome, ratios } = first.pruned;
    expect(first.ran).toEqual(expect.arrayContaining(["layer times", "widths"]));
    expect(latencyOutcome!.predicted.cut).toBeCloseTo(ratios.reached, 9);
    expect(latencyOutcome!.measured!.cut).toBeGreaterThan(0);
    // Another measurement would come out otherwise in its last digits.
    const again = await run({ ...options, resume: true, learningRate: 0.05 });
    expect(again.taken).toEqual(expect.arrayContaining(["layer times", "widths"]));
    expect(again.pruned.latencyOutcome).toEqual(latencyOutcome);
    expect(again.pruned.ratios).toEqual(ratios);
  });

  for (const rule of ["sensitivity", "global", "concentration", "uniform"] as const) {
    it(`by another machine's table predicts alone: ${rule}`, async () => {
      const graph = network();
      const table = await profileLayers(graph, imaginedRuntime("elsewhere").runtime, {
        roundTo: 8,
      });
      const path = join(folder, "table.json");
      await writeTable(path, { ...table, machine: "another", overhead: 0 });
      const options = { ...optionsOf(path, `table ${rule}`), ratios: rule };
      const { latencyOutcome, ratios } = (await run(options)).pruned;
      expect(latencyOutcome).toEqual({
        runtime: "secateur",
        predicted: { original: ratios.allowed / 0.9, cut: ratios.reached },
        corrections: 0,
      });
      expect(ratios.reached).toBeLessThanOrEqual(ratios.allowed);
    });
  }
});
