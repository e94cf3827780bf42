/**
 * Whether what started a run is still there. A signal to npx ends npx and the shell it runs, which
 * pass nothing on: `deno task` and the run would go on with nobody to answer to.
 */

import process from "node:process";
import { loadAddon } from "../../native/binding.ts";

/** Milliseconds between two looks. */
const INTERVAL = 1000;

/**
 * Calls `gone` once when npx has ended before this process, looking every second. Only under npx:
 * elsewhere a run may be left behind on purpose, as by a shell that started it in the background. The
 * process that `deno task` runs in is this one's parent, and what npx runs is that one's.
 */
export function onStarterGone(
  gone: () => void,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): void {
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
