// Who runs when, and what is written down of it; jobs are promises here.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { parseJobs } from "../../src/batch/file/jobs.ts";
import { capacityOf, MemoryWatch } from "../../src/batch/run/capacity.ts";
import { JobDigests } from "../../src/batch/run/identity.ts";
import type { JobEnd, JobProcessOptions } from "../../src/batch/run/job_process.ts";
import { Ledger, type LedgerRow } from "../../src/batch/run/ledger.ts";
import {
  type BatchWatcher,
  type EnteredJob,
  enterJobs,
  type RunJob,
  Scheduler,
} from "../../src/batch/run/scheduler.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-scheduler-"));
afterAll(() => rmSync(folder, { recursive: true }));
let folders = 0;

const OUTCOME = { macs: 0.5, parameters: 0.5, top1: 0.9 };
const DONE: JobEnd = { kind: "done", outcome: OUTCOME };
const SILENT: BatchWatcher = { began() {}, stage() {}, progress() {}, ended() {} };

async function entered(text: string): Promise<EnteredJob[]> {
  const digests = new JobDigests(folder);
  const { jobs } = parseJobs("jobs.yaml", `version: 1\n${text}`);
  return await Promise.all(jobs.map(async (job) => ({ job, digest: await digests.of(job) })));
}

/** A batch in a folder of its own, or in `out` again. */
function open(jobs: readonly EnteredJob[], out = join(folder, `${folders++}`)) {
  const ledger = Ledger.open(`${out}.sqlite`);
  enterJobs(ledger, jobs, out);
  const run = (
    work: RunJob,
    more: { atOnce?: number; signal?: AbortSignal; memory?: MemoryWatch } = {},
  ) =>
    new Scheduler(jobs, {
      ...{ ledger, folder, out, run: work, watcher: SILENT },
      capacity: { atOnce: more.atOnce ?? 2, threads: 1 },
      signal: more.signal ?? new AbortController().signal,
      ...(more.memory ? { memory: more.memory } : { memory: new MemoryWatch(() => Infinity) }),
    }).run();
  const states = () => jobs.map(({ digest }) => ledger.row(digest)!.state);
  return { ledger, run, states, out };
}

const nameOf = (args: readonly string[]) => args[args.indexOf("--out") + 1].split("/").at(-1)!;

/** Jobs that do what they are told, when they are told. */
class Puppets {
  readonly #jobs = new Map<string, JobProcessOptions & { readonly end: (end: JobEnd) => void }>();
  readonly begun: string[] = [];
  most = 0;

  readonly run: RunJob = (args, options) => {
    const name = nameOf(args);
    this.begun.push(name);
    const { promise, resolve } = Promise.withResolvers<JobEnd>();
    this.#jobs.set(name, { ...options, end: resolve });
    this.most = Math.max(this.most, this.#jobs.size);
    return promise;
  };

  /** Waits for exactly these to be at work. */
  async atWork(...names: readonly string[]): Promise<void> {
    const current = () => [...this.#jobs.keys()].sort().join();
    while (current() !== [...names].sort().join()) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  stage(name: string, stage: string): void {
    this.#jobs.get(name)!.onStage(stage, undefined);
  }

  memory(name: string, bytes: number): void {
    this.#jobs.get(name)!.onMemory(bytes);
  }

  end(...names: readonly string[]): void {
    for (const name of names) {
      const job = this.#jobs.get(name)!;
      this.#jobs.delete(name);
      job.end(DONE);
    }
  }
}

describe("a batch", () => {
  it("runs every job once, so many at a time", async () => {
    const jobs = await entered("matrix: {seed: [0, 1, 2, 3]}");
    const puppets = new Puppets();
    const { run, states } = open(jobs);
    const whole = run(puppets.run, { atOnce: 2 });
    await puppets.atWork("s0", "s1");
    puppets.end("s1");
    await puppets.atWork("s0", "s2");
    puppets.end("s0", "s2");
    await puppets.atWork("s3");
    puppets.end("s3");
    await whole;
    expect([puppets.most, puppets.begun.length, new Set(states())])
      .toEqual([2, 4, new Set(["done"])]);
  });

  it("begins first what shares nothing with what is in the making", async () => {
    const jobs = await entered("matrix: {budget: [flops 30%, flops 50%], seed: [0, 1]}");
    const puppets = new Puppets();
    const whole = open(jobs).run(puppets.run, { atOnce: 4 });
    // Of each seed one job; the other follows once that one's widths are chosen.
    await puppets.atWork("flops30-s0", "flops30-s1");
    puppets.stage("flops30-s0", "channels ranked");
    puppets.stage("flops30-s1", "surgery");
    await puppets.atWork("flops30-s0", "flops30-s1", "flops50-s1");
    puppets.end("flops30-s0");
    await puppets.atWork("flops50-s0", "flops30-s1", "flops50-s1");
    puppets.end("flops50-s0", "flops30-s1", "flops50-s1");
    await whole;
  });

  it("goes on when a job fails, the next of its kind takes its place, and it is tried again", async () => {
    const jobs = await entered("matrix: {budget: [flops 30%, flops 50%, flops 60%]}");
    const { run, states, ledger, out } = open(jobs);
    const fail: RunJob = (args) =>
      Promise.resolve(nameOf(args) === "flops30" ? { kind: "failed", error: "No." } : DONE);
    await run(fail, { atOnce: 3 });
    expect(states()).toEqual(["failed", "done", "done"]);
    expect(ledger.row(jobs[0].digest)).toMatchObject({ error: "No.", attempts: 1 });
    ledger[Symbol.dispose]();
    const again = open(jobs, out);
    // Of the others nothing is there: their files are gone.
    expect(again.states()).toEqual(["waiting", "waiting", "waiting"]);
    let begun = 0;
    await again.run(() => {
      begun++;
      return Promise.resolve(DONE);
    });
    expect([begun, again.ledger.row(jobs[0].digest)!.attempts]).toEqual([3, 2]);
    expect(again.ledger.row(jobs[0].digest)!.error).toBeUndefined();
  });

  it("lets what a killed batch left running wait again", async () => {
    const jobs = await entered("matrix: {seed: [0, 1]}");
    const { ledger, out } = open(jobs);
    ledger.begin(jobs[1].digest);
    ledger[Symbol.dispose]();
    const { states, ledger: after } = open(jobs, out);
    expect(states()).toEqual(["waiting", "waiting"]);
    expect(after.row(jobs[1].digest)!.attempts).toBe(1);
  });

  it("stops when it is asked to, and begins nothing more", async () => {
    const jobs = await entered("matrix: {seed: [0, 1, 2, 3]}");
    const controller = new AbortController();
    const { run, states } = open(jobs);
    await run((_args, { signal }) => {
      return new Promise((resolve) => {
        signal.addEventListener("abort", () => resolve({ kind: "stopped" }));
        setTimeout(() => controller.abort(), 5);
      });
    }, { signal: controller.signal });
    expect(states()).toEqual(["waiting", "waiting", "waiting", "waiting"]);
  });

  it("begins no job that would not fit in memory, but for a first one", async () => {
    const jobs = await entered("matrix: {seed: [0, 1, 2]}");
    const puppets = new Puppets();
    let available = 1e9;
    const memory = new MemoryWatch(() => available);
    const whole = open(jobs).run(puppets.run, { atOnce: 3, memory });
    await puppets.atWork("s0");
    puppets.memory("s0", 2e9);
    // One more fits, by what the first was seen to hold; a third would not, as the second may grow.
    available = 3e9;
    puppets.stage("s0", "surgery");
    await puppets.atWork("s0", "s1");
    puppets.stage("s1", "surgery");
    puppets.end("s0");
    await puppets.atWork("s1");
    puppets.memory("s1", 2e9);
    puppets.stage("s1", "latency");
    puppets.end("s1");
    await puppets.atWork("s2");
    puppets.end("s2");
    await whole;
    expect(puppets.most).toBe(2);
    expect(new MemoryWatch(() => 0).fits([])).toBe(true);
    expect(new MemoryWatch(() => 0).fits([1])).toBe(false);
  });

  it("keeps what another job of the same name has left", async () => {
    const [one] = await entered("include: [{name: a, seed: 1}]");
    const [other] = await entered("include: [{name: a, seed: 2}]");
    const { ledger, out } = open([one]);
    ledger[Symbol.dispose]();
    const { ledger: after } = open([other], out);
    const folderOf = ({ digest }: EnteredJob): LedgerRow["folder"] => after.row(digest)!.folder;
    expect([folderOf(one), folderOf(other)]).toEqual(["a", `a-${other.digest.slice(0, 8)}`]);
  });

  it("of ten thousand jobs is entered and kept book of in no time", async () => {
    const seeds = Array.from({ length: 10_000 }, (_, seed) => seed);
    const jobs = await entered(`matrix: {seed: [${seeds}]}`);
    const started = performance.now();
    const { states } = open(jobs);
    expect(new Set(states())).toEqual(new Set(["waiting"]));
    expect((performance.now() - started) / jobs.length).toBeLessThan(2);
  });

  it("is told apart from a file that is no ledger", () => {
    const path = join(folder, "no.sqlite");
    Deno.writeTextFileSync(path, "this is no database, whatever its name says".repeat(50));
    expect(() => Ledger.open(path)).toThrow(/no\.sqlite: expected the ledger of a batch, but it /);
  });
});

describe("a job's digest", () => {
  it("is of its options and the files they name, not of threads or its name", async () => {
    Deno.writeTextFileSync(join(folder, "a.th"), "weights");
    const digest = async (text: string) => (await entered(`include: [${text}]`))[0].digest;
    const head = (options: string) =>
      `{name: x, options: {weights: a.th, data: "imagefolder:d"${options}}}`;
    const first = await digest(head(""));
    expect(await digest(head("").replace("x", "y"))).toBe(first);
    expect(await digest(head(", threads: 3"))).toBe(first);
    expect(await digest(head(", seed: 3"))).not.toBe(first);
    Deno.writeTextFileSync(join(folder, "a.th"), "others");
    expect(await digest(head(""))).not.toBe(first);
  });
});

describe("a machine", () => {
  it("takes a job a processor, and gives what is left over as threads", () => {
    expect(capacityOf(12, undefined, 2)).toEqual({ atOnce: 2, threads: 1 });
    expect(capacityOf(1, undefined, 8)).toEqual({ atOnce: 1, threads: 8 });
    expect(capacityOf(100, undefined, 64)).toEqual({ atOnce: 16, threads: 4 });
    expect(capacityOf(100, 3, 8)).toEqual({ atOnce: 3, threads: 2 });
  });
});
