/** The report as text for a terminal. */

import { columns, count, percent } from "./columns.ts";
import type { Report, Results } from "./report.ts";
import { accuracyTable, groupTable, latencyTable, layerTable } from "./tables.ts";

/** One sentence: how close the cut came to the budget. */
export function budgetSentence({ budget }: Results): string {
  const { kind, asked, original, reached, gap, step } = budget;
  const what = kind === "flops" ? "MACs" : "parameters";
  const room = Number.isFinite(step) ? `, where one channel step is ${count(step)}` : "";
  return `Budget: ${percent(asked)} of the ${what} asked, ${percent(1 - reached / original)} ` +
    `removed; ${count(gap)} ${what} below the limit${room}.`;
}

/** What was asked of single groups, as further sentences; empty where nothing was. */
export function constraintsSentence({ constraints: { keep, maxRatio } }: Results): string {
  const caps = Object.entries(maxRatio).map(([name, share]) => `${name} (${percent(share)})`);
  return [
    ...(keep.length > 0 ? [` Left whole, as asked: ${keep.join(", ")}.`] : []),
    ...(caps.length > 0 ? [` Cut at most so far, as asked: ${caps.join(", ")}.`] : []),
  ].join("");
}

/** One sentence: what the surgery check found. */
export function checkSentence({ check }: Results): string {
  const relative = (value: number) => (value / check.scale).toExponential(1);
  return `Surgery check: masked and cut model differ by ${relative(check.maxError)} of the ` +
    `largest output (allowed ${check.tolerance.toExponential(0)}), while the cut moved outputs ` +
    `by ${relative(check.changed)}.`;
}

/** The whole report as tables for the terminal. */
export function reportTable({ results }: Report): string {
  const tables = [
    layerTable(results),
    groupTable(results.groups),
    accuracyTable(results.accuracy),
    latencyTable(results.latency),
  ].filter((table) => table.rows.length > 0);
  return [
    ...tables.flatMap((table) => [...columns(table), ""]),
    budgetSentence(results) + constraintsSentence(results),
    checkSentence(results),
  ].join("\n");
}
