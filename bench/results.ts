/** Results as a table for people and as files for programs. */

import { join } from "node:path";
import { makeFolder, writeFileAtomic } from "../src/formats/atomic.ts";
import { ROOT } from "../src/native/setup/sources.ts";
import { columns, figures, percent, words } from "../src/report/columns.ts";
import { spread } from "./alternate.ts";
import type { Target } from "./contestant.ts";
import type { Provenance } from "./machine.ts";
import type { Row } from "./measure.ts";

/** Where results are committed. */
export const RESULTS = join(ROOT, "bench", "results");

/** What one benchmark found. */
export interface BenchmarkResult extends Provenance {
  readonly schema: 1;
  readonly benchmark: string;
  readonly date: string;
  readonly threads: number;
  readonly rounds: number;
  readonly quick: boolean;
  readonly rows: readonly Row[];
}

/** Four significant figures at most, thousands set apart. */
export function rounded(value: number): string {
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(4)));
}

/** Whether a row reaches its target; undefined where that cannot be told. */
export function reaches({ target, ratio, ours }: Row): boolean | undefined {
  switch (target?.kind) {
    case "ratio":
      return ratio && ratio.median >= target.least;
    case "share":
      return ratio && 1 / ratio.median <= target.most;
    case "figure":
      return ours.median <= target.most;
  }
}

function targetText(target: Target | undefined, unit: string): string {
  switch (target?.kind) {
    case "ratio":
      return `>= ${target.least}x`;
    case "share":
      return `<= ${target.most} of it`;
    case "figure":
      return `<= ${target.most} ${unit}`;
    default:
      return "";
  }
}

function rowText(row: Row): string[] {
  const { name, unit, ours, peer, ratio, target, ceiling } = row;
  const verdict = { true: "yes", false: "no", undefined: "" }[`${reaches(row)}`];
  return [
    name,
    `${rounded(ours.median)} ${unit}`,
    peer?.name ?? "",
    peer ? rounded(peer.median) : "",
    ratio ? `${ratio.median.toFixed(2)}x` : "",
    targetText(target, unit),
    verdict,
    ceiling ? percent(ceiling.share, 1) : "",
    percent(spread(ratio ?? ours), 1),
  ];
}

/** One table of all rows. */
export function resultTable(results: readonly BenchmarkResult[]): string {
  const heads = [
    words("work"),
    figures("ours"),
    words("against"),
    figures("theirs"),
    figures("ratio"),
    figures("target"),
    words("reached"),
    figures("of ceiling"),
    figures("spread"),
  ];
  const rows = results.flatMap((result) => result.rows.map(rowText));
  return columns({ heads, rows }).join("\n");
}

/** Writes `<folder>/<date>-<benchmark>.json` and returns its path. */
export async function writeResult(folder: string, result: BenchmarkResult): Promise<string> {
  await makeFolder(folder);
  const path = join(folder, `${result.date.slice(0, 10)}-${result.benchmark}.json`);
  await writeFileAtomic(path, `${JSON.stringify(result, null, 2)}\n`);
  return path;
}
