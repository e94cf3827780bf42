/** The report as a file for programs. */

import type { Report } from "./report.ts";

/** Number of the layout of report.json; it grows when a reader would have to change. */
export const REPORT_SCHEMA = 2;

/** report.json: provenance, model, input, data, and under `results` what the run found. */
export function reportJson(report: Report): string {
  const { provenance, model, input, data, dtype, results } = report;
  const json = { schema: REPORT_SCHEMA, ...provenance, model, input, data, dtype, results };
  return `${JSON.stringify(json, null, 2)}\n`;
}
