// Sequential values of the compensated game against exact averages.

import { describe, expect, it } from "vitest";
import { Reproduction } from "../../src/native/reproduction.ts";
import { sequentialShapley } from "../../src/shapley/sequential.ts";

/** Independent channels: what one costs depends on no other. */
function independent(costs: readonly number[]): Reproduction {
  const n = costs.length;
  const covariance = new Float64Array(n * n);
  for (let i = 0; i < n; i++) covariance[i * n + i] = 1;
  const weights = new Float64Array(n * n);
  costs.forEach((cost, i) => weights[i * n + i] = Math.sqrt(cost));
  return new Reproduction(
    [{ covariance, weights, owners: Int32Array.from({ length: n }, (_, i) => i) }],
    n,
    0,
  );
}

/** Pairs of channels that stand in for each other: the first of a pair costs little, the second all. */
function twins(pairs: number): Reproduction {
  const n = 2 * pairs;
  const covariance = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    covariance[i * n + i] = 1;
    covariance[i * n + (i ^ 1)] = 0.99;
  }
  const weights = new Float64Array(n * n);
  for (let i = 0; i < n; i++) weights[i * n + i] = 1;
  return new Reproduction(
    [{ covariance, weights, owners: Int32Array.from({ length: n }, (_, i) => i) }],
    n,
    0,
  );
}

const options = { seed: 3, name: "test", stages: 4, pairs: 4, ahead: 0.5 } as const;

describe("sequential Shapley values", () => {
  it("are exact where channels do not interplay, and remove in their order", async () => {
    const costs = [5, 1, 4, 2, 8, 3, 7, 6];
    const { order, values, costs: paid } = await sequentialShapley(independent(costs), {
      ...options,
      most: 7,
    });
    expect(order).toEqual([1, 3, 5, 2, 0, 7, 6, 4]);
    values.forEach((value, player) => expect(value).toBeCloseTo(costs[player], 9));
    paid.forEach((cost, step) => expect(cost).toBeCloseTo(step + 1, 9));
  });

  it("never take both of two that stand in for each other before one of every pair has gone", async () => {
    const { order } = await sequentialShapley(twins(8), {
      ...options,
      most: 14,
      stages: 14,
      pairs: 16,
    });
    const first = order.slice(0, 8).map((player) => player >> 1);
    expect(new Set(first).size).toBe(8);
  });

  it("are the same for the same seed, on any number of threads", async () => {
    const on = (threads: number, seed = 3) =>
      sequentialShapley(twins(6), { ...options, seed, most: 10, threads });
    const one = await on(1);
    expect((await on(2)).values).toEqual(one.values);
    expect((await on(2)).order).toEqual(one.order);
    expect((await on(1, 4)).stages[0].pairs).not.toEqual(one.stages[0].pairs);
  });

  it("over all sizes add up to all that can be lost", async () => {
    const { stages } = await sequentialShapley(twins(5), {
      ...options,
      most: 10,
      stages: 1,
      ahead: "all",
    });
    const sum = stages[0].values.reduce((total, value) => total + value, 0);
    // trace(W G W^T) of ten outputs of variance 1.
    expect(sum).toBeCloseTo(10, 9);
  });
});
