/** Reports of finished runs, read back from their folders. */

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { reasonOf, SecateurError } from "../../errors.ts";
import { REPORT_SCHEMA } from "../json.ts";

const ACCURACY = z.array(z.object({ set: z.string(), loss: z.number(), top1: z.number() }));
const COST = z.object({ macs: z.number(), parameters: z.number() });
const TIMING = z.object({ median: z.number() });

/** What of report.json is read here. */
const REPORT = z.object({
  schema: z.literal(REPORT_SCHEMA),
  started: z.string(),
  seed: z.number(),
  options: z.record(z.string(), z.unknown()),
  model: z.object({ name: z.string(), source: z.string() }),
  data: z.object({ spec: z.string() }),
  dtype: z.string(),
  results: z.object({
    budget: z.object({ kind: z.enum(["flops", "parameters", "latency"]), asked: z.number() }),
    cost: z.object({ before: COST, after: COST }),
    written: z.object({ step: z.string() }),
    accuracy: z.record(z.string(), ACCURACY),
    latency: z.array(z.object({ batch: z.number(), original: TIMING, pruned: TIMING })),
  }),
});

/** Accuracy on the pictures that served choices, and on those that are for reporting alone. */
export interface Top1 {
  readonly heldOut: number;
  readonly test: number;
}

/** One finished run. */
export interface RunRow {
  /** Folder of its report. */
  readonly folder: string;
  readonly started: string;
  readonly seed: number;
  readonly options: Readonly<Record<string, unknown>>;
  readonly model: string;
  /** Where its weights came from. */
  readonly source: string;
  readonly data: string;
  readonly dtype: string;
  readonly budget: { readonly kind: "flops" | "parameters" | "latency"; readonly asked: number };
  readonly macs: number;
  readonly parameters: number;
  /** The same of the original. */
  readonly original: Readonly<{ macs: number; parameters: number; top1: Top1 }>;
  readonly top1: Top1;
  /** Milliseconds of a pass of so many pictures. */
  readonly latency: readonly Readonly<{ batch: number; original: number; pruned: number }>[];
}

function top1Of(figures: z.infer<typeof ACCURACY>): Top1 {
  const of = (set: string) => figures.find((found) => found.set === set)?.top1;
  const heldOut = of("held-out") ?? of("test");
  if (heldOut === undefined) throw new Error("it holds no accuracy");
  return { heldOut, test: of("test") ?? heldOut };
}

/** The run of a report's text. Throws where it is none. */
export function parseRun(folder: string, text: string): RunRow {
  const { started, seed, options, model, data, dtype, results } = REPORT.parse(JSON.parse(text));
  const { budget, cost, written, accuracy, latency } = results;
  const step = (name: string) => top1Of(accuracy[name] ?? []);
  return {
    ...{ folder, started, seed, options, dtype, budget },
    model: model.name,
    source: model.source,
    data: data.spec,
    ...cost.after,
    original: { ...cost.before, top1: step("original") },
    top1: step(written.step),
    latency: latency.map(({ batch, original, pruned }) => ({
      batch,
      original: original.median,
      pruned: pruned.median,
    })),
  };
}

/** Folders below which reports are looked for no further. */
const DEEPEST = 6;
const REPORT_FILE = "report.json";
/** Folders that hold no reports of runs. */
const PASSED_OVER = new Set(["run", "node_modules"]);

async function reportsBelow(folder: string, depth: number): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const found = entries.some((entry) => entry.isFile() && entry.name === REPORT_FILE)
    ? [folder]
    : [];
  if (depth === 0) return found;
  const folders = entries.filter((entry) =>
    entry.isDirectory() && !entry.name.startsWith(".") && !PASSED_OVER.has(entry.name)
  ).map(({ name }) => name).sort();
  for (const name of folders) found.push(...await reportsBelow(join(folder, name), depth - 1));
  return found;
}

/**
 * The runs whose reports lie in a folder or below it; `onUnreadable` is told of reports that are none.
 * @throws SecateurError `file-missing` for a folder that cannot be read.
 */
export async function readRuns(
  folder: string,
  onUnreadable: (sentence: string) => void,
): Promise<RunRow[]> {
  let places: string[];
  try {
    places = await reportsBelow(folder, DEEPEST);
  } catch (thrown) {
    throw new SecateurError(
      "file-missing",
      `${folder}: expected a folder with finished runs, but it cannot be read (${
        reasonOf(thrown)
      }); check the path.`,
      { cause: thrown },
    );
  }
  const runs: RunRow[] = [];
  for (const place of places) {
    const path = join(place, REPORT_FILE);
    try {
      runs.push(parseRun(place, await readFile(path, "utf8")));
    } catch {
      onUnreadable(
        `${path}: expected the report of a run, schema ${REPORT_SCHEMA}, but it is none; it is left out.`,
      );
    }
  }
  return runs;
}
