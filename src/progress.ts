/** What every long-running function reports, and how it is asked to stop. */

/** A snapshot of progress within one stage. */
export interface Progress {
  readonly stage: string;
  readonly done: number;
  readonly total: number;
  /** What is counted, plural: "images", "evaluations", "steps". */
  readonly unit: string;
  /** Figures worth showing beside the bar, such as loss. */
  readonly figures?: Readonly<Record<string, number>>;
}

/** Options shared by everything that may take longer than a second. */
export interface RunOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
}
