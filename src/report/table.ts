/** The report as text for a terminal. */

import { columns, count, percent } from "./columns.ts";
import type { LatencyOutcome, PassTimes } from "../latency/outcome.ts";
import type { Report, Results } from "./report.ts";
import { epochName, trainingSentences } from "./training.ts";
import { accuracyTable, groupTable, latencyTable, layerTable, STEP_NAMES } from "./tables.ts";

/** One sentence: how close the cut came to the budget. */
export function budgetSentence({ budget }: Results): string {
  const { kind, asked, original, reached, gap, step, alsoParameters: also, times } = budget;
  if (times !== undefined) return timeSentence(asked, times);
  const gone = percent(1 - reached / original);
  if (also !== undefined) {
    return `Budget: ${percent(asked)} of the MACs and ${percent(also.asked)} of the parameters ` +
      `asked, ${gone} and ${percent(1 - also.reached / also.original)} removed.`;
  }
  const what = kind === "flops" ? "MACs" : "parameters";
  const room = Number.isFinite(step) ? `, where one channel step is ${count(step)}` : "";
  return `Budget: ${percent(asked)} of the ${what} asked, ${gone} ` +
    `removed; ${count(gap)} ${what} below the limit${room}.`;
}

/** What was asked of passes' time, predicted of it and measured: "Budget: 40.00% of the time ...". */
function timeSentence(
  asked: number,
  { runtime, predicted, measured, corrections }: LatencyOutcome,
): string {
  const gone = ({ original, cut }: PassTimes) => percent(1 - cut / original);
  const found = measured === undefined
    ? "not measured, as the table is of another machine or another version"
    : `${gone(measured)} measured: ${measured.original.toFixed(3)} ms a pass before, ` +
      `${measured.cut.toFixed(3)} ms after`;
  const again = ["", " Widths were corrected once.", " Widths were corrected twice."][corrections];
  return `Budget: ${percent(asked)} of the time in ${runtime} asked, ${
    gone(predicted)
  } predicted ` +
    `from its layers, ${found}.${again}`;
}

/** What was asked of single groups, as further sentences; empty where nothing was. */
export function constraintsSentence({ constraints: { keep, maxRatio } }: Results): string {
  const caps = Object.entries(maxRatio).map(([name, share]) => `${name} (${percent(share)})`);
  return [
    ...(keep.length > 0 ? [` Left whole, as asked: ${keep.join(", ")}.`] : []),
    ...(caps.length > 0 ? [` Cut at most so far, as asked: ${caps.join(", ")}.`] : []),
  ].join("");
}

/** A share of the largest output: 4.2, 0.0012, 3.1e-7, 0. */
function shareText(share: number): string {
  return share === 0 || share >= 0.001
    ? String(Number(share.toPrecision(2)))
    : share.toExponential(1);
}

/** What the surgery check found. */
export function checkSentence({ check }: Results): string {
  const relative = (value: number) => shareText(value === 0 ? 0 : value / check.scale);
  const equal =
    `Surgery check: masked and cut model differ by ${relative(check.maxError)} of the ` +
    `largest output (allowed ${check.tolerance.toExponential(0)})`;
  const moved = `the cut moved outputs by ${relative(check.changed)}`;
  const { proof, probeChanged = 0 } = check;
  if (proof === undefined) return `${equal}, while ${moved}.`;
  if (proof === "construction") {
    return `${equal}; ${moved}, as nothing leads from the channels that went to an output.`;
  }
  const where = proof === "revived" ? "in the channels that went" : "throughout";
  return `${equal}; ${moved}, as the channels that went did next to nothing, so the check was ` +
    `repeated with random weights ${where}, which moved outputs by ${shareText(probeChanged)}.`;
}

/** Which weights were written, and what fine-tuning had to do with it. */
export function writtenSentence({ written: { step, epoch }, training }: Results): string {
  const { pruned, outcome } = training;
  const notes = trainingSentences(pruned, outcome);
  const untrained = notes.length > 0 ? "" : ", as nothing was fine-tuned";
  const which = epoch === undefined
    ? `the weights ${STEP_NAMES[step]}${untrained}`
    : `the weights of ${epochName({ ...outcome?.best, epoch }, pruned.length)}, the best on ` +
      `held-out pictures`;
  return [`pruned.onnx and pruned.safetensors hold ${which}.`, ...notes].join(" ");
}

/** How much more of its time than of its FLOPs a pass may keep before that is worth a sentence. */
const LAG = 0.1;

/**
 * One sentence where measured time did not follow FLOPs, and what to try; undefined where it did, or
 * where the quartiles lie too far apart to tell, as on a machine busy with other work.
 */
export function latencySentence({ latency, cost }: Results): string | undefined {
  const widest = latency.at(-1);
  if (widest === undefined) return undefined;
  const time = widest.pruned.median / widest.original.median;
  const work = cost.after.macs / cost.before.macs;
  const least = widest.pruned.low / widest.original.high;
  if (time <= work + LAG || least <= work + LAG) return undefined;
  return `Time did not follow FLOPs: ${percent(work)} of the FLOPs stay, but ${percent(time)} of ` +
    `the time of a pass over ${widest.batch} pictures. Processors compute channels in blocks: ` +
    `--round-to 8 or 16 keeps whole ones, and layers too small to fill them gain nothing.`;
}

/** The whole report as tables for the terminal. */
export function reportTable({ results }: Report): string {
  const tables = [
    layerTable(results),
    groupTable(results.groups),
    accuracyTable(results),
    latencyTable(results.latency),
  ].filter((table) => table.rows.length > 0);
  const latency = latencySentence(results);
  return [
    ...tables.flatMap((table) => [...columns(table), ""]),
    budgetSentence(results) + constraintsSentence(results),
    checkSentence(results),
    writtenSentence(results),
    ...(latency === undefined ? [] : [latency]),
  ].join("\n");
}
