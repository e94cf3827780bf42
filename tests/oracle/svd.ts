/** Singular values in plain f64: what numerical ranks are held against. */

/** The column's elements, one array per column. */
type Columns = Float64Array[];

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/**
 * Squared lengths below this are zero, for elements up to 1: what rounding leaves of a dependent
 * column shrinks from sweep to sweep until products underflow and it cannot settle.
 */
const NEGLIGIBLE = 1e-60;

/** Rotates two columns so that they become orthogonal; false when they were, within rounding. */
function orthogonalise(a: Float64Array, b: Float64Array): boolean {
  const aa = dot(a, a), bb = dot(b, b), ab = dot(a, b);
  if (aa < NEGLIGIBLE || bb < NEGLIGIBLE) return false;
  if (Math.abs(ab) <= a.length * Number.EPSILON * Math.sqrt(aa * bb)) return false;
  const zeta = (bb - aa) / (2 * ab);
  const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
  const cosine = 1 / Math.hypot(1, tangent), sine = cosine * tangent;
  for (let i = 0; i < a.length; i++) {
    const x = a[i]!, y = b[i]!;
    a[i] = cosine * x - sine * y;
    b[i] = sine * x + cosine * y;
  }
  return true;
}

/**
 * Singular values, descending, of a row-major rows x cols matrix, by one-sided Jacobi (Hestenes,
 * 1958): rotate pairs of columns until all are orthogonal; their lengths are the singular values.
 * Throws when 60 sweeps do not suffice.
 */
export function singularValues(matrix: ArrayLike<number>, rows: number, cols: number): number[] {
  // The shorter side gives the columns: a matrix and its transpose have the same singular values.
  const [length, count, step, next] = rows >= cols ? [rows, cols, cols, 1] : [cols, rows, 1, cols];
  let largest = 0;
  for (let i = 0; i < rows * cols; i++) largest = Math.max(largest, Math.abs(matrix[i]!));
  if (largest === 0) return new Array<number>(count).fill(0);
  const columns: Columns = Array.from(
    { length: count },
    (_, c) => Float64Array.from({ length }, (_, r) => matrix[c * next + r * step]! / largest),
  );
  for (let sweep = 0;; sweep++) {
    if (sweep === 60) throw new Error("One-sided Jacobi did not converge in 60 sweeps.");
    let rotated = false;
    for (let i = 0; i < count; i++) {
      for (let j = i + 1; j < count; j++) {
        if (orthogonalise(columns[i]!, columns[j]!)) rotated = true;
      }
    }
    if (!rotated) break;
  }
  return columns.map((column) => Math.sqrt(dot(column, column)) * largest).sort((a, b) => b - a);
}

/** Singular values, descending, counted against max(rows, cols) * eps(f32) * the largest. */
export interface RankVerdict {
  readonly rank: number;
  /** How many lie within a factor 2 of the tolerance, where implementations may differ. */
  readonly near: number;
}

export function rankOf(values: readonly number[], rows: number, cols: number): RankVerdict {
  const tolerance = Math.max(rows, cols) * 2 ** -23 * (values[0] ?? 0);
  return {
    rank: values.filter((value) => value > tolerance).length,
    near: tolerance === 0
      ? 0
      : values.filter((value) => value > tolerance / 2 && value < tolerance * 2).length,
  };
}
