/**
 * Coded errors. Everything a user can cause arrives as one of these: a stable code for programs,
 * one sentence for people saying what was expected, what came, where, and what to do.
 */

/** Stable identifiers of what went wrong; programs may switch on them. */
export type ErrorCode =
  | "file-missing"
  | "file-unreadable"
  | "file-unwritable"
  | "format-unknown"
  | "format-corrupt"
  | "format-unsafe"
  | "image-unreadable"
  | "data-empty"
  | "data-mismatch"
  | "weights-missing"
  | "weights-unexpected"
  | "weights-shape"
  | "graph-invalid"
  | "graph-unsupported"
  | "budget-impossible"
  | "option-unknown"
  | "option-invalid"
  | "addon-missing"
  | "addon-failed"
  | "device-missing"
  | "platform-unsupported"
  | "program-invalid"
  | "numeric-failure"
  | "check-failed"
  | "checkpoint-mismatch"
  | "network-failed"
  | "cancelled";

/** An error with a code and one sentence; the CLI prints the sentence and exits non-zero. */
export class SecateurError extends Error {
  override readonly name = "SecateurError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, sentence: string, options?: { cause?: unknown }) {
    super(sentence, options);
    this.code = code;
  }
}

/** The message of anything thrown, for use inside a sentence. */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
