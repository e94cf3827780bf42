/**
 * Whether what started a run is still there. A signal to npx ends npx and the shell it runs, which
 * pass nothing on: `deno task` and the run would go on with nobody to answer to.
 */

import process from "node:process";
import { loadAddon } from "../../native/binding.ts";
import { standardOutput } from "./streams.ts";

/** Set to "stdin" by a batch, whose jobs end with it: they hold the other end of a pipe. */
export const STARTER_PIPE = "SECATEUR_STARTER";

/** Whether a batch started this run. */
export const isJob = (): boolean => process.env[STARTER_PIPE] === "stdin";

/** Milliseconds between two words about memory. */
const MEMORY_INTERVAL = 2000;

/** Tells the batch that started this run, if one did, how much memory it holds, until the end. */
export function tellMemory(): void {
  if (!isJob()) return;
  const tell = () => {
    const event = { event: "memory", bytes: process.memoryUsage().rss };
    standardOutput.write(`${JSON.stringify(event)}\n`);
  };
  setInterval(tell, MEMORY_INTERVAL).unref();
}

/** Milliseconds between two looks. */
const INTERVAL = 1000;

/**
 * Calls `gone` once when a batch or npx has ended before this process; npx is looked after every second.
 * Only under these: elsewhere a run may be left behind on purpose, as by a shell that started it in the
 * background. The process that `deno task` runs in is this one's parent, and what npx runs is that one's.
 */
export function onStarterGone(
  gone: () => void,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): void {
  if (environment[STARTER_PIPE] === "stdin") {
    process.stdin.once("end", gone).once("error", gone).resume();
    return;
  }
  if (environment.npm_command !== "exec" || environment.INIT_CWD === undefined) return;
  const ancestry = () => loadAddon().ancestry().join();
  let first: string | undefined;
  const timer = setInterval(() => {
    try {
      first ??= ancestry();
      if (ancestry() === first) return;
      gone();
    } catch {
      // Without an addon there is no run to stop.
    }
    clearInterval(timer);
  }, INTERVAL);
  timer.unref();
}
