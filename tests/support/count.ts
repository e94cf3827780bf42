/**
 * Prints `N passed, N failed, N skipped` for a JUnit report of `deno test`. Fails when no test
 * ran, or when there is no report.
 */

import { existsSync, readFileSync } from "node:fs";
import process from "node:process";

/** Every test case of a report: its full name, and how it ended. */
function casesOf(report: string): { name: string; outcome: "passed" | "failed" | "skipped" }[] {
  const cases = report.matchAll(
    /<testcase name="([^"]*)"[^>]*?(?:\/>|>([\s\S]*?)<\/testcase>)/g,
  );
  return [...cases].map(([, name = "", body = ""]) => ({
    name,
    outcome: /<(failure|error)\b/.test(body)
      ? "failed"
      : /<skipped\b/.test(body)
      ? "skipped"
      : "passed",
  }));
}

const path = process.argv[2] ?? "";
const cases = existsSync(path) ? casesOf(readFileSync(path, "utf8")) : [];
// Suites are listed as cases too; a suite is a name that others start with.
const suites = new Set<string>();
for (const { name } of cases) {
  const levels = name.split(" &gt; ");
  for (let depth = 1; depth < levels.length; depth++) {
    suites.add(levels.slice(0, depth).join(" &gt; "));
  }
}
const count = (outcome: string) =>
  cases.filter((test) => test.outcome === outcome && !suites.has(test.name)).length;
const [passed, failed, skipped] = ["passed", "failed", "skipped"].map(count) as [
  number,
  number,
  number,
];
console.log(`${passed} passed, ${failed} failed` + (skipped > 0 ? `, ${skipped} skipped` : ""));
if (passed === 0) process.exitCode = 1;
