/** Least squares by definition, in plain loops, for what native code does by factorisations. */

/** Solves A x = b for several right-hand sides by elimination with pivoting; A [n][n], B [n][m]. */
export function solve(a: readonly number[][], b: readonly number[][]): number[][] {
  const n = a.length;
  const rows = a.map((row, i) => [...row, ...b[i]]);
  for (let column = 0; column < n; column++) {
    let pivot = column;
    for (let row = column; row < n; row++) {
      if (Math.abs(rows[row][column]) > Math.abs(rows[pivot][column])) pivot = row;
    }
    [rows[column], rows[pivot]] = [rows[pivot], rows[column]];
    for (let row = 0; row < n; row++) {
      if (row === column) continue;
      const factor = rows[row][column] / rows[column][column];
      for (let k = column; k < rows[row].length; k++) rows[row][k] -= factor * rows[column][k];
    }
  }
  return rows.map((row, i) => row.slice(n).map((value) => value / row[i]));
}

/**
 * min over W' that is zero on `gone` of trace((W - W') G (W - W')^T), W [m][n], G [n][n]: the part of
 * the outputs' second moment that the unknowns left cannot give back.
 */
export function reproductionError(
  g: readonly number[][],
  w: readonly number[][],
  gone: ReadonlySet<number>,
): number {
  const n = g.length;
  const left = Array.from({ length: n }, (_, i) => i).filter((i) => !gone.has(i));
  // Normal equations of the weights left: G_SS X = G_S W^T.
  const right = left.map((i) => w.map((row) => row.reduce((sum, x, j) => sum + x * g[j][i], 0)));
  const x = left.length === 0 ? [] : solve(left.map((i) => left.map((j) => g[i][j])), right);
  let error = 0;
  w.forEach((row, o) => {
    const change = [...row];
    left.forEach((i, k) => change[i] -= x[k][o]);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) error += change[i] * g[i][j] * change[j];
    }
  });
  return error;
}
