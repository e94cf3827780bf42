/**
 * Numerical ranks of the native addon against f64 LAPACK (a committed fixture) and against an f64
 * Jacobi SVD. The two sides may differ only where a singular value lies within a factor 2 of the
 * tolerance, and then by no more than the values that lie there; on the fixture they do not.
 */

import { readFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { RandomStream } from "../../src/random.ts";
import { loadAddon } from "../../src/native/binding.ts";
import { digestOf, familyNames, rankMatrix } from "../fixtures/rank/matrices.ts";
import { rankOf, singularValues } from "../oracle/svd.ts";

interface LapackCase {
  readonly name: string;
  readonly family: string;
  readonly rows: number;
  readonly cols: number;
  readonly matrix: Float32Array<ArrayBuffer>;
  readonly digest: string;
  readonly values: readonly number[];
}

function lapackCases(): LapackCase[] {
  const path = fileURLToPath(new URL("../fixtures/rank/singular-values.txt", import.meta.url));
  const lines = readFileSync(path, "utf8").trimEnd().split("\n");
  return lines.filter((line) => !line.startsWith("#")).map((line) => {
    const [family, rows, cols, seed, digest, ...values] = line.split(" ");
    const [height, width] = [Number(rows), Number(cols)];
    return {
      name: [family, rows, cols, seed].join(" "),
      family: family!,
      rows: height,
      cols: width,
      matrix: rankMatrix(family!, height, width, Number(seed)),
      digest: digest!,
      values: values.map(Number),
    };
  });
}

const cases = lapackCases();

describe("the oracle", () => {
  it("reads the matrices LAPACK was given", () => {
    for (const { name, matrix, digest } of cases) expect(digestOf(matrix), name).toBe(digest);
    expect(new Set(cases.map((one) => one.family))).toEqual(new Set(familyNames));
  });

  it("finds known singular values", () => {
    expect(singularValues([3, 0, 0, 0, -7, 0], 2, 3)).toEqual([7, 3]);
    expect(singularValues([0, 0, 0, 0], 2, 2)).toEqual([0, 0]);
    const [first, second] = singularValues([1, 2, 3, 4], 2, 2); // squares are 15 +- sqrt(221)
    expect(first).toBeCloseTo(Math.sqrt(15 + Math.sqrt(221)), 13);
    expect(second).toBeCloseTo(Math.sqrt(15 - Math.sqrt(221)), 13);
    // The second difference matrix of size n has 2 - 2 cos(k pi / (n + 1)).
    const n = 9;
    const difference = Float64Array.from({ length: n * n }, (_, i) => {
      const distance = Math.abs(Math.floor(i / n) - i % n);
      return distance === 0 ? 2 : distance === 1 ? -1 : 0;
    });
    singularValues(difference, n, n).forEach((value, i) => {
      expect(value).toBeCloseTo(2 - 2 * Math.cos((n - i) * Math.PI / (n + 1)), 13);
    });
  });

  it("agrees with LAPACK", () => {
    for (const { name, rows, cols, matrix, values } of cases) {
      if (rows > 56) continue;
      const largest = values[0] || 1;
      const found = singularValues(matrix, rows, cols);
      const error = Math.max(...found.map((value, i) => Math.abs(value - values[i]!) / largest));
      expect(error, name).toBeLessThan(2e-14);
    }
  });

  it("counts strictly above the tolerance, and what lies near it", () => {
    const tolerance = 4 * 2 ** -23;
    expect(rankOf([1, tolerance * 2, tolerance * 1.5, tolerance * 0.6], 4, 4))
      .toEqual({ rank: 3, near: 2 });
    expect(rankOf([1, tolerance, 0, 0], 4, 4)).toEqual({ rank: 1, near: 1 });
    expect(rankOf([0, 0], 2, 2)).toEqual({ rank: 0, near: 0 });
  });
});

/** Ranks of matrices of one shape, by kernels for instruction sets up to `isa`. */
function ranksOf(
  isa: string,
  matrices: readonly Float32Array[],
  rows: number,
  cols: number,
): number[] {
  const data = new Float32Array(matrices.length * rows * cols);
  matrices.forEach((matrix, i) => data.set(matrix, i * rows * cols));
  const before = process.env.SECATEUR_ISA;
  process.env.SECATEUR_ISA = isa;
  try {
    return [...loadAddon().ranks(data, matrices.length, rows, cols)];
  } finally {
    if (before === undefined) delete process.env.SECATEUR_ISA;
    else process.env.SECATEUR_ISA = before;
  }
}

/** A rows x cols map: noise averaged over rows, less a threshold, cut at zero. */
function reluMap(random: RandomStream, rows: number, cols: number): Float32Array {
  const threshold = 3 * random.uniform() - 1;
  const map = Float32Array.from({ length: rows * cols }, () => random.normal());
  for (let i = cols; i < map.length; i++) map[i] = 0.7 * map[i]! + 0.7 * map[i - cols]!;
  return map.map((x) => Math.max(0, x - threshold));
}

describe.each(["portable", "avx2", "avx512"])("ranks with instructions up to %s", (isa) => {
  it("equal LAPACK's", () => {
    let outside = 0, inside = 0, deficient = 0;
    for (const { name, rows, cols, matrix, values } of cases) {
      const { rank, near } = rankOf(values, rows, cols);
      const [found] = ranksOf(isa, [matrix], rows, cols);
      expect(found, name).toBe(rank);
      if (near === 0) outside++;
      else inside++;
      if (rank < Math.min(rows, cols)) deficient++;
    }
    // What the fixture holds: both kinds are really there.
    expect({ outside, inside, deficient }).toEqual({ outside: 200, inside: 8, deficient: 122 });
  });

  // Past 41 and 70 columns the kernels take other numbers of rows at a time.
  it.each([
    [4, 4, 2000],
    [7, 5, 1000],
    [8, 8, 1000],
    [16, 16, 150],
    [32, 32, 15],
    [45, 43, 4],
    [56, 56, 2],
    [74, 71, 3],
  ])(
    "equal those of a Jacobi SVD: %d x %d",
    (rows, cols, count) => {
      const random = new RandomStream(7, "rank test", rows, cols);
      const maps = Array.from({ length: count }, () => reluMap(random, rows, cols));
      const found = ranksOf(isa, maps, rows, cols);
      maps.forEach((map, i) => {
        const { rank, near } = rankOf(singularValues(map, rows, cols), rows, cols);
        expect(Math.abs(found[i]! - rank), `map ${i}`).toBeLessThanOrEqual(near);
      });
      expect(Math.min(...found)).toBeLessThan(Math.min(rows, cols));
    },
  );

  it("are those of constructed matrices", () => {
    const identity = Float32Array.from({ length: 100 }, (_, i) => i % 11 === 0 ? 1e-20 : 0);
    const outer = Float32Array.from({ length: 100 }, (_, i) => (i % 10 + 1) * (i - i % 10 + 5));
    const zero = new Float32Array(100);
    // The tolerance is 10 * 2^-23 = 1.19e-6: values 1, 1.1e-6 and 2.2e-6, then 2 instead of 1.
    const near = identity.map((x, i) => x === 0 || i > 22 ? 0 : i === 0 ? 1 : i * 1.1e-6 / 11);
    const below = near.map((x, i) => i === 0 ? 2 : x);
    expect(ranksOf(isa, [identity, outer, zero, near, below], 10, 10)).toEqual([10, 1, 0, 2, 1]);
  });

  it("are 1 for outer products, whose rounding noise vanishes step by step", () => {
    const random = new RandomStream(11, "outer products");
    const factor = () => Array.from({ length: 14 }, () => random.integer(9) + 1);
    const products = Array.from({ length: 500 }, () => {
      const [left, right] = [factor(), factor()];
      return Float32Array.from(
        { length: 196 },
        (_, i) => left[i % 14]! * right[Math.floor(i / 14)]!,
      );
    });
    const ranks = ranksOf(isa, products, 14, 14);
    expect(ranks.filter((rank) => rank !== 1)).toEqual([]);
  });

  it("are 1 or 0 for a row, a column, an element, and none for no matrix", () => {
    const one = Float32Array.of(0, 0, 3e-42), none = new Float32Array(3);
    expect(ranksOf(isa, [one, none], 1, 3)).toEqual([1, 0]);
    expect(ranksOf(isa, [one, none], 3, 1)).toEqual([1, 0]);
    expect(ranksOf(isa, [Float32Array.of(-3e38)], 1, 1)).toEqual([1]);
    expect(ranksOf(isa, [], 4, 4)).toEqual([]);
  });

  it("are -1 exactly where a NaN or an infinity is", () => {
    const maps = Array.from({ length: 19 }, (_, i) => rankMatrix("uniform", 5, 4, i + 1));
    const clean = ranksOf(isa, maps, 5, 4);
    maps[2]![19] = NaN;
    maps[7]![0] = Infinity;
    maps[18]![9] = -Infinity;
    const poisoned = new Set([2, 7, 18]);
    expect(ranksOf(isa, maps, 5, 4)).toEqual(clean.map((rank, i) => poisoned.has(i) ? -1 : rank));
  });

  it("do not depend on the company, nor on transposition", () => {
    const maps = Array.from({ length: 21 }, (_, i) => rankMatrix("graded", 9, 6, i + 1));
    const together = ranksOf(isa, maps, 9, 6);
    expect(maps.map((map) => ranksOf(isa, [map], 9, 6)[0])).toEqual(together);
    const transposed = maps.map((map) => map.map((_, i) => map[(i % 9) * 6 + Math.floor(i / 9)]!));
    expect(ranksOf(isa, transposed, 6, 9)).toEqual(together);
    expect(new Set(together).size).toBeGreaterThan(2);
  });
});

describe("ranks", () => {
  it.each([[8, 1, 3, 3], [9, 1, 0, 9], [9, -1, 3, 3], [9, 1, 2 ** 20, 2 ** 20]])(
    "refuse %d numbers as %d matrices of %d x %d",
    (length, count, rows, cols) => {
      expect(() => loadAddon().ranks(new Float32Array(length), count, rows, cols))
        .toThrow(`Expected ${count} matrices of`);
    },
  );

  it("refuse a fraction of a column", () => {
    expect(() => loadAddon().ranks(new Float32Array(9), 1, 3, 1.5))
      .toThrow("Expected a whole number.");
  });
});
