/**
 * Weights that PyTorch keeps as several tensors, put together again: pruned by a mask
 * (torch.nn.utils.prune), or normalised (weight norm, Salimans & Kingma, arXiv 1602.07868; spectral
 * norm, Miyato et al., arXiv 1802.05957), as the functions of old or as parametrizations.
 */

import { elementCount, type StateDict, type Tensor } from "../tensor.ts";

/** One way of keeping a weight apart. */
interface Form {
  /** How a sentence calls it. */
  readonly what: string;
  /** Endings of its tensors behind the weight's name; the first tells it from others. */
  readonly parts: readonly string[];
  /** The name of the whole, of what stands before the parts' endings. */
  readonly whole: (stem: string) => string;
  readonly merge: (parts: readonly Tensor[]) => Tensor | undefined;
}

const sameShape = (a: Tensor, b: Tensor): boolean => a.shape.join() === b.shape.join();

function masked([weight, mask]: readonly Tensor[]): Tensor | undefined {
  if (!sameShape(weight, mask)) return undefined;
  return { shape: weight.shape, data: weight.data.map((value, i) => value * mask.data[i]) };
}

/** g v / |v|, the norm over all axes along which g has one element. */
function weightNormed([g, v]: readonly Tensor[]): Tensor | undefined {
  const { shape, data } = v;
  const whole = elementCount(g.shape) === 1;
  const axes = shape.map((extent, axis) => !whole && g.shape[axis] === extent && extent > 1);
  const fits = whole || (g.shape.length === shape.length &&
    g.shape.every((extent, axis) => extent === 1 || axes[axis]));
  if (!fits) return undefined;
  const strides = new Array<number>(shape.length).fill(0);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (!axes[axis]) continue;
    strides[axis] = stride;
    stride *= shape[axis];
  }
  const at = (i: number): number => {
    let index = 0, rest = i;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index += rest % shape[axis] * strides[axis];
      rest = Math.floor(rest / shape[axis]);
    }
    return index;
  };
  const squares = new Float64Array(stride);
  data.forEach((value, i) => squares[at(i)] += value * value);
  return { shape, data: data.map((value, i) => value * g.data[at(i)] / Math.sqrt(squares[at(i)])) };
}

/** weight / (u^T W v), W [out, the rest]: the largest singular value as training estimated it. */
function spectrallyNormed([weight, u, v]: readonly Tensor[]): Tensor | undefined {
  const { shape, data } = weight;
  const rows = shape[0], columns = data.length / rows;
  if (u.data.length !== rows || v.data.length !== columns) return undefined;
  let sigma = 0;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      sigma += u.data[row] * data[row * columns + column] * v.data[column];
    }
  }
  return { shape, data: data.map((value) => value / sigma) };
}

const parametrized = (stem: string) => stem.replace(/parametrizations\.([^.]+)\.?$/, "$1");

/** The first that fits counts. */
const FORMS: readonly Form[] = [
  {
    what: "pruning masks were multiplied into",
    parts: ["_mask", "_orig"],
    whole: (stem) => stem,
    merge: ([mask, weight]) => masked([weight, mask]),
  },
  {
    what: "spectral norm was worked into",
    parts: ["_u", "_orig", "_v"],
    whole: (stem) => stem,
    merge: ([u, weight, v]) => spectrallyNormed([weight, u, v]),
  },
  {
    what: "spectral norm was worked into",
    parts: [".0._u", ".original", ".0._v"],
    whole: parametrized,
    merge: ([u, weight, v]) => spectrallyNormed([weight, u, v]),
  },
  {
    what: "weight norm was worked into",
    parts: ["_g", "_v"],
    whole: (stem) => stem,
    merge: weightNormed,
  },
  {
    what: "weight norm was worked into",
    parts: [".original0", ".original1"],
    whole: parametrized,
    merge: weightNormed,
  },
];

/** The form that a tensor is the first part of, and the others' names. */
function formOf(name: string, weights: StateDict) {
  for (const form of FORMS) {
    const [first, ...rest] = form.parts;
    if (!name.endsWith(first)) continue;
    const stem = name.slice(0, -first.length);
    const names = [name, ...rest.map((ending) => stem + ending)];
    const whole = form.whole(stem);
    if (names.every((each) => weights.has(each)) && !weights.has(whole) && whole !== "") {
      return { form, names, whole };
    }
  }
  return undefined;
}

/** The weights put together, in the place of their first parts, and sentences that say so. */
export function withWholeWeights(weights: StateDict): {
  readonly weights: StateDict;
  readonly said: readonly string[];
} {
  const counts = new Map<string, number>();
  const parts = new Set<string>();
  const wholes = new Map<string, readonly [name: string, tensor: Tensor]>();
  for (const name of weights.keys()) {
    const found = formOf(name, weights);
    const merged = found?.form.merge(found.names.map((each) => weights.get(each)!));
    if (found === undefined || merged === undefined) continue;
    for (const each of found.names) parts.add(each);
    wholes.set(name, [found.whole, merged]);
    counts.set(found.form.what, (counts.get(found.form.what) ?? 0) + 1);
  }
  if (wholes.size === 0) return { weights, said: [] };
  const whole = new Map([...weights].flatMap(([name, tensor]) => {
    const made = wholes.get(name);
    return made !== undefined ? [made] : parts.has(name) ? [] : [[name, tensor] as const];
  }));
  const said = [...counts].map(([what, count]) => {
    const sentence = `${what} ${count} of its weights.`;
    return sentence[0].toUpperCase() + sentence.slice(1);
  });
  return { weights: whole, said };
}
