/** The figures of many runs for programs: a row of CSV a run, and JSON of everything the page shows. */

import { join, relative, sep } from "node:path";
import { stringifyCsv } from "../../std.ts";
import { bestPerBudget, type Configuration, type Problem } from "./configurations.ts";
import type { RunRow } from "./read.ts";

/** Number of the layout of runs.json. */
export const RUNS_SCHEMA = 1;

/** A run's report as a link from the page's folder. */
export function linkTo(from: string, { folder }: RunRow): string {
  const path = relative(from, join(folder, "report.html")).split(sep);
  return path.map((part) => encodeURIComponent(part)).join("/");
}

/** A run's figures under their names. */
function flat(run: RunRow, { series, model }: Configuration): Record<string, string | number> {
  const { options, budget, original, top1, latency } = run;
  return {
    folder: run.folder,
    model,
    data: run.data,
    series,
    budget: budget.kind,
    cut: budget.asked,
    criterion: String(options.criterion),
    ratios: String(options.ratios),
    seed: run.seed,
    epochs: Number(options.epochs),
    dtype: run.dtype,
    macs: run.macs,
    macsBefore: original.macs,
    parameters: run.parameters,
    parametersBefore: original.parameters,
    top1HeldOut: top1.heldOut,
    top1Test: top1.test,
    top1TestBefore: original.top1.test,
    ...Object.fromEntries(latency.flatMap(({ batch, original: before, pruned }) => [
      [`millisecondsBatch${batch}`, pruned],
      [`millisecondsBatch${batch}Before`, before],
    ])),
    started: run.started,
  };
}

const rowsOf = (problems: readonly Problem[]) =>
  problems.flatMap(({ configurations }) =>
    configurations.flatMap((configuration) =>
      configuration.runs.map((run) => flat(run, configuration))
    )
  );

/** runs.csv. */
export function runsCsv(problems: readonly Problem[]): string {
  const rows = rowsOf(problems);
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return stringifyCsv(rows, { columns });
}

function configurationJson(configuration: Configuration): object {
  const { series, budget, runs, heldOut, test, macs, parameters, latency } = configuration;
  return {
    ...{ series, budget, seeds: runs.map(({ seed }) => seed), heldOut, test, macs, parameters },
    latency: Object.fromEntries(latency),
    folders: runs.map(({ folder }) => folder),
  };
}

/** runs.json. */
export function runsJson(problems: readonly Problem[]): string {
  const json = {
    schema: RUNS_SCHEMA,
    problems: problems.map(({ model, data, configurations }) => ({
      ...{ model, data },
      configurations: configurations.map(configurationJson),
      best: bestPerBudget(configurations).map(configurationJson),
    })),
    runs: rowsOf(problems),
  };
  return `${JSON.stringify(json, null, 1)}\n`;
}
