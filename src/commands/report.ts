/** `report`: many runs on one page. */

import { join } from "node:path";
import { SecateurError } from "../errors.ts";
import { columns, figures, percent, words } from "../report/columns.ts";
import { bestPerBudget, type Problem } from "../report/runs/configurations.ts";
import { readRuns, type RunRow } from "../report/runs/read.ts";
import { RUNS_FILES, writeRuns } from "../report/runs/write.ts";
import { REPORT_OPTIONS } from "./options/report.ts";
import { parseOptions } from "./options/parse.ts";
import { openConsole } from "./terminal/console.ts";

/** Runs the command with commander's options; its operands are folders with runs in them or below. */
export async function runReport(raw: Readonly<Record<string, unknown>>): Promise<void> {
  const { out, json } = parseOptions(REPORT_OPTIONS, raw);
  const folders = raw.operands as string[];
  const console = openConsole(json);
  if (folders.length === 0) {
    throw new SecateurError(
      "option-invalid",
      "Expected folders with finished runs, as in: report sweep; those of batch and prune will do.",
    );
  }
  const found = new Map<string, RunRow>();
  for (const folder of folders) {
    const runs = await readRuns(folder, (sentence) => console.warn(sentence));
    for (const run of runs) found.set(run.folder, run);
  }
  if (found.size === 0) {
    throw new SecateurError(
      "data-empty",
      `Expected finished runs in or below ${folders.join(", ")}, but there is no report.json.`,
    );
  }
  const place = out ?? folders[0];
  const problems = await writeRuns(place, [...found.values()]);
  const written = Object.values(RUNS_FILES).map((name) => join(place, name));
  console.result({ runs: found.size, written });
  console.text(...bestTable(problems), `Written: ${written.join(", ")}`);
  console.close();
}

/** The best configuration of every budget. */
function bestTable(problems: readonly Problem[]): string[] {
  const rows = problems.flatMap(({ model, configurations }) =>
    bestPerBudget(configurations).map(({ budget, series, runs, heldOut, test }) => [
      ...[model, `${budget.kind} ${percent(budget.asked, 1)}`, series, String(runs.length)],
      ...[percent(heldOut.mean), percent(test.mean), percent(test.deviation)],
    ])
  );
  return columns({
    heads: [
      ...[words("model"), words("cut"), words("best by"), figures("seeds")],
      ...[figures("held-out"), figures("test"), figures("deviation")],
    ],
    rows,
  });
}
