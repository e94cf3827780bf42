/**
 * A learning rate tried before it is trusted. Networks without batch norm, with gates or products of
 * features, are ruined within a few steps by a rate that others bear; a few steps show it.
 */

/** A probe takes a fiftieth of the run, within these bounds. */
const LEAST_STEPS = 8, MOST_STEPS = 16, SHARE = 0.02;
/** Losses at the end of a probe that are averaged. */
const RECENT = 3;
/** What is left of a rate that ruins, and how often that is tried. */
export const LOWERED = 1 / 4, TRIES = 5;

/** Steps to try a rate on. */
export function probeSteps(totalSteps: number): number {
  const steps = Math.max(LEAST_STEPS, Math.ceil(SHARE * totalSteps));
  return Math.min(steps, MOST_STEPS, totalSteps);
}

/**
 * Whether these cross entropies, one a step and the first from before any update, are those of a network
 * being ruined: not finite, back at three quarters of the way to answering at random for one that knew
 * something, or twice as bad as random for one that did not.
 */
export const isRuined = (losses: readonly number[], classes: number): boolean =>
  isRuinedFrom(losses, Math.log(classes));

/** As isRuined, of losses that are `chance` where a network knows nothing. */
export function isRuinedFrom(losses: readonly number[], chance: number): boolean {
  if (!losses.every(Number.isFinite)) return true;
  const [first] = losses;
  const recent = losses.slice(1).slice(-RECENT);
  if (recent.length === 0) return false;
  const mean = recent.reduce((sum, loss) => sum + loss, 0) / recent.length;
  const knows = first < 0.75 * chance;
  return mean > (knows ? first + 0.75 * (chance - first) : 2 * Math.max(first, chance));
}

/** Mean cross entropy of logits [labels.length, classes]. */
export function crossEntropy(logits: Float32Array, labels: Int32Array): number {
  const classes = logits.length / labels.length;
  let sum = 0;
  labels.forEach((label, image) => {
    const row = logits.subarray(image * classes, (image + 1) * classes);
    const largest = row.reduce((most, logit) => Math.max(most, logit), -Infinity);
    const total = row.reduce((so, logit) => so + Math.exp(logit - largest), 0);
    sum += largest + Math.log(total) - row[label];
  });
  return sum / labels.length;
}
