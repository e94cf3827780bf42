/** Profiles as a table, as data, and as a Chrome trace. */

import { columns, figures, percent, words } from "../src/report/columns.ts";
import type { Provenance } from "./machine.ts";
import type { EntryProfile, InstructionCost } from "./profile.ts";
import { rounded } from "./results.ts";

/** What instructions take together, in one run. */
interface Cost {
  /** How many instructions. */
  readonly count: number;
  /** Summed over threads. */
  readonly milliseconds: number;
  /** Of all instructions' time. */
  readonly share: number;
  /** 10^9 operations a second of one thread; undefined where no arithmetic is counted. */
  readonly gflops?: number;
  /** 10^9 bytes a second of one thread. */
  readonly gigabytes?: number;
}

function costOf(instructions: readonly InstructionCost[], spent: number): Cost {
  const sum = (of: (one: InstructionCost) => number) =>
    instructions.reduce((total, one) => total + of(one), 0);
  const milliseconds = sum((one) => one.milliseconds);
  const macs = sum((one) => one.macs), bytes = sum((one) => one.bytes);
  const giga = (count: number) => count / milliseconds / 1e6;
  return {
    count: instructions.length,
    milliseconds,
    share: milliseconds / spent,
    ...(macs > 0 && milliseconds > 0 ? { gflops: giga(2 * macs) } : {}),
    ...(bytes > 0 && milliseconds > 0 ? { gigabytes: giga(bytes) } : {}),
  };
}

/** A profile added up, the most expensive first. */
export interface ProfileSummary {
  readonly title: string;
  readonly threads: number;
  /** Of one run, as the clock on the wall saw it. */
  readonly milliseconds: number;
  /** Share of the threads' time in which instructions ran. */
  readonly busy: number;
  readonly operations: readonly (Cost & { readonly op: string })[];
  /** The most expensive single instructions. */
  readonly instructions: readonly (Cost & { readonly op: string; readonly layer: string })[];
}

/** Adds up a profile by operation, and picks the `longest` most expensive instructions. */
export function summaryOf(profile: EntryProfile, longest = 40): ProfileSummary {
  const { title, threads, milliseconds, instructions } = profile;
  const spent = instructions.reduce((total, one) => total + one.milliseconds, 0);
  const operations = [...new Set(instructions.map(({ op }) => op))]
    .map((op) => ({ op, ...costOf(instructions.filter((one) => one.op === op), spent) }))
    .sort((a, b) => b.milliseconds - a.milliseconds);
  const single = instructions.toSorted((a, b) => b.milliseconds - a.milliseconds)
    .slice(0, longest)
    .map((one) => ({ op: one.op, layer: one.layer, ...costOf([one], spent) }));
  const busy = spent / milliseconds / threads;
  return { title, threads, milliseconds, busy, operations, instructions: single };
}

function costCells({ milliseconds, share, gflops, gigabytes }: Cost): string[] {
  const rate = (value: number | undefined) => value === undefined ? "" : rounded(value);
  return [milliseconds.toFixed(3), percent(share, 1), rate(gflops), rate(gigabytes)];
}

/** A profile as text: what each operation costs, then the most expensive instructions. */
export function profileTable(profile: EntryProfile, longest = 40): string {
  const { title, threads, milliseconds, busy, operations, instructions } = summaryOf(
    profile,
    longest,
  );
  const cost = [figures("ms"), figures("share"), figures("GFLOP/s"), figures("GB/s")];
  return [
    `${title}: ${rounded(milliseconds)} ms a run on ${threads} threads, which were busy ` +
    `${percent(busy, 1)} of it; times below are summed over threads, rates are those of one ` +
    "thread.",
    "",
    ...columns({
      heads: [words("operation"), figures("count"), ...cost],
      rows: operations.map((one) => [one.op, String(one.count), ...costCells(one)]),
    }),
    "",
    ...columns({
      heads: [words("operation"), words("layer"), ...cost],
      rows: instructions.map((one) => [one.op, one.layer, ...costCells(one)]),
    }),
  ].join("\n");
}

/** What `--profile` writes beside the trace: the table's figures. */
export interface ProfileResult extends Provenance {
  readonly schema: 1;
  readonly benchmark: "profile";
  readonly date: string;
  readonly quick: boolean;
  readonly profiles: readonly ProfileSummary[];
}

/** Four significant digits, which is more than a clock is worth; JSON stays readable. */
export function profileText(result: ProfileResult): string {
  const short = (_key: string, value: unknown) =>
    typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value;
  return `${JSON.stringify(result, short, 2)}\n`;
}

/**
 * Profiles in Chrome's trace event format (chrome://tracing, Perfetto): a track an entry, on which
 * instructions lie one after the other with their time divided by the threads.
 */
export function traceOf(profiles: readonly EntryProfile[]): object {
  const traceEvents: object[] = [];
  profiles.forEach(({ title, threads, instructions }, track) => {
    const common = { pid: 1, tid: track };
    traceEvents.push({ ...common, ph: "M", name: "thread_name", args: { name: title } });
    let at = 0;
    for (const { op, layer, milliseconds, macs, bytes } of instructions) {
      const duration = 1000 * milliseconds / threads;
      const args = { layer, macs, bytes };
      const name = `${op} ${layer}`;
      traceEvents.push({ ...common, ph: "X", name, cat: op, ts: at, dur: duration, args });
      at += duration;
    }
  });
  return { traceEvents, displayTimeUnit: "ms" };
}
