// Costs of removals in native code against explicit least squares on every subset.

import { describe, expect, it } from "vitest";
import { choleskySolve } from "../../src/native/linear_algebra.ts";
import { type NativeConsumer, Reproduction } from "../../src/native/reproduction.ts";
import { RandomStream } from "../../src/random.ts";
import { exactShapley } from "../support/exact_shapley.ts";
import { reproductionError } from "../support/least_squares.ts";

const RIDGE = 1e-2;

/** A consumer of random weights and inputs that depend on each other. */
function consumer(seed: number, owners: readonly number[], outputs: number): NativeConsumer {
  const random = new RandomStream(seed, "consumer");
  const n = owners.length, samples = 3 * n;
  const mix = Float64Array.from({ length: n * n }, () => random.uniform() - 0.5);
  const x = Float64Array.from({ length: samples * n }, () => random.uniform() - 0.5);
  const mixed = (s: number, i: number) => {
    let sum = x[s * n + i];
    for (let k = 0; k < n; k++) sum += mix[i * n + k] * x[s * n + k];
    return sum;
  };
  const covariance = new Float64Array(n * n);
  for (let s = 0; s < samples; s++) {
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) covariance[i * n + j] += mixed(s, i) * mixed(s, j) / samples;
    }
  }
  const weights = Float64Array.from({ length: outputs * n }, () => random.uniform() - 0.5);
  return { covariance, weights, owners: Int32Array.from(owners) };
}

/** Cost of a set of players by definition, summed over consumers. */
function costOf(consumers: readonly NativeConsumer[], gone: ReadonlySet<number>): number {
  return consumers.reduce((sum, { covariance, weights, owners }) => {
    const n = owners.length;
    let trace = 0;
    for (let i = 0; i < n; i++) trace += covariance[i * n + i];
    const g = Array.from({ length: n }, (_, i) =>
      Array.from(
        { length: n },
        (_, j) => covariance[i * n + j] + (i === j ? RIDGE * trace / n : 0),
      ));
    const w = Array.from(
      { length: weights.length / n },
      (_, o) => [...weights.subarray(o * n, (o + 1) * n)],
    );
    const unknowns = new Set([...owners.keys()].filter((i) => gone.has(owners[i])));
    return sum + reproductionError(g, w, unknowns);
  }, 0);
}

/** trace(D (G + ridge) D^T) for D [m, n], G [n, n]. */
function weightedSquares(rows: Float64Array, covariance: Float64Array, n: number): number {
  let trace = 0, total = 0;
  for (let i = 0; i < n; i++) trace += covariance[i * n + i];
  for (let first = 0; first < rows.length; first += n) {
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        const square = covariance[i * n + j] + (i === j ? RIDGE * trace / n : 0);
        total += rows[first + i] * square * rows[first + j];
      }
    }
  }
  return total;
}

/** Players of several unknowns in mixed order, some that stay; two readers of different size. */
const cases = [
  { name: "one reader", players: 5, consumers: [consumer(1, [0, 1, 2, 3, 4], 3)] },
  {
    name: "kernel cells and channels that stay",
    players: 4,
    consumers: [consumer(2, [0, 0, 1, 1, -1, -1, 2, 2, 3, 3], 5)],
  },
  {
    name: "two readers, one of which does not see every player",
    players: 5,
    consumers: [
      consumer(3, [3, 1, 0, 4, 2, 1, -1], 2),
      consumer(4, [4, 4, 0, 0, 3, 3], 7),
    ],
  },
  {
    name: "two groups of a convolution",
    players: 4,
    consumers: [consumer(5, [0, 1, 2, 3], 4), consumer(6, [0, 1, 2, 3], 4)],
  },
];

function permutations(items: readonly number[]): number[][] {
  if (items.length <= 1) return [[...items]];
  return items.flatMap((item, i) =>
    permutations(items.toSpliced(i, 1)).map((rest) => [item, ...rest])
  );
}

for (const { name, players, consumers } of cases) {
  const everyone = Array.from({ length: players }, (_, player) => player);
  const open = () => new Reproduction(consumers, players, RIDGE);
  const whole = costOf(consumers, new Set(everyone));

  describe(`removals from ${name}`, () => {
    it("cost what explicit least squares says, for every subset", async () => {
      for (let mask = 1; mask < 2 ** players; mask++) {
        const gone = everyone.filter((player) => mask & (1 << player));
        const costs = await open().walk(Int32Array.from(gone), gone.length);
        const cost = costs.reduce((sum, one) => sum + one, 0);
        expect(Math.abs(cost - costOf(consumers, new Set(gone)))).toBeLessThan(1e-9 * whole);
      }
    });

    it("average over all permutations to the exact Shapley values", async () => {
      const walks = permutations(everyone);
      const costs = await open().walk(Int32Array.from(walks.flat()), players, 2);
      const means = new Float64Array(players);
      walks.flat().forEach((player, i) => means[player] += costs[i] / walks.length);
      const exact = exactShapley(
        players,
        Array.from(
          { length: 2 ** players },
          (_, bits) => costOf(consumers, new Set(everyone.filter((one) => bits >> one & 1))),
        ),
      );
      means.forEach((mean, player) => {
        expect(Math.abs(mean - exact[player])).toBeLessThan(1e-9 * whole);
      });
    });

    it("leave the weights that lose what was charged", async () => {
      for (let mask = 1; mask < 2 ** players; mask++) {
        const gone = everyone.filter((player) => mask & (1 << player));
        const game = open();
        await game.remove(Int32Array.from(gone));
        let lost = 0;
        for (const [index, { covariance, weights, owners }] of consumers.entries()) {
          const n = owners.length;
          const left = await game.weights(index);
          expect(left.length).toBe(weights.length);
          left.forEach((weight, i) => gone.includes(owners[i % n]) && expect(weight).toBe(0));
          lost += weightedSquares(weights.map((weight, i) => weight - left[i]), covariance, n);
        }
        expect(Math.abs(lost - costOf(consumers, new Set(gone)))).toBeLessThan(1e-9 * whole);
      }
    });

    it("go on from what is gone, one by one or several together", async () => {
      const game = open();
      const removed = await game.remove(Int32Array.of(2, 0));
      expect(Math.abs(removed[0] - costOf(consumers, new Set([2])))).toBeLessThan(1e-9 * whole);
      const [next] = await game.walk(Int32Array.of(1), 1);
      const expected = costOf(consumers, new Set([0, 1, 2])) - costOf(consumers, new Set([0, 2]));
      expect(Math.abs(next - expected)).toBeLessThan(1e-9 * whole);
    });

    it("eliminate the cheapest in turn", async () => {
      const { players: order, costs } = await open().eliminate(players);
      const gone = new Set<number>();
      order.forEach((player, step) => {
        const before = costOf(consumers, gone);
        const marginal = (one: number) => costOf(consumers, new Set([...gone, one])) - before;
        const cheapest = Math.min(
          ...everyone.filter((one) => !gone.has(one)).map((one) => marginal(one)),
        );
        expect(Math.abs(costs[step] - cheapest)).toBeLessThan(1e-9 * whole);
        expect(Math.abs(marginal(player) - cheapest)).toBeLessThan(1e-9 * whole);
        gone.add(player);
      });
    });
  });
}

describe("bad removals", () => {
  const open = () => new Reproduction(cases[0].consumers, 5, RIDGE);
  const code = async (work: () => Promise<unknown>) =>
    await work().then(() => "accepted", (error) => error.code);

  it("are refused with a code", async () => {
    expect(await code(() => open().walk(Int32Array.of(0, 0), 2))).toBe("program-invalid");
    expect(await code(() => open().walk(Int32Array.of(5), 1))).toBe("program-invalid");
    expect(await code(() => open().walk(Int32Array.of(0, 1, 2), 2))).toBe("program-invalid");
    expect(await code(() => open().eliminate(6))).toBe("program-invalid");
    const game = open();
    await game.remove(Int32Array.of(3));
    expect(await code(() => game.remove(Int32Array.of(3)))).toBe("program-invalid");
    const nan = { ...cases[0].consumers[0], weights: new Float64Array(15).fill(NaN) };
    expect(() => new Reproduction([nan], 5, RIDGE)).toThrow(/finite/);
    const short = { ...cases[0].consumers[0], covariance: new Float64Array(3) };
    expect(() => new Reproduction([short], 5, RIDGE)).toThrow(/covariance/);
  });

  it("stop when asked", async () => {
    const controller = new AbortController();
    const game = new Reproduction(cases[0].consumers, 5, RIDGE, controller.signal);
    controller.abort();
    expect(await code(() => game.eliminate(2))).toBe("cancelled");
  });

  it("stop within one large layer", async () => {
    const identity = (n: number) =>
      Float64Array.from({ length: n * n }, (_, i) => i % (n + 1) === 0 ? 1 : 0);
    const n = 1536;
    const large = {
      covariance: identity(n),
      weights: new Float64Array(n),
      owners: new Int32Array(n),
    };
    const controller = new AbortController();
    const game = new Reproduction([large], 1, RIDGE, controller.signal);
    // On another thread, less than a third of the work.
    const solved = choleskySolve(identity(1024), identity(1024), 1024, 1024, RIDGE);
    const walked = code(() => game.walk(Int32Array.of(0), 1));
    setTimeout(() => controller.abort(), 20);
    expect(await Promise.race([walked, solved])).toBe("cancelled");
    await solved;
  });
});
