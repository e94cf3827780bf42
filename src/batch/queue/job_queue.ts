/**
 * Jobs by way of a queue: each is put there, run by whichever worker takes it, and its end waited for. A
 * batch that goes away leaves them there; the same batch begun again finds them, done or not.
 */

import { createHash } from "node:crypto";
import { Queue, QueueEvents } from "bullmq";
import { setTimeout } from "node:timers/promises";
import { reasonOf } from "../../errors.ts";
import type { JobEnd, JobProcessOptions } from "../run/job_process.ts";
import type { RunJob } from "../run/scheduler.ts";
import { connect, QUEUE, requireReachable } from "./connect.ts";
import type { JobNews, QueuedJob } from "./message.ts";

/** Tries of a job whose process is ended from outside, and milliseconds before the second. */
const TRIES = 3;
const FIRST_PAUSE = 2000;
/** Milliseconds between two looks at a job whose end was not told: the server may have been away. */
const LOOK = 15_000;

/** A job's end that is waited for, and who is told of it meanwhile. */
interface Awaited {
  readonly options: JobProcessOptions;
  readonly look: () => void;
}

export class JobQueue implements AsyncDisposable {
  readonly #queue: Queue<QueuedJob, JobEnd>;
  readonly #events: QueueEvents;
  readonly #awaited = new Map<string, Awaited>();

  private constructor(address: string) {
    this.#queue = new Queue(QUEUE, { connection: connect(address) });
    this.#events = new QueueEvents(QUEUE, { connection: connect(address) });
    const look = ({ jobId }: { jobId: string }) => this.#awaited.get(jobId)?.look();
    this.#events.on("completed", look);
    this.#events.on("failed", look);
    this.#events.on("progress", ({ jobId, data }) => {
      const told = this.#awaited.get(jobId);
      if (told !== undefined) tell(told.options, data as unknown as JobNews);
    });
    // Connections try again by themselves.
    this.#queue.on("error", () => undefined);
    this.#events.on("error", () => undefined);
  }

  /** Throws as `requireReachable`. */
  static async open(address: string): Promise<JobQueue> {
    await requireReachable(address);
    const queue = new JobQueue(address);
    await queue.#events.waitUntilReady();
    return queue;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#events.close();
    await this.#queue.close();
  }

  /** As `runJobProcess`, by a worker. */
  readonly run: RunJob = async (args, options) => {
    const { cwd, log, signal } = options;
    const data: QueuedJob = { args, cwd, log };
    const id = createHash("sha256").update(JSON.stringify(data)).digest("hex");
    const ended = Promise.withResolvers<void>();
    let changed = ended;
    this.#awaited.set(id, { options, look: () => changed.resolve() });
    const stop = () => changed.resolve();
    signal.addEventListener("abort", stop);
    try {
      await this.#put(id, data);
      for (;;) {
        const end = await this.#end(id);
        if (end !== undefined) return end;
        // One that no worker has begun is taken back; one at work goes on there.
        if (signal.aborted) {
          await this.#queue.remove(id).catch(() => undefined);
          return { kind: "stopped" };
        }
        await Promise.race([changed.promise, setTimeout(LOOK, undefined, { ref: false })]);
        changed = Promise.withResolvers();
      }
    } catch (thrown) {
      return { kind: "failed", error: `the queue: ${reasonOf(thrown)}` };
    } finally {
      signal.removeEventListener("abort", stop);
      this.#awaited.delete(id);
    }
  };

  async #put(id: string, data: QueuedJob): Promise<void> {
    await this.#queue.add("prune", data, {
      jobId: id,
      attempts: TRIES,
      backoff: { type: "exponential", delay: FIRST_PAUSE },
    });
  }

  /** How a job ended, which is then no longer in the queue; undefined while it has not. */
  async #end(id: string): Promise<JobEnd | undefined> {
    const state = await this.#queue.getJobState(id);
    if (state === "unknown") return { kind: "failed", error: "it was removed from the queue" };
    if (state !== "completed" && state !== "failed") return undefined;
    // Only now: what is read before a job ends lacks how it ended.
    const job = await this.#queue.getJob(id);
    if (job === undefined) return undefined;
    await job.remove();
    return state === "completed" ? job.returnvalue : { kind: "failed", error: job.failedReason };
  }
}

function tell({ onStage, onProgress }: JobProcessOptions, news: JobNews): void {
  if (news.kind === "stage") onStage(news.stage, news.detail);
  else onProgress(news.progress);
}
