/** Finished runs of a sweep, as reports in folders: figures drawn from a seed. */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RandomStream } from "../../../src/random.ts";
import { reportJson } from "../../../src/report/json.ts";
import type { Report } from "../../../src/report/report.ts";
import { reportFixture } from "../report_fixture.ts";

export interface SweptRun {
  readonly criterion: string;
  readonly cut: number;
  readonly seed: number;
}

/** A report with another budget, criterion, seed and accuracy. */
export function sweptReport({ criterion, cut, seed }: SweptRun, base: Report): Report {
  const { provenance, results } = base;
  const random = new RandomStream(seed, `${criterion} ${cut}`);
  const top1 = 0.9 - 0.06 * cut * cut - (criterion === "l1" ? 0.01 : 0) +
    0.003 * random.normal();
  const { before } = results.cost;
  const accuracy = (set: "held-out" | "test", figure: number) =>
    ({ set, loss: 0.4, top1: figure, top5: 0.99, correct: 0, total: 1000 }) as const;
  return {
    ...base,
    provenance: {
      ...provenance,
      seed,
      options: {
        ...provenance.options,
        ...{ criterion, seed, ratios: "global", epochs: 20, budget: { kind: "flops", cut } },
      },
    },
    results: {
      ...results,
      budget: { ...results.budget, asked: cut },
      cost: {
        before,
        after: {
          macs: before.macs * (1 - cut),
          parameters: before.parameters * (1 - cut - (criterion === "l1" ? 0.05 : 0)),
        },
      },
      accuracy: {
        original: results.accuracy.original!,
        bestEpoch: [accuracy("held-out", top1 + 0.01), accuracy("test", top1)],
      },
      latency: results.latency.map((row) => ({
        ...row,
        pruned: {
          ...row.pruned,
          median: row.original.median * (1 - 0.7 * cut + 0.02 * random.normal()),
        },
      })),
    },
  };
}

/** Writes a report into a folder of its own for every combination; returns the folders. */
export function writeSweep(
  folder: string,
  cuts: readonly number[],
  criteria: readonly string[],
  seeds: readonly number[],
): string[] {
  const base = reportFixture();
  return cuts.flatMap((cut) =>
    criteria.flatMap((criterion) =>
      seeds.map((seed) => {
        const place = join(folder, `${cut}-${criterion}-s${seed}`);
        mkdirSync(place, { recursive: true });
        const report = sweptReport({ criterion, cut, seed }, base);
        writeFileSync(join(place, "report.json"), reportJson(report));
        return place;
      })
    )
  );
}
