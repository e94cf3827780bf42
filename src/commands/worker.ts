/** `worker`: runs jobs that `batch --queue` has put into a queue, until it is stopped. */

import { work } from "../batch/queue/worker.ts";
import { withoutPassword } from "../batch/queue/connect.ts";
import { capacityOf } from "../batch/run/capacity.ts";
import { runJobProcess } from "../batch/run/job_process.ts";
import { SecateurError } from "../errors.ts";
import { loadAddon } from "../native/binding.ts";
import { parseOptions } from "./options/parse.ts";
import { WORKER_OPTIONS } from "./options/worker.ts";
import { openConsole } from "./terminal/console.ts";

/** Runs the command with commander's options. */
export async function runWorker(
  raw: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
): Promise<void> {
  const { queue, atOnce } = parseOptions(WORKER_OPTIONS, raw);
  if (queue === undefined) {
    throw new SecateurError(
      "option-invalid",
      "Expected --queue with the address of the jobs, such as redis://localhost:6379.",
    );
  }
  loadAddon();
  const console = openConsole(false);
  const capacity = capacityOf(Infinity, atOnce);
  await work(queue, {
    ...capacity,
    signal,
    run: runJobProcess,
    onBegin: (log) => console.stage("Begins", log),
    onEnd: (log, { kind, error }) =>
      console.stage(`${kind[0].toUpperCase()}${kind.slice(1)}`, error ? `${log}: ${error}` : log),
  });
  console.stage("Stopped", `jobs that were begun are back at ${withoutPassword(queue)}`);
}
