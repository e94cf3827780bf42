/** Constant folding of operators that move, repeat or join elements. */

import { elementCount } from "../../../tensor.ts";
import { HIGHEST_RANK, type HostArray, listed, Refusal, shown } from "../read/array.ts";
import type { Allocate, Fold } from "./folding.ts";

/** Row-major strides of a shape. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= shape[axis];
  }
  return strides;
}

/** An axis counted from the front; throws a Refusal when there is none such. */
export function axisOf(axis: number, rank: number): number {
  const positive = axis < 0 ? axis + rank : axis;
  if (Number.isInteger(positive) && positive >= 0 && positive < rank) return positive;
  throw new Refusal(`names axis ${axis} of ${rank}`);
}

/** Elements at source[offset + sum(index * strides)], which the caller keeps in range. */
function strided(
  source: HostArray,
  shape: readonly number[],
  strides: readonly number[],
  offset: number,
  allocate: Allocate,
): HostArray {
  const out = allocate(source.dtype, shape);
  const index = shape.map(() => 0);
  let at = offset;
  for (let i = 0; i < out.data.length; i++) {
    out.data[i] = source.data[at];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += strides[axis];
      if (++index[axis] < shape[axis]) break;
      at -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return out;
}

/** Shape of two arrays broadcast against each other, as in numpy. */
export function broadcastShape(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const left = a[axis - rank + a.length] ?? 1, right = b[axis - rank + b.length] ?? 1;
    if (left !== right && left !== 1 && right !== 1) {
      throw new Refusal(`combines ${shown(a)} with ${shown(b)}, which do not fit`);
    }
    return left === 1 ? right : left;
  });
}

/** The array repeated to a shape it broadcasts to. */
export function broadcastTo(source: HostArray, shape: readonly number[], allocate: Allocate) {
  const own = source.shape;
  if (own.length === shape.length && own.every((extent, axis) => extent === shape[axis])) {
    return source;
  }
  const strides = stridesOf(own);
  const lead = shape.length - own.length;
  const spread = shape.map((_, axis) =>
    axis < lead || own[axis - lead] === 1 ? 0 : strides[axis - lead]
  );
  return strided(source, shape, spread, 0, allocate);
}

/** The same elements under another shape. */
export function reshaped(source: HostArray, shape: readonly number[]): HostArray {
  if (elementCount(shape) !== source.data.length || shape.length > HIGHEST_RANK) {
    throw new Refusal(`reshapes ${shown(source.shape)} to ${shown(shape)}`);
  }
  return { ...source, shape };
}

/** The shape Reshape makes of `shape`: 0 keeps an extent, -1 takes what is left. */
export function reshapeTarget(
  shape: readonly number[],
  target: readonly number[],
  allowZero: boolean,
): number[] {
  const extents = target.map((extent, axis) =>
    extent === 0 && !allowZero ? shape[axis] ?? NaN : extent
  );
  const known = elementCount(extents.filter((extent) => extent !== -1));
  const rest = elementCount(shape) / known;
  const resolved = extents.map((extent) => extent === -1 ? rest : extent);
  const fits = resolved.every((extent) => Number.isSafeInteger(extent) && extent >= 0) &&
    extents.filter((extent) => extent === -1).length < 2 &&
    elementCount(resolved) === elementCount(shape);
  if (fits) return resolved;
  throw new Refusal(`reshapes ${shown(shape)} to ${shown(target)}`);
}

/** Where a slice of an axis of `extent` elements starts, how many it takes, and the step. */
export function sliceRange(extent: number, start: number, end: number, step: number) {
  if (!Number.isInteger(step) || step === 0) throw new Refusal(`slices by steps of ${step}`);
  const wrap = (at: number) => at < 0 ? at + extent : at;
  const [low, high] = step > 0 ? [0, extent] : [-1, extent - 1];
  const first = Math.min(Math.max(wrap(start), 0), high);
  const last = Math.min(Math.max(wrap(end), low), high);
  return { start: first, count: Math.max(0, Math.ceil((last - first) / step)), step };
}

/** Shape with extents of 1 put in at the axes of the result. */
export function unsqueezedShape(shape: readonly number[], axes: readonly number[]): number[] {
  const rank = shape.length + axes.length;
  if (rank > HIGHEST_RANK) throw new Refusal(`makes ${rank} axes`);
  const inserted = new Set(axes.map((axis) => axisOf(axis, rank)));
  if (inserted.size !== axes.length) throw new Refusal("names an axis twice");
  const rest = [...shape];
  return Array.from({ length: rank }, (_, axis) => inserted.has(axis) ? 1 : rest.shift()!);
}

/** Shape without the named axes, or without all extents of 1. */
export function squeezedShape(shape: readonly number[], axes?: readonly number[]): number[] {
  const dropped = axes?.map((axis) => axisOf(axis, shape.length)) ??
    shape.flatMap((extent, axis) => extent === 1 ? [axis] : []);
  if (dropped.some((axis) => shape[axis] !== 1)) {
    throw new Refusal(`squeezes axes ${shown(dropped)} of ${shown(shape)}`);
  }
  return shape.filter((_, axis) => !dropped.includes(axis));
}

const gather: Fold = ({ node, inputs: [source, indices], allocate }) => {
  const axis = axisOf(node.attributes.int("axis", 0), source.shape.length);
  const extent = source.shape[axis];
  const before = source.shape.slice(0, axis), after = source.shape.slice(axis + 1);
  const inner = elementCount(after), outer = elementCount(before);
  const out = allocate(source.dtype, [...before, ...indices.shape, ...after]);
  if (out.data.length === 0) return [out]; // outer may be any number then
  let at = 0;
  for (let o = 0; o < outer; o++) {
    for (const index of indices.data) {
      const from = axisOf(index, extent);
      const start = (o * extent + from) * inner;
      out.data.set(source.data.subarray(start, start + inner), at);
      at += inner;
    }
  }
  return [out];
};

const concat: Fold = ({ node, inputs, allocate }) => {
  const [first] = inputs;
  const axis = axisOf(node.attributes.int("axis"), first.shape.length);
  for (const [position, input] of inputs.entries()) {
    if (input === undefined) throw new Refusal(`lacks its input ${position}`);
    const { shape, dtype } = input;
    const alike = dtype === first.dtype && shape.length === first.shape.length &&
      shape.every((extent, each) => each === axis || extent === first.shape[each]);
    if (!alike) throw new Refusal("joins tensors of different shapes or types");
  }
  const joined = inputs.reduce((sum, { shape }) => sum + shape[axis], 0);
  const out = allocate(
    first.dtype,
    first.shape.map((extent, each) => each === axis ? joined : extent),
  );
  if (out.data.length === 0) return [out]; // outer may be any number then
  const outer = elementCount(first.shape.slice(0, axis));
  // Many that hold nothing would take time and leave no trace.
  const filled = inputs.filter(({ data }) => data.length > 0);
  let at = 0;
  for (let o = 0; o < outer; o++) {
    for (const { data } of filled) {
      const block = data.length / outer;
      out.data.set(data.subarray(o * block, (o + 1) * block), at);
      at += block;
    }
  }
  return [out];
};

const slice: Fold = ({ node, inputs, opset, allocate }) => {
  const [source] = inputs;
  const rank = source.shape.length;
  const list = (position: number, name: string) =>
    opset < 10
      ? node.attributes.has(name) ? node.attributes.ints(name) : undefined
      : inputs[position] && listed(inputs[position]);
  const starts = list(1, "starts") ?? [], ends = list(2, "ends") ?? [];
  const axes = list(3, "axes") ?? starts.map((_, axis) => axis);
  const steps = opset < 10 ? undefined : list(4, "steps");
  const strides = stridesOf(source.shape);
  const shape = [...source.shape];
  let offset = 0;
  const seen = new Set<number>();
  axes.forEach((named, i) => {
    const axis = axisOf(named, rank);
    if (seen.has(axis)) throw new Refusal(`slices axis ${axis} twice`);
    seen.add(axis);
    const range = sliceRange(source.shape[axis], starts[i], ends[i], steps?.[i] ?? 1);
    if (range.count > 0) offset += range.start * strides[axis];
    shape[axis] = range.count;
    strides[axis] *= range.step;
  });
  return [strided(source, shape, strides, offset, allocate)];
};

const transpose: Fold = ({ node, inputs: [source], allocate }) => {
  const rank = source.shape.length;
  const permutation = node.attributes.ints("perm", source.shape.map((_, axis) => rank - 1 - axis));
  const axes = permutation.map((axis) => axisOf(axis, rank));
  if (new Set(axes).size !== rank) throw new Refusal("transposes by no permutation of its axes");
  const strides = stridesOf(source.shape);
  const shape = axes.map((axis) => source.shape[axis]);
  return [strided(source, shape, axes.map((axis) => strides[axis]), 0, allocate)];
};

const split: Fold = ({ node, inputs: [source, sizes], opset, allocate }) => {
  const axis = axisOf(node.attributes.int("axis", 0), source.shape.length);
  const extent = source.shape[axis], parts = node.outputs.length;
  const even = Math.ceil(extent / parts);
  const given = opset < 13
    ? node.attributes.has("split") ? node.attributes.ints("split") : undefined
    : sizes && [...sizes.data.slice(0, parts + 1)];
  const lengths = given ??
    node.outputs.map((_, part) => Math.min(even, Math.max(0, extent - part * even)));
  const sum = lengths.reduce((total, length) => total + length, 0);
  if (lengths.length !== parts || sum !== extent || lengths.some((length) => length < 0)) {
    throw new Refusal(`splits ${extent} elements into ${shown(lengths)}`);
  }
  const strides = stridesOf(source.shape);
  let start = 0;
  return lengths.map((length) => {
    const shape = source.shape.map((other, each) => each === axis ? length : other);
    const part = strided(source, shape, strides, start * strides[axis], allocate);
    start += length;
    return part;
  });
};

/** Axes given as an attribute before an operator set, as an input from then on. */
export function axesOf(
  { node, inputs, opset }: Pick<Parameters<Fold>[0], "node" | "opset"> & {
    readonly inputs: readonly (HostArray | undefined)[];
  },
  asInputFrom: number,
): readonly number[] | undefined {
  if (opset >= asInputFrom) return inputs[1] && listed(inputs[1]);
  return node.attributes.has("axes") ? node.attributes.ints("axes") : undefined;
}

/** Folds by operator. */
export const LAYOUT_FOLDS: Readonly<Record<string, Fold>> = {
  Concat: concat,
  Expand: ({ inputs: [source, shape], allocate }) => [
    broadcastTo(source, broadcastShape(source.shape, listed(shape)), allocate),
  ],
  Flatten: ({ node, inputs: [source] }) => {
    const { shape } = source;
    const axis = node.attributes.int("axis", 1);
    const at = axis === shape.length ? axis : axisOf(axis, shape.length);
    return [reshaped(source, [elementCount(shape.slice(0, at)), elementCount(shape.slice(at))])];
  },
  Gather: gather,
  Identity: ({ inputs }) => [inputs[0]],
  Reshape: ({ node, inputs: [source, target] }) => {
    const allowZero = node.attributes.int("allowzero", 0) === 1;
    return [reshaped(source, reshapeTarget(source.shape, listed(target), allowZero))];
  },
  Slice: slice,
  Split: split,
  Squeeze: (folding) => {
    const [source] = folding.inputs;
    return [reshaped(source, squeezedShape(source.shape, axesOf(folding, 13)))];
  },
  Transpose: transpose,
  Unsqueeze: (folding) => {
    const [source] = folding.inputs;
    return [reshaped(source, unsqueezedShape(source.shape, axesOf(folding, 13) ?? []))];
  },
};
