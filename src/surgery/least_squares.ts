/**
 * Weights of a layer by least squares, from sums over its inputs and wanted outputs. The ridge pulls
 * towards the weights it has, so that few samples change little; a layer used several times with the
 * same weights is solved over all its uses.
 */

import { choleskySolve } from "../native/linear_algebra.ts";
import type { Tensor } from "../tensor.ts";

/** Ridge relative to the mean diagonal of the centred Gram matrix. */
export const RIDGE = 1e-3;

/** Sums of one use of a layer, group by group, extended by a constant 1: see normal_equations. */
export interface Sums {
  /** [groups, n + 1, n + 1] */
  readonly gram: Float64Array;
  /** [groups, n + 1, out / groups] */
  readonly cross: Float64Array;
}

/** New weights, and what each use's outputs then lack on average: [uses][out]. */
export interface Solution {
  readonly weight: Tensor;
  readonly intercepts: readonly Float64Array[];
}

/** One group of one use. */
interface Part {
  readonly gram: Float64Array;
  readonly cross: Float64Array;
  readonly count: number;
}

function partOf({ gram, cross }: Sums, group: number, n: number, out: number): Part {
  const size = (n + 1) ** 2;
  const own = gram.subarray(group * size, (group + 1) * size);
  return {
    gram: own,
    cross: cross.subarray(group * (n + 1) * out, (group + 1) * (n + 1) * out),
    count: own[size - 1],
  };
}

/** Adds sums about the means, so that weights are solved apart from the intercept. */
function addCentred(
  { gram, cross, count }: Part,
  n: number,
  out: number,
  square: Float64Array,
  right: Float64Array,
): void {
  for (let i = 0; i < n; i++) {
    const mean = gram[i * (n + 1) + n] / count;
    for (let j = 0; j < n; j++) {
      square[i * n + j] += gram[i * (n + 1) + j] - mean * gram[j * (n + 1) + n];
    }
    for (let o = 0; o < out; o++) {
      right[i * out + o] += cross[i * out + o] - mean * cross[n * out + o];
    }
  }
}

/**
 * Weights [out, n] that the sums ask for: (G + ridge) W = cross + ridge W before. Inputs that never
 * vary, as behind saturated activations, leave the weights alone and the intercept to solve.
 */
async function weightsOf(
  parts: readonly Part[],
  before: Float32Array,
  n: number,
  out: number,
): Promise<Float32Array> {
  const square = new Float64Array(n * n), right = new Float64Array(n * out);
  for (const part of parts) addCentred(part, n, out, square, right);
  let trace = 0;
  for (let i = 0; i < n; i++) trace += square[i * n + i];
  if (!(trace > 0)) return before;
  const ridge = RIDGE * trace / n;
  for (let i = 0; i < n; i++) {
    for (let o = 0; o < out; o++) right[i * out + o] += ridge * before[o * n + i];
  }
  const solution = await choleskySolve(square, right, n, out, RIDGE);
  return before.map((_, index) => solution[index % n * out + Math.floor(index / n)]);
}

/** What the outputs of a use lack on average under weights [out, n]. */
function interceptsOf(part: Part, weights: Float32Array, n: number, out: number): Float64Array {
  return Float64Array.from({ length: out }, (_, o) => {
    let predicted = 0;
    for (let i = 0; i < n; i++) predicted += weights[o * n + i] * part.gram[i * (n + 1) + n];
    return (part.cross[n * out + o] - predicted) / part.count;
  });
}

/** Solves a layer of weight [out, n...] in `groups` groups from the sums of all its uses. */
export async function solveLayer(
  weight: Tensor,
  groups: number,
  uses: readonly Sums[],
): Promise<Solution> {
  const out = weight.shape[0] / groups;
  const n = weight.data.length / weight.shape[0];
  const data = new Float32Array(weight.data.length);
  const intercepts = uses.map(() => new Float64Array(weight.shape[0]));
  for (let group = 0; group < groups; group++) {
    const parts = uses.map((sums) => partOf(sums, group, n, out));
    const at = group * out * n;
    const before = weight.data.subarray(at, at + out * n);
    const solved = await weightsOf(parts, before, n, out);
    data.set(solved, at);
    parts.forEach((part, use) =>
      intercepts[use].set(interceptsOf(part, solved, n, out), group * out)
    );
  }
  return { weight: { shape: weight.shape, data }, intercepts };
}
