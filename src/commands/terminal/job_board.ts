/** What a running batch shows: a line for every job that ends, and below them those at work. */

import { join } from "node:path";
import { type BatchWatcher, JOB_LOG } from "../../batch/run/scheduler.ts";
import type { LedgerRow } from "../../batch/run/ledger.ts";
import { printable, printableJson } from "../../printable.ts";
import type { Progress } from "../../progress.ts";
import { percent } from "../../report/columns.ts";
import { duration, Meter } from "./meter.ts";
import type { Output } from "./streams.ts";

/** Milliseconds between two drawings. */
const INTERVAL = 200;
/** Jobs at work that are drawn. */
const MOST_DRAWN = 20;
const WIDEST_NAME = 48;

/** What became of a job, in a line. */
export function endText(row: LedgerRow, out: string): string {
  const { name, state, outcome, error, seconds, folder } = row;
  if (state === "done") {
    const { top1, macs, parameters } = outcome!;
    return `${name}: done in ${duration(seconds)}, top-1 ${percent(top1)}, ` +
      `${percent(1 - macs, 1)} of the MACs and ${
        percent(1 - parameters, 1)
      } of the parameters gone`;
  }
  if (state !== "failed") return `${name}: stopped; the same command goes on with it`;
  const log = join(out, folder, JOB_LOG);
  return `${name}: failed: ${error!.replace(/\.$/, "")}; its log is ${log}`;
}

interface AtWork {
  readonly row: LedgerRow;
  readonly meter: Meter;
  stage: string;
  line: string | undefined;
}

/** For people: on a terminal with a table that is drawn anew, else a line for every beginning and end. */
export class JobBoard implements BatchWatcher {
  readonly #err: Output;
  readonly #out: string;
  readonly #total: number;
  readonly #now: () => number;
  readonly #atWork = new Map<string, AtWork>();
  readonly #spent: number[] = [];
  #finished: number;
  #failed = 0;
  #drawn = 0;
  #last = -Infinity;

  /** `finished` of `total` jobs were before; `out` is the batch's folder. */
  constructor(
    err: Output,
    { out, total, finished }: { out: string; total: number; finished: number },
    now: () => number = () => performance.now(),
  ) {
    this.#err = err;
    this.#out = out;
    this.#total = total;
    this.#finished = finished;
    this.#now = now;
  }

  began(row: LedgerRow): void {
    const meter = new Meter(INTERVAL, this.#now);
    this.#atWork.set(row.digest, { row, meter, stage: "beginning", line: undefined });
    if (!this.#err.isTTY) this.#say(`${row.name}: ${row.attempts > 1 ? "goes on" : "begins"}`);
    this.#draw();
  }

  stage(row: LedgerRow, stage: string): void {
    const job = this.#atWork.get(row.digest)!;
    job.stage = stage;
    job.line = undefined;
    this.#draw();
  }

  progress(row: LedgerRow, progress: Progress): void {
    const job = this.#atWork.get(row.digest)!;
    job.line = job.meter.line(progress, 120) ?? job.line;
    this.#draw();
  }

  ended(row: LedgerRow): void {
    this.#atWork.delete(row.digest);
    if (row.state === "failed") this.#failed++;
    if (row.state === "done") {
      this.#finished++;
      this.#spent.push(row.seconds);
    }
    this.#say(endText(row, this.#out));
    this.#draw(true);
  }

  close(): void {
    this.#erase();
  }

  #say(text: string): void {
    this.#erase();
    this.#err.write(`${printable(text)}\n`);
  }

  #erase(): void {
    if (this.#drawn > 0) this.#err.write(`\x1b[${this.#drawn}A\r\x1b[J`);
    this.#drawn = 0;
  }

  #draw(now = false): void {
    if (!this.#err.isTTY || (!now && this.#now() - this.#last < INTERVAL)) return;
    this.#last = this.#now();
    const width = (this.#err.columns ?? 80) - 1;
    const jobs = [...this.#atWork.values()];
    const drawn = jobs.slice(0, MOST_DRAWN);
    const names = Math.min(WIDEST_NAME, Math.max(0, ...drawn.map(({ row }) => row.name.length)));
    const lines = [
      ...drawn.map(({ row, stage, line }) =>
        `  ${row.name.slice(0, names).padEnd(names)}  ${line ?? stage}`
      ),
      this.#summary(jobs.length),
    ];
    this.#erase();
    this.#err.write(lines.map((line) => `${printable(line).slice(0, width)}\n`).join(""));
    this.#drawn = lines.length;
  }

  #summary(running: number): string {
    const waiting = this.#total - this.#finished - this.#failed - running;
    const left = this.#secondsLeft(running, waiting);
    return [
      `${this.#finished} of ${this.#total} done`,
      ...(this.#failed > 0 ? [`${this.#failed} failed`] : []),
      `${running} at work`,
      `${waiting} waiting`,
      ...(left === undefined ? [] : [`about ${duration(left)} left`]),
    ].join(", ");
  }

  /** By what jobs have taken so far. */
  #secondsLeft(running: number, waiting: number): number | undefined {
    if (this.#spent.length === 0 || running === 0) return undefined;
    const mean = this.#spent.reduce((sum, each) => sum + each, 0) / this.#spent.length;
    return mean * (waiting + running / 2) / running;
  }
}

/** For programs: JSON lines on standard output. */
export class JobEvents implements BatchWatcher {
  readonly #out: Output;
  readonly #folder: string;

  constructor(out: Output, folder: string) {
    this.#out = out;
    this.#folder = folder;
  }

  #tell(event: object): void {
    this.#out.write(`${printableJson(event)}\n`);
  }

  #job({ name, state, attempts, seconds, outcome, error, folder }: LedgerRow): object {
    const log = join(this.#folder, folder, JOB_LOG);
    return {
      ...{ name, state, attempts, seconds, folder: join(this.#folder, folder), log },
      ...(outcome ? { ...outcome } : {}),
      ...(error === undefined ? {} : { error }),
    };
  }

  began(row: LedgerRow): void {
    this.#tell({ event: "job", ...this.#job(row) });
  }

  stage({ name }: LedgerRow, stage: string, detail: string | undefined): void {
    this.#tell({ event: "stage", name, stage, ...(detail === undefined ? {} : { detail }) });
  }

  progress({ name }: LedgerRow, progress: Progress): void {
    this.#tell({ event: "progress", name, ...progress });
  }

  ended(row: LedgerRow): void {
    this.#tell({ event: "job", ...this.#job(row) });
  }
}
