/** A rate as people write it: 0.0125. */
export const rateText = (rate: number): string => String(Number(rate.toPrecision(3)));

/** Learning rate as a share of its peak: linear warm-up, then half a cosine down to zero. */
export interface Schedule {
  readonly peak: number;
  readonly warmupSteps: number;
  readonly totalSteps: number;
}

/**
 * Learning rate of a step, counted from 0 (Loshchilov & Hutter, arXiv 1608.03983, without
 * restarts; warm-up as in Goyal et al., arXiv 1706.02677).
 */
export function learningRate({ peak, warmupSteps, totalSteps }: Schedule, step: number): number {
  if (step < warmupSteps) return peak * (step + 1) / warmupSteps;
  const progress = (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps);
  return peak * (1 + Math.cos(Math.PI * Math.min(1, progress))) / 2;
}

/**
 * Epochs of warm-up where none are asked for: one, or a quarter of a run shorter than four. A
 * network that has just been cut does not bear the peak rate at once.
 */
export function defaultWarmup(epochs: number): number {
  return Math.min(1, epochs / 4);
}
