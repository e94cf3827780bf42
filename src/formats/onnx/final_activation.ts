/** What a model's answer goes through behind its logits: left out of graphs, and put back in files. */

/** Operators that turn logits into probabilities. */
export const FINAL_OPERATORS = ["Softmax", "LogSoftmax", "Sigmoid"] as const;

/** The last operator of a model, over one image's [classes] logits. */
export interface FinalActivation {
  readonly op: typeof FINAL_OPERATORS[number];
  /** The layer's name. */
  readonly node: string;
  /** What the model calls its answer. */
  readonly output: string;
}

/** Answers from logits, [images][classes] both, in f64. */
export function activated(
  logits: ArrayLike<number>,
  classes: number,
  op: FinalActivation["op"] | undefined,
): Float64Array {
  const answers = Float64Array.from(logits);
  if (op === "Sigmoid") return answers.map((value) => 1 / (1 + Math.exp(-value)));
  if (op === undefined) return answers;
  for (let at = 0; at < answers.length; at += classes) {
    const row = answers.subarray(at, at + classes);
    const largest = row.reduce((most, value) => Math.max(most, value), -Infinity);
    const sum = row.reduce((total, value) => total + Math.exp(value - largest), 0);
    const logarithm = largest + Math.log(sum);
    row.forEach((value, c) =>
      row[c] = op === "LogSoftmax" ? value - logarithm : Math.exp(value - logarithm)
    );
  }
  return answers;
}
