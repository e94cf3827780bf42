/** Gives what native code throws its type. */

import { type ErrorCode, SecateurError } from "../errors.ts";

/** Runs a native call; what it throws with a `code` becomes a SecateurError. */
export function coded<T>(call: () => T): T {
  try {
    return call();
  } catch (thrown) {
    throw codedError(thrown);
  }
}

/** A native error as a SecateurError; anything without a `code`, such as a TypeError, stays. */
export function codedError(thrown: unknown): unknown {
  if (thrown instanceof SecateurError || !(thrown instanceof Error)) return thrown;
  const { code } = thrown as Error & { code?: unknown };
  if (typeof code !== "string") return thrown;
  return new SecateurError(code as ErrorCode, thrown.message, { cause: thrown });
}

/**
 * Throws "program-invalid" for a view of shared memory: another thread may change it while it is
 * copied, so native code does not take it. `what` names it in the sentence.
 */
export function requireOwnMemory(data: ArrayBufferView, what: string): void {
  if (!(data.buffer instanceof SharedArrayBuffer)) return;
  throw new SecateurError(
    "program-invalid",
    `Expected memory of its own for ${what}, found a view of a SharedArrayBuffer; give a copy of ` +
      `it, such as slice() makes.`,
  );
}
