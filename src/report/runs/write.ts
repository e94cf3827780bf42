/** Many runs as files: a page, CSV and JSON. */

import { join } from "node:path";
import { makeFolder, writeFileAtomic } from "../../formats/atomic.ts";
import { configurationsOf, type Problem, problemsOf } from "./configurations.ts";
import { runsCsv, runsJson } from "./files.ts";
import { runsPage } from "./page.ts";
import type { RunRow } from "./read.ts";

/** Names of the files in their folder. */
export const RUNS_FILES = { page: "runs.html", csv: "runs.csv", json: "runs.json" } as const;

/** Writes all three. Throws "file-unwritable". */
export async function writeRuns(
  folder: string,
  runs: readonly RunRow[],
): Promise<readonly Problem[]> {
  const problems = problemsOf(configurationsOf(runs));
  await makeFolder(folder);
  await writeFileAtomic(join(folder, RUNS_FILES.csv), runsCsv(problems));
  await writeFileAtomic(join(folder, RUNS_FILES.json), runsJson(problems));
  await writeFileAtomic(join(folder, RUNS_FILES.page), runsPage(problems, folder));
  return problems;
}
