/**
 * `deno task bench`: measures secateur and, where PyTorch is installed, PyTorch beside it in
 * turns. Prints a table and writes one file of results for each benchmark.
 */

import { CommanderError } from "commander";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { openDevice } from "../src/commands/inputs/device.ts";
import { enterTypedFolder } from "../src/commands/terminal/folder.ts";
import { reasonOf, SecateurError } from "../src/errors.ts";
import { makeFolder, writeFileAtomic } from "../src/formats/atomic.ts";
import type { Device } from "../src/native/session.ts";
import { ROOT } from "../src/native/setup/sources.ts";
import { BENCHMARKS } from "./benchmarks/all.ts";
import type { Benchmark, BenchmarkOptions } from "./contestant.ts";
import { type Provenance, provenance } from "./machine.ts";
import { measureCase, type MeasureOptions, type Row } from "./measure.ts";
import { type BenchCommand, withOptions } from "./options.ts";
import type { PeerInterpreter } from "./peer_process.ts";
import { findPeers, installPeers } from "./peers.ts";
import { profileNetworks } from "./profile.ts";
import { profileTable, profileText, summaryOf, traceOf } from "./profile_report.ts";
import { type BenchmarkResult, RESULTS, resultTable, writeResult } from "./results.ts";

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** The benchmarks asked for. Throws "option-invalid" for a name that is none. */
function chosen(names: readonly string[]): Benchmark[] {
  const known = BENCHMARKS.map(({ name }) => name);
  for (const name of names) {
    if (known.includes(name)) continue;
    throw new SecateurError(
      "option-invalid",
      `There is no benchmark named ${name}; choose from ${known.join(", ")}.`,
    );
  }
  return BENCHMARKS.filter(({ name }) => names.length === 0 || names.includes(name));
}

/**
 * The interpreter to compare with, if any: PyTorch computes on the CPU here, so there is none beside a
 * GPU. Throws "addon-missing" when one is insisted on, "option-invalid" beside a GPU.
 */
function interpreterFor({ peers, installPeers: install }: BenchCommand, device?: Device) {
  if (install) installPeers();
  if (peers === false) return undefined;
  if (device !== undefined) {
    const reason = "PyTorch is compared with on the CPU alone";
    if (!peers) return void say(`${reason}; it is left out.`);
    throw new SecateurError("option-invalid", `${reason}; leave out --peers or --device.`);
  }
  const found = findPeers();
  if ("interpreter" in found) return found.interpreter;
  if (peers) throw new SecateurError("addon-missing", found.missing);
  say(found.missing);
  return undefined;
}

async function measureBenchmark(
  benchmark: Benchmark,
  options: MeasureOptions,
  origin: Provenance,
  wanted = "",
): Promise<BenchmarkResult> {
  const { threads, rounds, quick } = options;
  const rows: Row[] = [];
  const cases = (await benchmark.cases(options)).filter(({ name }) => name.includes(wanted));
  if (cases.length === 0) {
    throw new SecateurError("option-invalid", `No row of it has ${wanted} in its name.`);
  }
  for (const one of cases) {
    say(one.name);
    rows.push(...await measureCase(one, options));
  }
  const date = new Date().toISOString();
  return { schema: 1, benchmark: benchmark.name, date, ...origin, threads, rounds, quick, rows };
}

/** Runs benchmarks one after the other; one that fails is told and does not stop the others. */
async function measureAll(command: BenchCommand, options: BenchmarkOptions): Promise<boolean> {
  const { quick, out = quick ? undefined : RESULTS } = command;
  const benchmarks = chosen(command.names);
  const interpreter: PeerInterpreter | undefined = interpreterFor(command, options.device);
  const measuring: MeasureOptions = {
    ...options,
    rounds: command.rounds ?? (quick ? 1 : 7),
    ...(interpreter ? { interpreter } : {}),
  };
  // Once, before anything is measured: later the load would be our own.
  const origin = provenance(interpreter?.versions, options.device);
  const results: BenchmarkResult[] = [];
  let failed = false;
  for (const benchmark of benchmarks) {
    try {
      const result = await measureBenchmark(benchmark, measuring, origin, command.rows);
      results.push(result);
      if (out !== undefined) say(`written: ${await writeResult(out, result)}`);
    } catch (thrown) {
      failed = true;
      say(`${benchmark.name} failed: ${reasonOf(thrown)}`);
    }
  }
  process.stdout.write(`${resultTable(results)}\n`);
  return !failed;
}

/** Profiles instead of measuring; writes data beside results, and a trace under build/bench. */
async function profile(command: BenchCommand, options: BenchmarkOptions): Promise<void> {
  const { quick, out = quick ? undefined : RESULTS } = command;
  const origin = provenance({}, options.device);
  const profiles = await profileNetworks(options);
  for (const one of profiles) process.stdout.write(`${profileTable(one)}\n\n`);
  const date = new Date().toISOString();
  const summaries = profiles.map((one) => summaryOf(one));
  const name = `${date.slice(0, 10)}-profile`;
  const write = async (folder: string, file: string, text: string) => {
    await makeFolder(folder);
    const path = join(folder, file);
    await writeFileAtomic(path, text);
    say(`written: ${path}`);
  };
  if (out !== undefined) {
    const text = profileText({
      schema: 1,
      benchmark: "profile",
      date,
      ...origin,
      quick,
      profiles: summaries,
    });
    await write(out, `${name}.json`, text);
  }
  const folder = command.out ?? join(ROOT, "build", "bench");
  await write(folder, `${name}.trace.json`, `${JSON.stringify(traceOf(profiles))}\n`);
  say("open the trace with chrome://tracing or Perfetto");
}

async function run(command: BenchCommand): Promise<void> {
  const { threads, quick, folder } = command;
  await mkdir(folder, { recursive: true });
  const device = openDevice(command, { warn: say });
  const options: BenchmarkOptions = {
    ...{ threads, quick, folder },
    seconds: command.seconds ?? (quick ? 0.01 : 0.5),
    ...(device === undefined ? {} : { device }),
  };
  if (command.profile) return await profile(command, options);
  if (!await measureAll(command, options)) process.exitCode = 1;
}

if (import.meta.main) {
  try {
    enterTypedFolder();
    await withOptions(process.argv.slice(2), run);
  } catch (thrown) {
    if (!(thrown instanceof CommanderError && thrown.exitCode === 0)) {
      say(reasonOf(thrown));
      process.exitCode = thrown instanceof SecateurError ? 1 : 2;
    }
  }
}
