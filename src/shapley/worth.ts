/** What a coalition is worth on a picture, and the margin behind it. */

/**
 * What a coalition is worth, a mean over images: minus the loss, or the probability given to the
 * right class. The second lies in [0, 1]: a network that a small coalition has broken can lose no
 * more than its accuracy, where its loss has no bound and outweighs everything near the cut.
 */
export type Worth = "loss" | "probability";

/** A picture's worth from its loss, which is minus the logarithm of the right class's probability. */
export const WORTH: Readonly<Record<Worth, (loss: number) => number>> = {
  loss: (loss) => -loss,
  probability: (loss) => Math.exp(-loss),
};

/** Margins kept; beyond them a loss in f32 is only rounding, or has left all bounds. */
const MOST_MARGIN = 14;
const LEAST_MARGIN = -30;

/**
 * The margin of a picture: the logarithm of the odds of its right class, log(p / (1 - p)). It is
 * the right class's logit less the log-sum-exp of the others, so that it moves by nearly the sum of
 * what channels add to the logits, where loss and probability bend.
 */
export function marginOf(worth: Worth, value: number): number {
  const loss = worth === "loss" ? -value : -Math.log(value);
  return Math.min(MOST_MARGIN, Math.max(LEAST_MARGIN, -Math.log(Math.expm1(Math.max(0, loss)))));
}

/** Factors multiplied before one logarithm; none is over e^100, as margins are bounded. */
const FACTORS = 4;

/** Mean worth over pictures from their odds against the right class, exp(-margin). */
export function meanWorth(worth: Worth, odds: Float64Array): number {
  let sum = 0;
  if (worth === "probability") {
    for (let i = 0; i < odds.length; i++) sum += 1 / (1 + odds[i]);
  } else {
    for (let first = 0; first < odds.length; first += FACTORS) {
      const end = Math.min(odds.length, first + FACTORS);
      let product = 1;
      for (let i = first; i < end; i++) product *= 1 + odds[i];
      sum -= Math.log(product);
    }
  }
  return sum / odds.length;
}
