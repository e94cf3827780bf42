/**
 * A job as a process of its own: `prune` with the permissions of its task, so that whatever happens to
 * it happens to nothing else. It ends when this process does, however that ends.
 */

import { spawn } from "node:child_process";
import { createWriteStream, existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { STARTER_PIPE } from "../../commands/terminal/starter.ts";
import { ROOT } from "../../native/setup/sources.ts";
import type { Progress } from "../../progress.ts";
import type { JobOutcome } from "./ledger.ts";

/** What a job's process said, and how it ended. */
export interface JobEnd {
  readonly kind: "done" | "failed" | "stopped";
  readonly outcome?: JobOutcome;
  /** The last thing it said, where it failed. */
  readonly error?: string;
  /** It failed since its process was ended from outside, so that another try may do better. */
  readonly killed?: boolean;
}

export interface JobProcessOptions {
  /** Folder that relative paths start from. */
  readonly cwd: string;
  /** File that takes what the process says; in the job's folder. */
  readonly log: string;
  readonly signal: AbortSignal;
  readonly onStage: (stage: string, detail: string | undefined) => void;
  readonly onProgress: (progress: Progress) => void;
  /** Bytes that it holds. */
  readonly onMemory: (bytes: number) => void;
}

/** The program of `deno task prune`, before the arguments of prune itself. */
function pruneProgram(): string[] {
  const { tasks } = JSON.parse(readFileSync(join(ROOT, "deno.json"), "utf8")) as {
    tasks: Record<string, { command: string }>;
  };
  const words = tasks.prune.command.split(" ").slice(1, -1);
  const own = words.map((word) => word === "src/cli.ts" ? join(ROOT, word) : word);
  return [process.execPath, own[0], `--config=${join(ROOT, "deno.json")}`, ...own.slice(1)];
}

/** Events of `prune --json` that matter here. */
type Event =
  | { readonly event: "stage"; readonly stage: string; readonly detail?: string }
  | ({ readonly event: "progress" } & Progress)
  | { readonly event: "memory"; readonly bytes: number }
  | ({ readonly event: "result" } & Results);

/** Of a report's results, what a table of jobs shows. */
interface Results {
  readonly cost: Readonly<
    Record<"before" | "after", { readonly macs: number; readonly parameters: number }>
  >;
  readonly written: { readonly step: string };
  readonly accuracy: Readonly<
    Record<string, readonly { readonly set: string; readonly top1: number }[]>
  >;
}

export function outcomeOf({ cost, written, accuracy }: Results, memory: number): JobOutcome {
  const { before, after } = cost;
  const measured = accuracy[written.step];
  const test = measured.find(({ set }) => set === "test") ?? measured[0];
  return {
    macs: after.macs / before.macs,
    parameters: after.parameters / before.parameters,
    top1: test.top1,
    memory,
  };
}

/** Exit code of a run that was asked to stop. */
const INTERRUPTED = 130;

/**
 * Runs a job to its end, or goes on with one that was begun. Never rejects: what goes wrong is how the
 * job ended.
 */
export function runJobProcess(
  args: readonly string[],
  { cwd, log, signal, onStage, onProgress, onMemory }: JobProcessOptions,
): Promise<JobEnd> {
  const { INIT_CWD: _typed, npm_command: _npx, ...environment } = process.env;
  const [program, ...own] = pruneProgram();
  const resume = existsSync(join(dirname(log), "run", "run.json")) ? ["--resume"] : [];
  const child = spawn(program, [...own, "prune", ...args, ...resume, "--json"], {
    cwd,
    env: { ...environment, [STARTER_PIPE]: "stdin", NO_COLOR: "1" },
    // Standard input is never written to: its end tells the job that this process has ended.
    stdio: ["pipe", "pipe", "pipe"],
  });
  const file = createWriteStream(log, { flags: "a" });
  const note = (text: string) => file.write(`${new Date().toISOString()} ${text}\n`);
  note(`secateur prune ${[...args, ...resume].join(" ")}`);
  let memory = 0, last = "", outcome: JobOutcome | undefined;
  const take = (event: Event) => {
    if (event.event === "progress") onProgress(event);
    else if (event.event === "memory") onMemory(memory = Math.max(memory, event.bytes));
    else if (event.event === "result") outcome = outcomeOf(event, memory);
    else if (event.event === "stage") {
      note(event.detail === undefined ? event.stage : `${event.stage}: ${event.detail}`);
      onStage(event.stage, event.detail);
    }
  };
  createInterface({ input: child.stdout! }).on("line", (line) => {
    try {
      take(JSON.parse(line) as Event);
    } catch {
      note(line);
    }
  });
  createInterface({ input: child.stderr! }).on("line", (line) => {
    if (line.trim() === "") return;
    last = line;
    note(line);
  });
  const stop = () => child.kill("SIGTERM");
  signal.addEventListener("abort", stop);
  if (signal.aborted) stop();
  return new Promise((resolve) => {
    const end = (result: JobEnd) => {
      signal.removeEventListener("abort", stop);
      note(result.error ?? result.kind);
      file.end(() => resolve(result));
    };
    child.on("error", (thrown) => end({ kind: "failed", error: thrown.message }));
    child.on("close", (code, killed) => {
      if (code === 0 && outcome !== undefined) return end({ kind: "done", outcome });
      const asked = signal.aborted || code === INTERRUPTED || killed === "SIGINT";
      if (asked) return end({ kind: "stopped" });
      const how = killed ? `it was ended by ${killed}` : `it ended with ${code}`;
      end({
        kind: "failed",
        error: last === "" || killed ? `${how}${last && `, after: ${last}`}` : last,
        ...(killed ? { killed: true } : {}),
      });
    });
  });
}
