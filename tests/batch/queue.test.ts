// Jobs by way of a queue in a real Redis; what they do is promises here.

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { requireReachable, withoutPassword } from "../../src/batch/queue/connect.ts";
import { JobQueue } from "../../src/batch/queue/job_queue.ts";
import { work } from "../../src/batch/queue/worker.ts";
import type { JobEnd, JobProcessOptions } from "../../src/batch/run/job_process.ts";
import type { RunJob } from "../../src/batch/run/scheduler.ts";
import { denoProgram, runCommand } from "../support/command_line.ts";
import { redisMissing, RedisServer } from "../support/batch/redis.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-queue-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const missing = redisMissing();
if (missing !== undefined) console.log(`Skipped: ${missing}.`);

const DONE: JobEnd = { kind: "done", outcome: { macs: 0.5, parameters: 0.5, top1: 0.9 } };

/** What a batch gives a job, and what it hears of it. */
function asked(name: string, signal = new AbortController().signal) {
  const stages: string[] = [];
  const options: JobProcessOptions = {
    cwd: folder,
    log: join(folder, name, "job.log"),
    signal,
    onStage: (stage) => stages.push(stage),
    onProgress: () => undefined,
    onMemory: () => undefined,
  };
  return { stages, options };
}

/** A worker that does `run` until it is stopped. */
function worker(address: string, run: RunJob, atOnce = 2) {
  const controller = new AbortController();
  const begun: string[] = [];
  const ended = work(address, {
    ...{ atOnce, threads: 3, run, signal: controller.signal },
    onBegin: (log) => begun.push(log),
    onEnd: () => undefined,
  });
  return {
    begun,
    stop: async () => {
      controller.abort();
      await ended;
    },
  };
}

describe.skipIf(missing !== undefined)("a queue of jobs", () => {
  let redis: RedisServer;
  beforeAll(async () => {
    mkdirSync(join(folder, "redis"));
    redis = await RedisServer.start(join(folder, "redis"));
  });
  afterAll(() => redis.stop());

  it("is emptied by workers, each job run once, and tells what they tell", async () => {
    await using queue = await JobQueue.open(redis.address);
    const given: string[] = [];
    const run: RunJob = (args, { onStage }) => {
      given.push(args.join(" "));
      onStage("surgery", undefined);
      return Promise.resolve(args[0] === "bad" ? { kind: "failed", error: "No." } : DONE);
    };
    const workers = [worker(redis.address, run), worker(redis.address, run)];
    const names = ["a", "b", "c", "d", "bad"];
    const jobs = names.map((name) => ({ name, ...asked(name) }));
    const ends = await Promise.all(jobs.map(({ name, options }) => queue.run([name], options)));
    expect(ends).toEqual([DONE, DONE, DONE, DONE, { kind: "failed", error: "No." }]);
    // A worker gives its own threads to jobs that name none.
    expect(given.sort()).toEqual(names.map((name) => `${name} --threads 3`).sort());
    expect(jobs[0].stages).toEqual(["surgery"]);
    for (const each of workers) await each.stop();
  });

  it("gives a job that a worker stops to another one", async () => {
    await using queue = await JobQueue.open(redis.address);
    const first = worker(redis.address, (_args, { signal }) => {
      return new Promise((resolve) => {
        signal.addEventListener("abort", () => resolve({ kind: "stopped" }));
      });
    });
    const end = queue.run(["e"], asked("e").options);
    while (first.begun.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    await first.stop();
    const second = worker(redis.address, () => Promise.resolve(DONE));
    expect([await end, second.begun.length]).toEqual([DONE, 1]);
    await second.stop();
  });

  it("tries a job again whose process was killed", async () => {
    await using queue = await JobQueue.open(redis.address);
    let tries = 0;
    const one = worker(redis.address, () => {
      const killed: JobEnd = { kind: "failed", error: "it was ended by SIGKILL", killed: true };
      return Promise.resolve(++tries < 2 ? killed : DONE);
    });
    expect([await queue.run(["f"], asked("f").options), tries]).toEqual([DONE, 2]);
    await one.stop();
  });

  it("has what was put into it after the server was killed, and by a batch that has gone", async () => {
    const controller = new AbortController();
    {
      await using queue = await JobQueue.open(redis.address);
      // As of a batch that was killed: nobody waits, the job stays.
      void queue.run(["g"], asked("g", controller.signal).options);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    await redis.stop("SIGKILL");
    await redis.start();
    let runs = 0;
    const one = worker(redis.address, () => {
      runs++;
      return Promise.resolve(DONE);
    });
    await using queue = await JobQueue.open(redis.address);
    expect([await queue.run(["g"], asked("g").options), runs]).toEqual([DONE, 1]);
    await one.stop();
  });

  it("takes back what no worker has begun when the batch is stopped", async () => {
    await using queue = await JobQueue.open(redis.address);
    const controller = new AbortController();
    const end = queue.run(["h"], asked("h", controller.signal).options);
    await new Promise((resolve) => setTimeout(resolve, 100));
    controller.abort();
    expect(await end).toEqual({ kind: "stopped" });
    const one = worker(redis.address, () => Promise.resolve(DONE));
    await new Promise((resolve) => setTimeout(resolve, 300));
    await one.stop();
    expect(one.begun).toEqual([]);
  });
});

describe("the address of a queue", () => {
  it.skipIf(denoProgram() === undefined)("is said, by sentence and exit code", async () => {
    const run = (args: string) => runCommand(args.split(" "), { cwd: folder });
    const without = await run("worker");
    expect([without.code, without.err]).toEqual([
      2,
      expect.stringMatching(/^Expected --queue with /),
    ]);
    const nobody = await run("worker --queue redis://127.0.0.1:1");
    expect([nobody.code, nobody.err])
      .toEqual([1, expect.stringMatching(/^redis:\/\/127\.0\.0\.1:1: expected a Redis /)]);
  });

  it("must be one, and something must answer there", async () => {
    for (const address of ["localhost:6379", "http://localhost", "redis://"]) {
      await expect(requireReachable(address)).rejects.toMatchObject({ code: "option-invalid" });
    }
    await expect(requireReachable("redis://127.0.0.1:1")).rejects.toThrow(
      /^redis:\/\/127\.0\.0\.1:1: expected a Redis or Valkey server, but it cannot be reached \(.*ECONN/,
    );
    expect(withoutPassword("redis://me:secret@host:1/2")).toBe("redis://me:...@host:1/2");
  });
});
