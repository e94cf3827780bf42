/** Linear algebra in native code, outside any session. */

import { loadAddon } from "./binding.ts";
import { coded, codedError, requireOwnMemory } from "./native_errors.ts";

/**
 * Solves (gram + ridge * mean(diagonal) * I) X = rhs in f64 by Cholesky factorisation, off the
 * main thread. gram [n, n] is symmetric (its lower triangle is read), rhs and the result are
 * [n, m], all row-major. Rejects with "program-invalid" when lengths do not fit or memory is shared, and with
 * "numeric-failure" when the matrix is not positive definite to working precision.
 */
export async function choleskySolve(
  gram: Float64Array,
  rhs: Float64Array,
  n: number,
  m: number,
  ridge: number,
): Promise<Float64Array<ArrayBuffer>> {
  requireOwnMemory(gram, "the matrix");
  requireOwnMemory(rhs, "the right-hand side");
  try {
    return await loadAddon().choleskySolve(gram, rhs, n, m, ridge);
  } catch (thrown) {
    throw codedError(thrown);
  }
}

/**
 * Numerical ranks of `count` row-major matrices: singular values above
 * max(rows, columns) * eps(f32) * the largest; -1 where a matrix holds a NaN or an infinity.
 * Throws "program-invalid" when the length of `data` does not fit.
 */
export function numericalRanks(
  data: Float32Array,
  count: number,
  rows: number,
  columns: number,
): Int32Array {
  requireOwnMemory(data, "the matrices");
  return coded(() => loadAddon().ranks(data, count, rows, columns));
}
