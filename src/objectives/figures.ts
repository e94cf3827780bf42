/** What an objective says of a model on pictures. */

/** By how much an output differs from the original's: a share of its variance. */
export interface OutputError {
  readonly output: string;
  readonly error: number;
}

export interface Figures {
  /** Mean over pictures; what every choice goes by. */
  readonly loss: number;
  readonly total: number;
  /** Of a classifier: shares in [0, 1] and pictures. */
  readonly top1?: number;
  readonly top5?: number;
  readonly correct?: number;
  /** Of a model matched to its original, in the order of its outputs. */
  readonly errors?: readonly OutputError[];
}
