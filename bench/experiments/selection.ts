/**
 * Does it matter which channels go? One set of widths for a budget, several ways to choose the
 * channels, several seeds; held-out loss right after the cut, before compensation and fine-tuning.
 *
 *   deno run -A bench/experiments/selection.ts --weights FILE --model resnet56 \
 *     --data imagefolder:TAR --out bench/results/selection.json [--pairs 4] [--calibration 128]
 *     [--worth loss|probability] [--store FOLDER]
 *
 * Every seed draws its own calibration pictures and permutations, and its own random channels:
 * several draws, whose mean is that seed's figure, because a draw takes a pass over the held-out
 * pictures while Shapley values take hundreds. With --store, samples are kept and gone on from.
 */

import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { concentrate, concentrationOf } from "../../src/concentration/concentration.ts";
import { solveShares } from "../../src/ratios/shares.ts";
import { measureSites } from "../../src/concentration/statistics.ts";
import { calibrationSet } from "../../src/data/batches/calibration.ts";
import { normalisations } from "../../src/data/dataset.ts";
import { prunableGroups } from "../../src/graph/channels.ts";
import { cutGraph } from "../../src/graph/cut.ts";
import { resolveDtype } from "../../src/native/loaded_model.ts";
import type { Criterion } from "../../src/pruning/options.ts";
import { removalsBy, shapleyOf } from "../../src/pruning/select.ts";
import { StageStore } from "../../src/pruning/store.ts";
import type { Worth } from "../../src/shapley/game.ts";
import { evaluate } from "../../src/training/evaluate.ts";
import { openSetting, SETTING_OPTIONS, sweepBatches, writeExperiment } from "./setting.ts";

const CRITERIA: readonly Criterion[] = ["shapley", "l1", "random", "reversed-shapley"];

/** Keeps the random draws of one seed apart from those of the next. */
const DRAWS_APART = 1000;

const { values: args } = parseArgs({
  options: {
    ...SETTING_OPTIONS,
    "cut-flops": { type: "string", default: "0.455" },
    pairs: { type: "string", default: "4" },
    calibration: { type: "string", default: "128" },
    seeds: { type: "string", default: "3" },
    "random-draws": { type: "string", default: "8" },
    worth: { type: "string", default: "loss" },
    store: { type: "string" },
  },
});
const normalisation = normalisations.imagenet;
const setting = await openSetting(args);
const { graph, training, heldOut } = setting;
const groups = prunableGroups(graph, "all");
const budget = { kind: "flops", cut: Number(args["cut-flops"]) } as const;
const sites = await measureSites(graph, groups, calibrationSet(training, 2048, 1, "statistics"), {
  normalisation,
});
const concentration = concentrationOf(graph, groups, concentrate(sites));
const widths = solveShares(graph, groups, concentration.map((one) => one.concentration), {
  budget,
});
const uniform = solveShares(graph, groups, groups.map(() => 1), { budget });

interface Row {
  readonly seed: number;
  readonly ratios: "concentration" | "uniform";
  readonly criterion: Criterion;
  readonly loss: number;
  readonly top1: number;
}
const rows: Row[] = [];

/** Cuts to `kept` by a criterion; its own seeds are the draws that the row is the mean of. */
async function measure(
  seed: number,
  ratios: Row["ratios"],
  criterion: Criterion,
  kept: readonly number[],
  estimates: Awaited<ReturnType<typeof shapleyOf>>,
) {
  const draws = criterion === "random" ? Number(args["random-draws"]) : 1;
  let loss = 0;
  let top1 = 0;
  for (let draw = 0; draw < draws; draw++) {
    const drawn = seed + DRAWS_APART * draw;
    const removals = removalsBy(criterion, graph, groups, kept, drawn, estimates);
    const measured = await evaluate(cutGraph(graph, removals), heldOut, { normalisation });
    loss += measured.loss / draws;
    top1 += measured.top1 / draws;
  }
  rows.push({ seed, ratios, criterion, loss, top1 });
  console.log(seed, ratios, criterion, loss.toFixed(4), `${(100 * top1).toFixed(2)}%`);
}

const original = await evaluate(graph, heldOut, { normalisation });
const seconds: number[] = [];
const folder = args.store ?? await mkdtemp(join(tmpdir(), "selection-"));
for (let seed = 1; seed <= Number(args.seeds); seed++) {
  const batches = sweepBatches(setting, Number(args.calibration), seed);
  const settings = JSON.stringify([
    args.weights,
    args.data,
    args.pairs,
    args.calibration,
    args.worth,
  ]);
  const store = await StageStore.open(join(folder, `seed-${seed}`), settings, true);
  const started = performance.now();
  const estimates = await shapleyOf(
    graph,
    groups,
    widths.kept,
    batches,
    store,
    { seed, pairs: Number(args.pairs), worth: args.worth as Worth },
  );
  seconds.push((performance.now() - started) / 1000);
  for (const criterion of CRITERIA) {
    await measure(seed, "concentration", criterion, widths.kept, estimates);
  }
  for (const criterion of ["shapley", "l1"] as const) {
    await measure(seed, "uniform", criterion, uniform.kept, estimates);
  }
}

/** Mean and standard error over the seeds. */
function summary(ratios: Row["ratios"], criterion: Criterion) {
  const losses = rows.filter((row) => row.ratios === ratios && row.criterion === criterion)
    .map((row) => row.loss);
  const mean = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
  const squares = losses.reduce((sum, loss) => sum + (loss - mean) ** 2, 0);
  return { mean, error: Math.sqrt(squares / Math.max(1, losses.length - 1) / losses.length) };
}

const result = {
  what: "held-out loss right after the cut, by how channels were chosen",
  ...setting.about,
  heldOut: heldOut.count,
  budget,
  kept: Object.fromEntries(groups.map((group, i) => [group.name, widths.kept[i]])),
  pairs: Number(args.pairs),
  calibration: Number(args.calibration),
  worth: args.worth,
  randomDraws: Number(args["random-draws"]),
  original: { loss: original.loss, top1: original.top1 },
  rows,
  summary: [
    ...CRITERIA.map((criterion) => ({
      ratios: "concentration",
      criterion,
      ...summary("concentration", criterion),
    })),
    ...(["shapley", "l1"] as const).map((criterion) => ({
      ratios: "uniform",
      criterion,
      ...summary("uniform", criterion),
    })),
  ],
  shapleySeconds: seconds,
  dtype: resolveDtype(),
};
await writeExperiment(setting.out, result);
console.log(result.summary);
