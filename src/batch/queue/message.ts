/** What a batch and its workers tell each other of a job. */

import type { Progress } from "../../progress.ts";

/** A job in a queue. Paths are absolute, and the same on every machine: folders are shared. */
export interface QueuedJob {
  /** Arguments of `prune`, threads aside: every worker gives what it has. */
  readonly args: readonly string[];
  readonly cwd: string;
  readonly log: string;
}

/** What is told of a job at work. */
export type JobNews =
  | { readonly kind: "stage"; readonly stage: string; readonly detail?: string }
  | { readonly kind: "progress"; readonly progress: Progress };
