/** Constant folding of reductions and repetitions, which computed weights and shapes go through. */

import { type HostArray, listed, Refusal } from "../read/array.ts";
import type { Fold } from "./folding.ts";
import { axesOf, axisOf, stridesOf } from "./layout.ts";

/** How values become one: `add` takes them in one by one, `end` is told how many there were. */
interface Reduction {
  readonly start: number;
  readonly add: (sum: number, value: number) => number;
  readonly end?: (sum: number, count: number) => number;
  /** From this operator set on the axes are an input. */
  readonly axesFrom: number;
}

/** Sums in f64, one answer for all elements that differ in the reduced axes alone. */
function reduction({ start, add, end, axesFrom }: Reduction): Fold {
  return (folding) => {
    const { node, inputs: [source], allocate, spend } = folding;
    const rank = source.shape.length;
    const given = axesOf(folding, axesFrom) ?? [];
    if (given.length === 0 && node.attributes.int("noop_with_empty_axes", 0) !== 0) return [source];
    spend(source.data.length);
    const axes = new Set(
      given.length === 0 ? source.shape.keys() : given.map((a) => axisOf(a, rank)),
    );
    const kept = source.shape.map((extent, axis) => axes.has(axis) ? 1 : extent);
    const keepsAxes = node.attributes.int("keepdims", 1) !== 0;
    const shape = keepsAxes ? kept : source.shape.filter((_, axis) => !axes.has(axis));
    const out = allocate(source.dtype, shape);
    const sums = new Float64Array(out.data.length).fill(start);
    const strides = stridesOf(kept).map((stride, axis) => axes.has(axis) ? 0 : stride);
    const index = source.shape.map(() => 0);
    let at = 0;
    for (const value of source.data) {
      sums[at] = add(sums[at], value);
      for (let axis = rank - 1; axis >= 0; axis--) {
        at += strides[axis];
        if (++index[axis] < source.shape[axis]) break;
        at -= strides[axis] * source.shape[axis];
        index[axis] = 0;
      }
    }
    const count = source.data.length / Math.max(1, sums.length);
    sums.forEach((sum, i) => out.data[i] = end?.(sum, count) ?? sum);
    return [out];
  };
}

const plus = (sum: number, value: number): number => sum + value;
const plusSquare = (sum: number, value: number): number => sum + value * value;

const tile: Fold = ({ inputs: [source, repeats], allocate }) => {
  const times = listed(repeats);
  const rank = source.shape.length;
  if (times.length !== rank) throw new Refusal(`repeats ${times.length} axes of ${rank}`);
  const out: HostArray = allocate(source.dtype, source.shape.map((extent, a) => extent * times[a]));
  const strides = stridesOf(source.shape), large = stridesOf(out.shape);
  for (let i = 0; i < out.data.length; i++) {
    let from = 0;
    for (let axis = 0; axis < rank; axis++) {
      from += Math.floor(i / large[axis]) % out.shape[axis] % source.shape[axis] * strides[axis];
    }
    out.data[i] = source.data[from];
  }
  return [out];
};

/** Folds by operator. */
export const REDUCING_FOLDS: Readonly<Record<string, Fold>> = {
  ReduceL1: reduction({ start: 0, add: (sum, value) => sum + Math.abs(value), axesFrom: 18 }),
  ReduceL2: reduction({ start: 0, add: plusSquare, end: Math.sqrt, axesFrom: 18 }),
  ReduceMax: reduction({ start: -Infinity, add: Math.max, axesFrom: 18 }),
  ReduceMean: reduction({ start: 0, add: plus, end: (sum, count) => sum / count, axesFrom: 18 }),
  ReduceMin: reduction({ start: Infinity, add: Math.min, axesFrom: 18 }),
  ReduceProd: reduction({ start: 1, add: (product, value) => product * value, axesFrom: 18 }),
  ReduceSum: reduction({ start: 0, add: plus, axesFrom: 13 }),
  ReduceSumSquare: reduction({ start: 0, add: plusSquare, axesFrom: 18 }),
  Tile: tile,
};
