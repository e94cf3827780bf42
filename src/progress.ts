/** What every long-running function reports, and how it is asked to stop. */

import { SecateurError } from "./errors.ts";

/** A snapshot of progress within one stage. */
export interface Progress {
  readonly stage: string;
  readonly done: number;
  readonly total: number;
  /** What is counted, plural: "images", "evaluations", "steps". */
  readonly unit: string;
  /** The same in units of equal cost, where one `unit` costs more than another. */
  readonly work?: Readonly<{ done: number; total: number }>;
  /** Totals are upper bounds: they may fall, and the stage may end sooner. */
  readonly atMost?: boolean;
  /** Figures worth showing beside the bar, such as loss. */
  readonly figures?: Readonly<Record<string, number>>;
}

/** Options shared by everything that may take longer than a second. */
export interface RunOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
}

/** Throws "cancelled" when the signal asks for a stop. */
export function stopIfAsked(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new SecateurError("cancelled", "Stopped, as asked.");
}
