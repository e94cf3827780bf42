/** What repeated measurements of the same thing come to. */

/** Milliseconds of one forward pass: median and quartiles of alternating runs. */
export interface Timing {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/** The value below which `share` of the sorted times lie, interpolated. */
function quantile(sorted: Float64Array, share: number): number {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}

/** Median and quartiles. */
export function timingOf(milliseconds: readonly number[]): Timing {
  const sorted = Float64Array.from(milliseconds).sort();
  return {
    median: quantile(sorted, 0.5),
    low: quantile(sorted, 0.25),
    high: quantile(sorted, 0.75),
  };
}
