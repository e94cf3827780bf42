/**
 * Runs a batch's jobs, several at a time. Whatever becomes of one is written down before anything else
 * happens; a job that fails stops no other. Where several jobs want a stage that is in the making, those
 * that want another one are begun first.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { makeFolder } from "../../formats/atomic.ts";
import type { Progress } from "../../progress.ts";
import type { Job } from "../file/jobs.ts";
import { CHOOSING, sharingOf } from "../file/sharing.ts";
import { type Capacity, MemoryWatch } from "./capacity.ts";
import type { JobEnd, JobProcessOptions } from "./job_process.ts";
import type { Ledger, LedgerRow } from "./ledger.ts";

/** A job and the digest that the ledger knows it by. */
export interface EnteredJob {
  readonly job: Job;
  readonly digest: string;
}

export type RunJob = (args: readonly string[], options: JobProcessOptions) => Promise<JobEnd>;

export interface BatchOptions {
  readonly ledger: Ledger;
  /** Where relative paths of the job file start. */
  readonly folder: string;
  /** Folder of everything written: a folder for every job below. */
  readonly out: string;
  readonly capacity: Capacity;
  readonly signal: AbortSignal;
  readonly run: RunJob;
  readonly memory?: MemoryWatch;
  readonly watcher: BatchWatcher;
}

/** Told of what happens. */
export interface BatchWatcher {
  began(row: LedgerRow): void;
  stage(row: LedgerRow, stage: string, detail: string | undefined): void;
  progress(row: LedgerRow, progress: Progress): void;
  ended(row: LedgerRow): void;
}

/** Files that a finished job has left. */
const LEFT = ["report.json", "plan.json", "pruned.safetensors", "pruned.onnx"];

/** The log of a job in its folder. */
export const JOB_LOG = "job.log";

/** A job at work. */
interface Running {
  /** What its widths depend on. */
  readonly choosing: readonly string[];
  /** It is behind the choice of widths, or has failed to come to it. */
  chosen: boolean;
  memory: number;
}

/** What a job's widths depend on, in the stages that other jobs may need as well. */
function choosingOf({ job }: EnteredJob): string[] {
  const sharing = sharingOf(job);
  return CHOOSING.map((stage) => sharing[stage]).filter((key) => key !== undefined);
}

/** Stages that a job begins once widths are chosen. */
const AFTER_CHOICE = /^(surgery|evaluation|compensation|fine-tuning|latency)/;

export class Scheduler {
  readonly #options: BatchOptions;
  readonly #memory: MemoryWatch;
  readonly #waiting: EnteredJob[];
  readonly #choosing: ReadonlyMap<EnteredJob, readonly string[]>;
  readonly #running = new Map<string, Running>();
  /** Resolves whenever a job ends or comes behind the choice of its widths. */
  #changed = Promise.withResolvers<void>();

  constructor(jobs: readonly EnteredJob[], options: BatchOptions) {
    this.#options = options;
    this.#memory = options.memory ?? new MemoryWatch();
    this.#choosing = new Map(jobs.map((entered) => [entered, choosingOf(entered)]));
    this.#waiting = jobs.filter(({ digest }) => this.#row(digest).state !== "done");
  }

  #row(digest: string): LedgerRow {
    return this.#options.ledger.row(digest)!;
  }

  /** Runs all that waits to its end; with an aborted signal, running jobs stop at their checkpoints. */
  async run(): Promise<void> {
    const ends = new Set<Promise<void>>();
    while (this.#running.size > 0 || (this.#waiting.length > 0 && !this.#stopping)) {
      for (let next = this.#next(); next !== undefined; next = this.#next()) {
        const end = this.#job(next).finally(() => ends.delete(end));
        ends.add(end);
      }
      this.#changed = Promise.withResolvers();
      // What goes wrong outside a job, such as a full disk under the ledger, ends the batch.
      await Promise.race([this.#changed.promise, ...ends]);
    }
  }

  get #stopping(): boolean {
    return this.#options.signal.aborted;
  }

  /** The next job to begin, taken from those that wait; undefined where none should be. */
  #next(): EnteredJob | undefined {
    const { atOnce } = this.#options.capacity;
    if (this.#stopping || this.#running.size >= atOnce || this.#waiting.length === 0) {
      return undefined;
    }
    const running = [...this.#running.values()];
    if (!this.#memory.fits(running.map(({ memory }) => memory))) return undefined;
    const making = new Set(running.flatMap(({ chosen, choosing }) => chosen ? [] : choosing));
    const index = this.#waiting.findIndex((entered) =>
      !this.#choosing.get(entered)!.some((key) => making.has(key))
    );
    return index < 0 ? undefined : this.#waiting.splice(index, 1)[0];
  }

  #signalChange(): void {
    this.#changed.resolve();
  }

  async #job(entered: EnteredJob): Promise<void> {
    const { digest, job } = entered;
    const { ledger, watcher, out, run, folder, signal } = this.#options;
    const choosing = this.#choosing.get(entered)!;
    const running: Running = { choosing, chosen: false, memory: 0 };
    this.#running.set(digest, running);
    ledger.begin(digest);
    const row = this.#row(digest);
    watcher.began(row);
    const started = performance.now();
    const place = join(out, row.folder);
    await makeFolder(place);
    const end = await run(this.#arguments(job, place), {
      cwd: folder,
      log: join(place, JOB_LOG),
      signal,
      onStage: (stage, detail) => {
        watcher.stage(row, stage, detail);
        if (running.chosen || !AFTER_CHOICE.test(stage)) return;
        running.chosen = true;
        this.#signalChange();
      },
      onProgress: (progress) => watcher.progress(row, progress),
      onMemory: (bytes) => {
        running.memory = bytes;
        this.#memory.saw(bytes);
      },
    });
    this.#note(digest, end, (performance.now() - started) / 1000);
    this.#running.delete(digest);
    watcher.ended(this.#row(digest));
    this.#signalChange();
  }

  #arguments({ arguments: own, options }: Job, place: string): string[] {
    const { threads } = this.#options.capacity;
    return [
      ...own,
      ...(options.threads !== undefined || threads === undefined
        ? []
        : ["--threads", String(threads)]),
      ...["--out", place],
    ];
  }

  #note(digest: string, { kind, outcome, error }: JobEnd, seconds: number): void {
    const { ledger } = this.#options;
    if (kind === "done") ledger.finish(digest, seconds, outcome!);
    else if (kind === "failed") ledger.fail(digest, seconds, error!);
    else ledger.stop(digest, seconds);
  }
}

/**
 * Enters jobs in the ledger. Those that failed before wait again, and so do those whose files are gone.
 */
export function enterJobs(ledger: Ledger, jobs: readonly EnteredJob[], out: string): void {
  ledger.enter(jobs.map(({ digest, job: { name } }) => ({ digest, name })));
  for (const { digest } of jobs) {
    const { state, folder } = ledger.row(digest)!;
    const gone = state === "done" && !LEFT.every((name) => existsSync(join(out, folder, name)));
    if (state === "failed" || gone) ledger.renew(digest);
  }
}
