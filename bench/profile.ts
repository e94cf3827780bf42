/** Where an entry's time goes, instruction by instruction: as a table, and as a Chrome trace. */

import { LoadedModel } from "../src/native/loaded_model.ts";
import type { TypedArray } from "../src/native/session.ts";
import { OPERATIONS } from "../src/program/operations.ts";
import { bytesOf, type Instruction, type Program } from "../src/program/program.ts";
import { columns, figures, percent, words } from "../src/report/columns.ts";
import { labelsInTurn, networkOf, noisePictures, precisions } from "./benchmarks/network.ts";
import { HYPER, stepRequest } from "./benchmarks/step.ts";
import type { BenchmarkOptions } from "./contestant.ts";
import { rounded } from "./results.ts";

/** What one instruction takes in one run, summed over threads. */
export interface InstructionCost {
  readonly op: string;
  readonly layer: string;
  readonly milliseconds: number;
  /** Multiply-accumulates of a convolution; 0 for everything else. */
  readonly macs: number;
  /** Bytes of the image values it reads and writes. */
  readonly bytes: number;
}

/** The profile of one entry. */
export interface EntryProfile {
  readonly title: string;
  readonly threads: number;
  /** Of one run, as the clock on the wall saw it. */
  readonly milliseconds: number;
  readonly instructions: readonly InstructionCost[];
}

function macsOf({ op, ints }: Instruction, images: number): number {
  if (!op.startsWith("convolution")) return 0;
  const names: readonly string[] = OPERATIONS[op].ints;
  const at = (name: string) => ints[names.indexOf(name)];
  const cells = at("out_height") * at("out_width") * at("out_channels");
  const patch = at("kernel_height") * at("kernel_width") * at("in_channels") / at("groups");
  return images * cells * patch;
}

function trafficOf({ values }: Program, { inputs, outputs }: Instruction): number {
  return [...inputs, ...outputs]
    .filter((index) => index >= 0 && values[index].images > 0)
    .reduce((sum, index) => sum + bytesOf({ ...values[index], arena: "activations" }, 1), 0);
}

/**
 * Profiles an entry: the least of `runs` runs for each instruction and for the whole, for whatever
 * else the machine does only ever adds time.
 */
export async function profileEntry(
  model: LoadedModel,
  name: string,
  title: string,
  feeds: Readonly<Record<string, TypedArray>>,
  runs: number,
): Promise<EntryProfile> {
  const { session } = model;
  const { program } = session;
  const { first, count, images } = program.entries.find((entry) => entry.name === name)!;
  const totals = () =>
    session.profile().slice(first, first + count).map(({ nanoseconds }) => nanoseconds);
  await model.run(name, { feeds });
  const walls: number[] = [];
  const times: number[][] = Array.from({ length: count }, () => []);
  for (let run = 0; run < runs; run++) {
    const before = totals();
    const started = performance.now();
    await model.run(name, { feeds, profile: true });
    walls.push(performance.now() - started);
    totals().forEach((total, index) => times[index].push((total - before[index]) / 1e6));
  }
  const instructions = times.map((milliseconds, index) => {
    const instruction = program.instructions[first + index];
    return {
      op: instruction.op,
      layer: instruction.layer,
      milliseconds: Math.min(...milliseconds),
      macs: macsOf(instruction, images),
      bytes: trafficOf(program, instruction),
    };
  });
  return { title, threads: session.threads, milliseconds: Math.min(...walls), instructions };
}

/** Adds up what shares a key, the most expensive first. */
function totals(instructions: readonly InstructionCost[], key: (one: InstructionCost) => string) {
  const sums = new Map<
    string,
    { count: number; milliseconds: number; macs: number; bytes: number }
  >();
  for (const one of instructions) {
    const sum = sums.get(key(one)) ?? { count: 0, milliseconds: 0, macs: 0, bytes: 0 };
    sums.set(key(one), {
      count: sum.count + 1,
      milliseconds: sum.milliseconds + one.milliseconds,
      macs: sum.macs + one.macs,
      bytes: sum.bytes + one.bytes,
    });
  }
  return [...sums].sort(([, a], [, b]) => b.milliseconds - a.milliseconds);
}

/** Rates of one thread: operations and bytes per millisecond in 10^9 a second. */
function rates(milliseconds: number, macs: number, bytes: number): [string, string] {
  const giga = (count: number) =>
    count === 0 || milliseconds === 0 ? "" : rounded(count / milliseconds / 1e6);
  return [giga(2 * macs), giga(bytes)];
}

/** A profile as text: what each operation costs, then the most expensive instructions. */
export function profileTable(profile: EntryProfile, longest = 40): string {
  const { title, threads, milliseconds, instructions } = profile;
  const spent = instructions.reduce((sum, one) => sum + one.milliseconds, 0);
  const busy = percent(spent / milliseconds / threads, 1);
  const share = (part: number) => percent(part / spent, 1);
  const cost = [figures("ms"), figures("share"), figures("GFLOP/s"), figures("GB/s")];
  const byOperation = totals(instructions, ({ op }) => op).map(([op, sum]) => [
    op,
    String(sum.count),
    sum.milliseconds.toFixed(3),
    share(sum.milliseconds),
    ...rates(sum.milliseconds, sum.macs, sum.bytes),
  ]);
  const single = instructions.toSorted((a, b) => b.milliseconds - a.milliseconds)
    .slice(0, longest)
    .map(({ op, layer, milliseconds, macs, bytes }) => [
      op,
      layer,
      milliseconds.toFixed(3),
      share(milliseconds),
      ...rates(milliseconds, macs, bytes),
    ]);
  return [
    `${title}: ${rounded(milliseconds)} ms a run on ${threads} threads, which were busy ${busy} ` +
    "of it; times below are summed over threads, rates are those of one thread.",
    "",
    ...columns({ heads: [words("operation"), figures("count"), ...cost], rows: byOperation }),
    "",
    ...columns({ heads: [words("operation"), words("layer"), ...cost], rows: single }),
  ].join("\n");
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

/** Profiles inference and the training step of the benchmarks' network in every precision. */
export async function profileNetwork(options: BenchmarkOptions): Promise<EntryProfile[]> {
  const { quick, threads } = options;
  const { graph, title } = networkOf(options);
  const images = quick ? 4 : 128;
  const runs = quick ? 2 : 10;
  const pictures = noisePictures(graph, images);
  const labels = labelsInTurn(images);
  const profiles: EntryProfile[] = [];
  for (const { dtype } of precisions()) {
    const requests = [{ kind: "forward" as const, name: "forward", images }, stepRequest(images)];
    using model = LoadedModel.open(graph, requests, { threads, dtype });
    const forward = model.entry("forward").feeds, step = model.entry("step").feeds;
    const name = `${title} ${dtype}, batch ${images}`;
    profiles.push(
      await profileEntry(model, "forward", `inference ${name}`, {
        [forward.images!]: pictures,
      }, runs),
      await profileEntry(model, "step", `training step ${name}`, {
        [step.images!]: pictures,
        [step.labels!]: labels,
        [step.hyper!]: HYPER,
      }, runs),
    );
  }
  return profiles;
}
