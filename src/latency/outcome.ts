/** What passes of a model take that was cut to a budget in time. */

import type { RuntimeName } from "./runtime.ts";

/** Milliseconds of one pass of the original and of the cut model, of equal conditions. */
export interface PassTimes {
  readonly original: number;
  readonly cut: number;
}

/** A budget in time beside what passes take: as predicted, and as measured. */
export interface LatencyOutcome {
  readonly runtime: RuntimeName;
  /** As layers' times have it. */
  readonly predicted: PassTimes;
  /** Absent where the table is of another machine or of another version of the runtime. */
  readonly measured?: PassTimes;
  /** How often widths were solved again. */
  readonly corrections: number;
}
