// Least squares in native code against the definition of the solution.

import { describe, expect, it } from "vitest";
import { SecateurError } from "../../src/errors.ts";
import { choleskySolve } from "../../src/native/linear_algebra.ts";

/** n x m numbers around zero from a fixed sequence. */
function matrix(rows: number, columns: number, seed: number): Float64Array {
  return Float64Array.from(
    { length: rows * columns },
    (_, i) => Math.sin((i + 1) * 12.9898 * seed),
  );
}

/** samples^T samples [n, n] for samples [count, n]. */
function gramOf(samples: Float64Array, count: number, n: number): Float64Array {
  const gram = new Float64Array(n * n);
  for (let s = 0; s < count; s++) {
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) gram[i * n + j] += samples[s * n + i] * samples[s * n + j];
    }
  }
  return gram;
}

/** Largest |(gram + shift I) x - rhs|. */
function residual(
  gram: Float64Array,
  x: Float64Array,
  rhs: Float64Array,
  [n, m]: readonly [number, number],
  shift: number,
): number {
  let worst = 0;
  for (let i = 0; i < n; i++) {
    for (let c = 0; c < m; c++) {
      let sum = shift * x[i * m + c] - rhs[i * m + c];
      for (let k = 0; k < n; k++) sum += gram[i * n + k] * x[k * m + c];
      worst = Math.max(worst, Math.abs(sum));
    }
  }
  return worst;
}

async function rejection(promise: Promise<unknown>): Promise<SecateurError> {
  const error = await promise.then(() => undefined, (reason) => reason);
  expect(error).toBeInstanceOf(SecateurError);
  return error;
}

describe("choleskySolve", () => {
  it("solves systems of sizes around its blocks and tiles", async () => {
    for (const [n, m] of [[1, 1], [3, 5], [63, 16], [64, 17], [65, 1], [130, 40], [257, 3]]) {
      const gram = gramOf(matrix(2 * n, n, 1.1), 2 * n, n);
      const rhs = matrix(n, m, 0.7);
      const mean = gram.reduce((sum, value, i) => i % (n + 1) === 0 ? sum + value : sum, 0) / n;
      const x = await choleskySolve(gram, rhs, n, m, 1e-3);
      expect(residual(gram, x, rhs, [n, m], 1e-3 * mean), `${n} x ${m}`).toBeLessThan(1e-10);
    }
  });

  it("reads the lower triangle only, and leaves its arguments alone", async () => {
    const gram = Float64Array.of(4, 99, 2, 5);
    const rhs = Float64Array.of(8, 9);
    const x = await choleskySolve(gram, rhs, 2, 1, 0);
    expect([...x]).toEqual([1.375, 1.25]);
    expect([...gram]).toEqual([4, 99, 2, 5]);
    expect([...rhs]).toEqual([8, 9]);
  });

  it("refuses matrices that are not positive definite", async () => {
    const singular = gramOf(matrix(3, 10, 1.3), 3, 10);
    const rhs = matrix(10, 2, 1);
    const error = await rejection(choleskySolve(singular, rhs, 10, 2, 0));
    expect(error.code).toBe("numeric-failure");
    expect(error.message).toMatch(/10 unknowns.*pivot \d/);
    expect(await choleskySolve(singular, rhs, 10, 2, 1e-3)).toHaveLength(20);
    const broken = Float64Array.of(NaN);
    expect((await rejection(choleskySolve(broken, broken, 1, 1, 0))).code).toBe("numeric-failure");
  });

  it("refuses lengths that do not fit and negative ridges", async () => {
    const one = Float64Array.of(1);
    expect((await rejection(choleskySolve(one, one, 2, 1, 0))).code).toBe("program-invalid");
    expect((await rejection(choleskySolve(one, one, 1, 2, 0))).code).toBe("program-invalid");
    expect((await rejection(choleskySolve(one, one, 0, 1, 0))).code).toBe("program-invalid");
    expect((await rejection(choleskySolve(one, one, 1, 1, -1))).code).toBe("option-invalid");
  });
});
