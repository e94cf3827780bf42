/** Eigenvalues of small symmetric matrices, without vectors. */

/** Tridiagonal form by Householder's reflections (Golub & Van Loan, Matrix Computations, 8.3.1). */
function tridiagonal(matrix: Float64Array, n: number) {
  const a = matrix.slice();
  const diagonal = new Float64Array(n), beside = new Float64Array(n);
  const p = new Float64Array(n), v = new Float64Array(n);
  for (let k = 0; k + 2 < n; k++) {
    let norm = 0;
    for (let i = k + 1; i < n; i++) norm += a[i * n + k] ** 2;
    norm = Math.sqrt(norm);
    const first = a[(k + 1) * n + k];
    const alpha = first > 0 ? -norm : norm;
    const square = norm * (norm + Math.abs(first));
    if (square === 0) continue;
    for (let i = k + 1; i < n; i++) v[i] = a[i * n + k] - (i === k + 1 ? alpha : 0);
    let along = 0;
    for (let i = k + 1; i < n; i++) {
      let sum = 0;
      for (let j = k + 1; j < n; j++) sum += a[i * n + j] * v[j];
      p[i] = sum / square;
      along += p[i] * v[i];
    }
    for (let i = k + 1; i < n; i++) p[i] -= along / (2 * square) * v[i];
    for (let i = k + 1; i < n; i++) {
      for (let j = k + 1; j < n; j++) a[i * n + j] -= v[i] * p[j] + p[i] * v[j];
    }
    a[(k + 1) * n + k] = alpha;
  }
  for (let i = 0; i < n; i++) {
    diagonal[i] = a[i * n + i];
    if (i + 1 < n) beside[i] = a[(i + 1) * n + i];
  }
  return { diagonal, beside };
}

/** Steps of the implicit QL method after which an eigenvalue counts as found. */
const MOST_STEPS = 60;

/** One implicit QL step on rows `low` to `high` (Golub & Van Loan, 8.3.5, from below). */
function step(diagonal: Float64Array, beside: Float64Array, low: number, high: number): void {
  const g = (diagonal[low + 1] - diagonal[low]) / (2 * beside[low]);
  const root = Math.hypot(g, 1);
  let shifted = diagonal[high] - diagonal[low] + beside[low] / (g + (g >= 0 ? root : -root));
  let sine = 1, cosine = 1, carried = 0;
  for (let i = high - 1; i >= low; i--) {
    const f = sine * beside[i], b = cosine * beside[i];
    const length = Math.hypot(f, shifted);
    beside[i + 1] = length;
    if (length === 0) {
      diagonal[i + 1] -= carried;
      beside[high] = 0;
      return;
    }
    sine = f / length;
    cosine = shifted / length;
    const left = diagonal[i + 1] - carried;
    const turned = (diagonal[i] - left) * sine + 2 * cosine * b;
    carried = sine * turned;
    diagonal[i + 1] = left + carried;
    shifted = cosine * turned - b;
  }
  diagonal[low] -= carried;
  beside[low] = shifted;
  beside[high] = 0;
}

/** Eigenvalues of a symmetric matrix [n, n], in no order. */
export function eigenvalues(matrix: Float64Array, n: number): Float64Array {
  const { diagonal, beside } = tridiagonal(matrix, n);
  for (let low = 0; low < n; low++) {
    for (let tries = 0; tries < MOST_STEPS; tries++) {
      let high = low;
      while (high + 1 < n) {
        const scale = Math.abs(diagonal[high]) + Math.abs(diagonal[high + 1]);
        if (Math.abs(beside[high]) <= Number.EPSILON * scale) break;
        high++;
      }
      if (high === low) break;
      step(diagonal, beside, low, high);
    }
  }
  return diagonal;
}
