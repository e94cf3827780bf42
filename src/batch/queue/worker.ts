/** Takes jobs from a queue and runs them, so many at a time. */

import { DelayedError, type Job, Worker } from "bullmq";
import type { JobEnd } from "../run/job_process.ts";
import type { RunJob } from "../run/scheduler.ts";
import { connect, QUEUE, requireReachable } from "./connect.ts";
import type { JobNews, QueuedJob } from "./message.ts";

export interface WorkerOptions {
  readonly atOnce: number;
  /** Of each job. */
  readonly threads: number;
  /** Asks to stop: jobs stop at their checkpoints and go back into the queue for other workers. */
  readonly signal: AbortSignal;
  readonly run: RunJob;
  readonly onBegin: (log: string) => void;
  readonly onEnd: (log: string, end: JobEnd) => void;
}

/** Milliseconds for which a job belongs to a worker that says nothing more of it. */
const LOCK = 20_000;
/** Milliseconds between two looks for jobs that nobody has any more. */
const STALLED = 10_000;
/** Workers may go away as often as they like: a job is not to blame. */
const MOST_STALLS = 1000;
/** Milliseconds between two words about a job's progress. */
const PROGRESS = 1000;

/** Milliseconds after which a job that was given back may be taken: not by the worker that closes. */
const GIVEN_BACK = 500;

/** Puts a job that is not at its end back into the queue. Always throws, as the queue wants it. */
async function giveBack(job: Job, token: string | undefined): Promise<never> {
  await job.moveToDelayed(Date.now() + GIVEN_BACK, token);
  throw new DelayedError();
}

/** One job, to its end or to the next checkpoint. Throws where another try may do better. */
async function process(
  job: Job<QueuedJob, JobEnd>,
  token: string | undefined,
  { threads, signal, run, onBegin, onEnd }: WorkerOptions,
): Promise<JobEnd> {
  const { args, cwd, log } = job.data;
  // A worker that is closing may take one more.
  if (signal.aborted) return await giveBack(job, token);
  let told = -Infinity;
  const news = (what: JobNews) => void job.updateProgress(what).catch(() => undefined);
  onBegin(log);
  const own = args.includes("--threads") ? args : [...args, "--threads", String(threads)];
  const end = await run(own, {
    ...{ cwd, log, signal },
    onStage: (stage, detail) =>
      news({ kind: "stage", stage, ...(detail === undefined ? {} : { detail }) }),
    onProgress: (progress) => {
      if (performance.now() - told < PROGRESS) return;
      told = performance.now();
      news({ kind: "progress", progress });
    },
    onMemory: () => undefined,
  });
  onEnd(log, end);
  if (end.kind === "stopped") return await giveBack(job, token);
  if (end.killed) throw new Error(end.error);
  return end;
}

/** Works until it is asked to stop. Throws as `requireReachable`. */
export async function work(address: string, options: WorkerOptions): Promise<void> {
  await requireReachable(address);
  const { atOnce, signal } = options;
  const stopping = new AbortController();
  const worker = new Worker<QueuedJob, JobEnd>(
    QUEUE,
    (job, token) => process(job, token, { ...options, signal: stopping.signal }),
    {
      connection: connect(address),
      concurrency: atOnce,
      lockDuration: LOCK,
      stalledInterval: STALLED,
      maxStalledCount: MOST_STALLS,
    },
  );
  worker.on("error", () => undefined); // connections try again by themselves
  if (!signal.aborted) {
    await new Promise<void>((resolve) => {
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }
  // Before jobs stop and go back: it would take them again.
  await worker.pause(true);
  stopping.abort();
  await worker.close();
}
