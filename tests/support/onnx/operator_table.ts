/**
 * The README's section on ONNX operators, made of the importer's own tables and of what the ONNX
 * project's node tests come to. Run as a program, it writes the section; a test holds the README
 * to it.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import process from "node:process";
import { writeFileAtomic } from "../../../src/formats/atomic.ts";
import { FOLDED_OPERATORS } from "../../../src/formats/onnx/fold/fold.ts";
import {
  IMPORTED_OPERATORS,
  PARTIAL_OPERATORS,
} from "../../../src/formats/onnx/import/operators/table.ts";
import { dataFolder } from "../data.ts";
import { type NodeTestResult, runNodeTests } from "./node_tests.ts";

const README = fileURLToPath(new URL("../../../README.md", import.meta.url));
const BEGIN = "<!-- ONNX operators: written by `deno task docs` -->";
const END = "<!-- end of ONNX operators -->";

/** Kinds of reasons for which tests are skipped, the first that fits. */
const REASONS: readonly (readonly [string, RegExp])[] = [
  [
    "an operator that is read only as part of an activation or of a layer norm",
    new RegExp(`^the operator (${PARTIAL_OPERATORS.join("|")})$`),
  ],
  ["an operator that is not imported", /^the operator /],
  [
    "axes that are not [batch, channels, height, width] or [batch, features]",
    /but it has \d+ axes/,
  ],
  ["a log-softmax that no classifier ends in", /^LogSoftmax, which/],
  ["a layer norm that is not over the channels", /^LayerNormalization, which normalises/],
  ["an output that no layer has", /, which has its output "[^"]*" used$/],
  ["resizing that is neither nearest nor linear", /^Resize, which/],
  ["an input that is no tensor", /^(tensor|has) "" of /],
  ["a constant that does not fit a layer", /^(Gemm|MatMul), which/],
  ["an attribute that no layer has", /^(Pad|Gemm|casts)/],
];

/** Why tests were skipped -> how many. */
function skippedByReason(results: readonly NodeTestResult[]): Map<string, number> {
  const reasons = new Map<string, number>();
  for (const { skipped } of results.filter(({ ran }) => ran.length === 0)) {
    const known = REASONS.find(([, pattern]) => pattern.test(skipped!));
    const reason = known?.[0] ?? skipped!;
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  }
  return reasons;
}

/** What becomes of an operator: a layer, a part of one, a constant. */
function uses(op: string): string {
  return [
    ...(IMPORTED_OPERATORS.includes(op) ? ["layer"] : []),
    ...(PARTIAL_OPERATORS.includes(op) ? ["part of a layer"] : []),
    ...(FOLDED_OPERATORS.includes(op) ? ["constant"] : []),
  ].join(", ");
}

/** The section, from what the node tests came to. */
export function operatorSection(results: readonly NodeTestResult[]): string {
  const operators = [
    ...new Set([...IMPORTED_OPERATORS, ...PARTIAL_OPERATORS, ...FOLDED_OPERATORS]),
  ].sort();
  const passed = (way: "layer" | "folded", op?: string) =>
    results.filter((each) => each.ran.includes(way) && (op === undefined || each.op === op)).length;
  const skipped = (op: string) =>
    results.filter((each) => each.op === op && each.ran.length === 0).length;
  const count = (number: number) => number === 0 ? "" : String(number);
  const rows = operators.map((op) =>
    `| ${op} | ${uses(op)} | ${count(passed("layer", op))} | ${count(passed("folded", op))} | ${
      count(skipped(op))
    } |`
  );
  const reasons = [...skippedByReason(results)].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  const all = reasons.reduce((sum, [, number]) => sum + number, 0);
  return [
    BEGIN,
    "",
    `${IMPORTED_OPERATORS.length} ONNX operators are read as layers, ${PARTIAL_OPERATORS.length} ` +
    `more as parts of one (GELU, hard-swish, layer norm and so on are recognised by what their ` +
    `nodes compute), and ${FOLDED_OPERATORS.length} are computed while a model is read where all ` +
    `they read is constant. Of the ONNX project's own tests of these and other operators ` +
    `(${results.length}), ${passed("layer")} pass as layers and ${
      passed("folded")
    } as constants; ` +
    `${all} are skipped:`,
    "",
    ...reasons.map(([reason, number]) => `- ${number}: ${reason}`),
    "",
    "<details><summary>Operator by operator</summary>",
    "",
    "| operator | read as | tests as layers | tests as constants | skipped |",
    "|---|---|--:|--:|--:|",
    ...rows,
    "",
    "</details>",
    "",
    END,
  ].join("\n");
}

/** The README, and the section that it has. */
export function readmeSection(): { text: string; section: string | undefined } {
  const text = readFileSync(README, "utf8");
  const begin = text.indexOf(BEGIN), end = text.indexOf(END);
  const section = begin < 0 || end < begin ? undefined : text.slice(begin, end + END.length);
  return { text, section };
}

async function main(): Promise<void> {
  const data = dataFolder();
  if (data === undefined) throw new Error("The folder of the node tests is not there.");
  const made = operatorSection(await runNodeTests(join(data, "onnx-node-tests")));
  const { text, section } = readmeSection();
  if (section === undefined) throw new Error(`README.md lacks its markers ${BEGIN} and ${END}.`);
  await writeFileAtomic(README, text.replace(section, () => made));
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) await main();
