/** `batch`: the pruning runs of a job file, several at a time, each once. */

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join, relative, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { exampleJobs } from "../batch/file/example.ts";
import { type Job, type JobFile, JobFileError, readJobs } from "../batch/file/jobs.ts";
import { SHARED_STAGES, sharedCounts, sharingOf } from "../batch/file/sharing.ts";
import { AXES } from "../batch/file/schema.ts";
import { capacityOf, MemoryWatch } from "../batch/run/capacity.ts";
import { JobDigests } from "../batch/run/identity.ts";
import { runJobProcess } from "../batch/run/job_process.ts";
import { Ledger, type LedgerRow } from "../batch/run/ledger.ts";
import { type EnteredJob, enterJobs, Scheduler } from "../batch/run/scheduler.ts";
import { SecateurError } from "../errors.ts";
import { writeFileAtomic } from "../formats/atomic.ts";
import { loadAddon } from "../native/binding.ts";
import { columns, count, figures, percent, words } from "../report/columns.ts";
import { stageName } from "../report/tables.ts";
import { parseRun } from "../report/runs/read.ts";
import { RUNS_FILES, writeRuns } from "../report/runs/write.ts";
import { BATCH_OPTIONS } from "./options/batch.ts";
import { type OptionValues, parseOptions } from "./options/parse.ts";
import { type Console, openConsole } from "./terminal/console.ts";
import { endText, JobBoard, JobEvents } from "./terminal/job_board.ts";
import { duration } from "./terminal/meter.ts";
import { OutputFolder } from "./terminal/output.ts";
import { standardError, standardOutput } from "./terminal/streams.ts";

type BatchValues = OptionValues<typeof BATCH_OPTIONS>;

const LEDGER = "ledger.sqlite";
const DEFAULT_FILE = "jobs.yaml";
const SCHEMA = fileURLToPath(new URL("../../docs/jobs.schema.json", import.meta.url));

/** Runs the command; `files` are its arguments. Returns the exit code: 1 where a job failed. */
export async function runBatch(
  raw: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
): Promise<number> {
  const values = parseOptions(BATCH_OPTIONS, raw);
  const [file, ...others] = raw.operands as string[];
  const console = openConsole(values.json);
  if (others.length > 0) {
    throw new SecateurError("option-invalid", `Expected one job file, got ${others.length + 1}.`);
  }
  if (values.init) return await writeExample(file ?? DEFAULT_FILE, console);
  if (file === undefined) {
    throw new SecateurError(
      "option-invalid",
      "Expected a job file, as in: batch jobs.yaml; batch --init writes one to begin from.",
    );
  }
  const found = await readTold(file, console);
  const out = values.out === undefined ? found.out : resolve(values.out);
  if (values.dryRun) {
    showPlan(found.jobs, console);
    return 0;
  }
  loadAddon();
  return await runJobs(found, out, values, console, signal);
}

/** As `readJobs`; several mistakes are told one by one before the last sentence. */
async function readTold(path: string, console: Console): Promise<JobFile> {
  try {
    return await readJobs(path);
  } catch (thrown) {
    if (!(thrown instanceof JobFileError)) throw thrown;
    for (const { message } of thrown.errors) console.warn(message);
    throw new SecateurError(
      "format-corrupt",
      `${path}: expected a job file, but it has these ${thrown.errors.length} mistakes; nothing ` +
        `was run.`,
    );
  }
}

async function writeExample(path: string, console: Console): Promise<number> {
  if (existsSync(path)) {
    throw new SecateurError(
      "file-unwritable",
      `${path}: expected to write an example here, but there is a file; name another.`,
    );
  }
  await writeFileAtomic(path, exampleJobs(SCHEMA));
  console.result({ written: path });
  console.text(`Wrote ${path}; batch --dry-run ${path} shows what it asks for.`);
  return 0;
}

/** The jobs, and what they share. */
function showPlan(jobs: readonly Job[], console: Console): void {
  const axes = AXES.filter((axis) => jobs.some((job) => job.axes[axis] !== undefined));
  const counts = sharedCounts(jobs.map(sharingOf));
  console.result({
    jobs: jobs.map(({ name, axes, arguments: args }) => ({ name, axes, arguments: args })),
    stages: counts,
  });
  console.text(
    ...columns({
      heads: [words("job"), ...axes.map((axis) => words(axis)), figures("epochs")],
      rows: jobs.map(({ name, axes: own, prune }) => [
        name,
        ...axes.map((axis) => own[axis] ?? "-"),
        String(prune.epochs),
      ]),
    }),
    "",
    ...columns({
      heads: [words("stage that runs share"), figures("needed"), figures("made"), figures("saved")],
      rows: counts.map(({ stage, needed, made }) => [
        stageName(stage),
        ...[count(needed), count(made), percent(1 - made / needed, 0)],
      ]),
    }),
    "",
    `${count(jobs.length)} jobs. What the cache holds already is not made at all; everything but ` +
      `these ${SHARED_STAGES.length} stages is run for every job.`,
  );
}

/** Digests of jobs; of those that are the same run, the first. */
async function entered(
  { jobs, folder }: JobFile,
  console: Pick<Console, "warn">,
): Promise<EnteredJob[]> {
  const digests = new JobDigests(folder);
  const byDigest = new Map<string, EnteredJob>();
  for (const job of jobs) {
    const digest = await digests.of(job);
    const same = byDigest.get(digest);
    if (same === undefined) byDigest.set(digest, { job, digest });
    else console.warn(`${job.name} is the same run as ${same.job.name}, so it is run once.`);
  }
  return [...byDigest.values()];
}

async function runJobs(
  file: JobFile,
  out: string,
  { atOnce, json, queue: address }: Pick<BatchValues, "atOnce" | "json" | "queue">,
  console: Console,
  signal: AbortSignal,
): Promise<number> {
  await using _folder = await OutputFolder.claim(out);
  using ledger = Ledger.open(join(out, LEDGER));
  const jobs = await entered(file, console);
  enterJobs(ledger, jobs, out);
  const rows = () => jobs.map(({ digest }) => ledger.row(digest)!);
  const finished = rows().filter(({ state }) => state === "done").length;
  if (finished > 0) console.stage("Taken from before", `${finished} of ${jobs.length} jobs`);
  await using queue = address === undefined ? undefined : await openQueue(address);
  const capacity = queue === undefined
    ? capacityOf(jobs.length - finished, atOnce)
    : { atOnce: Infinity };
  const board = new JobBoard(standardError, { out: shown(out), total: jobs.length, finished });
  const started = performance.now();
  try {
    await new Scheduler(jobs, {
      ...{ ledger, out, capacity, signal },
      folder: file.folder,
      run: queue?.run ?? runJobProcess,
      ...(queue === undefined ? {} : { memory: new MemoryWatch(() => Infinity) }),
      watcher: json ? new JobEvents(standardOutput, out) : board,
    }).run();
  } finally {
    board.close();
  }
  const seconds = (performance.now() - started) / 1000;
  await writePage(rows(), out);
  return finish(rows(), out, seconds, console, signal);
}

/** Imported where it is asked for: other batches need none of it. */
async function openQueue(address: string) {
  const { JobQueue } = await import("../batch/queue/job_queue.ts");
  return await JobQueue.open(address);
}

/** One page over all jobs that are done. */
async function writePage(rows: readonly LedgerRow[], out: string): Promise<void> {
  const done = rows.filter(({ state }) => state === "done");
  const runs = await Promise.all(done.map(async ({ folder }) => {
    const place = join(out, folder);
    return parseRun(place, await readFile(join(place, "report.json"), "utf8"));
  }));
  if (runs.length > 0) await writeRuns(out, runs);
}

/** A path as people would type it here. */
function shown(path: string): string {
  const short = relative(process.cwd(), path);
  return short.startsWith("..") ? path : short || ".";
}

/** Tells what became of all jobs. Returns the exit code; throws "cancelled" where some still wait. */
function finish(
  rows: readonly LedgerRow[],
  out: string,
  seconds: number,
  console: Console,
  signal: AbortSignal,
): number {
  const failed = rows.filter(({ state }) => state === "failed");
  const done = rows.filter(({ state }) => state === "done");
  console.result({
    ...{ out, seconds, jobs: rows.length, done: done.length },
    failed: failed.map(({ name }) => name),
  });
  if (done.length > 0) {
    console.text(...columns({
      heads: [
        ...[words("job"), figures("top-1"), figures("MACs"), figures("parameters")],
        figures("seconds"),
      ],
      rows: done.map(({ name, outcome, seconds: spent }) => [
        ...[name, percent(outcome!.top1), percent(outcome!.macs - 1, 1)],
        ...[percent(outcome!.parameters - 1, 1), spent.toFixed(1)],
      ]),
    }));
  }
  for (const row of failed) console.warn(endText(row, shown(out)));
  console.close();
  if (signal.aborted) {
    throw new SecateurError(
      "cancelled",
      `Stopped with ${done.length} of ${rows.length} jobs done; the same command goes on.`,
    );
  }
  console.text(
    "",
    `${done.length} of ${rows.length} jobs done in ${duration(seconds)}; each has its report in ` +
      `${join(shown(out), "JOB", "report.html")}` +
      `${done.length > 0 ? `, and ${join(shown(out), RUNS_FILES.page)} shows all` : ""}.`,
  );
  return failed.length > 0 ? 1 : 0;
}
