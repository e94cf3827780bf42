/** How many jobs a machine takes at once: by its processors, and by the memory that jobs were seen to hold. */

import { availableParallelism } from "node:os";

/** Bytes that a job is taken to hold before any has been seen. */
const FIRST_GUESS = 2 ** 30;
/** Jobs at once beyond which each gets more threads instead. */
const MOST_AT_ONCE = 16;

export interface Capacity {
  readonly atOnce: number;
  /** Of each job; left out, whoever runs it decides. */
  readonly threads?: number;
}

/** Jobs at once and threads each, for so many processors; results depend on neither. */
export function capacityOf(
  jobs: number,
  asked: number | undefined,
  processors: number = availableParallelism(),
): Required<Capacity> {
  const atOnce = Math.max(1, Math.min(asked ?? Math.min(processors, MOST_AT_ONCE), jobs));
  return { atOnce, threads: Math.max(1, Math.floor(processors / atOnce)) };
}

/** Remembers what jobs held, and says whether one more would fit. */
export class MemoryWatch {
  readonly #available: () => number;
  #largest = 0;

  /** `available`: bytes that can be had without swapping. */
  constructor(available: () => number = () => Deno.systemMemoryInfo().available) {
    this.#available = available;
  }

  /** A job was seen to hold so many bytes. */
  saw(bytes: number): void {
    this.#largest = Math.max(this.#largest, bytes);
  }

  /** Whether another job fits beside those that run, which may still grow to what others held. */
  fits(running: readonly number[]): boolean {
    const each = this.#largest || FIRST_GUESS;
    const growth = running.reduce((sum, held) => sum + Math.max(0, each - held), 0);
    return running.length === 0 || this.#available() >= each + growth;
  }
}
