/**
 * Constant folding: nodes whose inputs are all known are computed while the model is read. What
 * exporters leave behind is mostly arithmetic on shapes.
 */

import type { DType } from "../../dtype.ts";
import { dtypeOf, type HostArray, integers, isFloat, listed, Refusal } from "../read/array.ts";
import type { Fold, Folding } from "./folding.ts";
import { broadcastShape, broadcastTo, LAYOUT_FOLDS } from "./layout.ts";
import type { OnnxNode } from "../read/reader.ts";

type Binary = (a: number, b: number) => number;

/** Elementwise with broadcasting; integers must stay exact. */
function binary(compute: { readonly real: Binary; readonly whole?: Binary }): Fold {
  return ({ inputs: [a, b], allocate }) => {
    if (a.dtype !== b.dtype) throw new Refusal(`combines ${a.dtype} with ${b.dtype}`);
    const shape = broadcastShape(a.shape, b.shape);
    const out = allocate(a.dtype, shape);
    const left = broadcastTo(a, shape, allocate).data, right = broadcastTo(b, shape, allocate).data;
    const floats = isFloat(a.dtype);
    const operation = floats ? compute.real : compute.whole ?? compute.real;
    for (let i = 0; i < out.data.length; i++) {
      const value = operation(left[i], right[i]);
      if (!floats && !Number.isSafeInteger(value)) {
        throw new Refusal("computes an integer too large to fold");
      }
      out.data[i] = floats ? value : wrapped(value, a.dtype);
    }
    return [out];
  };
}

/** Small integers wrap around, as they do in C. */
function wrapped(value: number, dtype: DType): number {
  if (dtype === "u8") return value & 0xff;
  if (dtype === "u16") return value & 0xffff;
  if (dtype === "i8") return value << 24 >> 24;
  if (dtype === "i16") return value << 16 >> 16;
  if (dtype === "i32") return value | 0;
  if (dtype === "u32") return value >>> 0;
  return value;
}

function comparison(compare: (a: number, b: number) => boolean): Fold {
  return ({ inputs: [a, b], allocate }) => {
    const shape = broadcastShape(a.shape, b.shape);
    const out = allocate("bool", shape);
    const left = broadcastTo(a, shape, allocate).data, right = broadcastTo(b, shape, allocate).data;
    for (let i = 0; i < out.data.length; i++) out.data[i] = compare(left[i], right[i]) ? 1 : 0;
    return [out];
  };
}

function unary(compute: (value: number) => number): Fold {
  return ({ inputs: [a], allocate }) => {
    const out = allocate(a.dtype, a.shape);
    for (let i = 0; i < out.data.length; i++) out.data[i] = compute(a.data[i]);
    return [out];
  };
}

const where: Fold = ({ inputs: [condition, a, b], allocate }) => {
  if (a.dtype !== b.dtype) throw new Refusal(`chooses between ${a.dtype} and ${b.dtype}`);
  const shape = broadcastShape(condition.shape, broadcastShape(a.shape, b.shape));
  const out = allocate(a.dtype, shape);
  const [chosen, left, right] = [condition, a, b].map((each) =>
    broadcastTo(each, shape, allocate).data
  );
  for (let i = 0; i < out.data.length; i++) out.data[i] = chosen[i] !== 0 ? left[i] : right[i];
  return [out];
};

const cast: Fold = ({ node, inputs: [source], allocate }) => {
  const dtype = dtypeOf(node.attributes.int("to"));
  if (dtype === undefined || dtype === "f16" || dtype === "bf16") {
    throw new Refusal(`casts to element type ${node.attributes.int("to")}`);
  }
  const out = allocate(dtype, source.shape);
  const whole = isFloat(source.dtype) && !isFloat(dtype) && dtype !== "bool";
  for (let i = 0; i < out.data.length; i++) {
    const value = source.data[i];
    if (whole && !Number.isSafeInteger(Math.trunc(value))) {
      throw new Refusal(`casts ${value} to ${dtype}`);
    }
    if (dtype === "bool") out.data[i] = value !== 0 ? 1 : 0;
    else out.data[i] = isFloat(dtype) ? value : wrapped(Math.trunc(value), dtype);
  }
  return [out];
};

const constant: Fold = ({ node: { attributes }, decode }) => {
  if (attributes.has("value")) return [decode(attributes.tensor("value"))];
  if (attributes.has("value_int")) {
    return [{ ...integers([attributes.int("value_int")]), shape: [] }];
  }
  if (attributes.has("value_ints")) return [integers(attributes.ints("value_ints"))];
  const floats = attributes.has("value_float")
    ? { shape: [], data: [attributes.float("value_float")] }
    : { shape: undefined, data: attributes.floats("value_floats") };
  const data = Float32Array.from(floats.data);
  return [{ dtype: "f32", shape: floats.shape ?? [data.length], data }];
};

const constantOfShape: Fold = ({ node, inputs: [shape], allocate, decode }) => {
  const value = node.attributes.has("value") ? decode(node.attributes.tensor("value")) : undefined;
  const out = allocate(value?.dtype ?? "f32", listed(shape));
  out.data.fill(value?.data[0] ?? 0);
  return [out];
};

const range: Fold = ({ inputs: [start, limit, delta], allocate }) => {
  const [first, end, step] = [start, limit, delta].map(({ data }) => data[0]);
  const count = Math.max(0, Math.ceil((end - first) / step));
  const out = allocate(start.dtype, [count]);
  for (let i = 0; i < count; i++) out.data[i] = first + i * step;
  return [out];
};

/** Start and end of the axes that Shape returns. */
export function shapeOf(node: OnnxNode, shape: readonly number[]): HostArray {
  const rank = shape.length;
  const clip = (axis: number) => Math.min(Math.max(axis < 0 ? axis + rank : axis, 0), rank);
  const { attributes } = node;
  return integers(shape.slice(clip(attributes.int("start", 0)), clip(attributes.int("end", rank))));
}

/** Whether an operator can be folded. */
export function folds(op: string): boolean {
  return Object.hasOwn(FOLDS, op);
}

const FOLDS: Readonly<Record<string, Fold>> = {
  ...LAYOUT_FOLDS,
  Abs: unary(Math.abs),
  Add: binary({ real: (a, b) => a + b }),
  And: comparison((a, b) => a !== 0 && b !== 0),
  Cast: cast,
  Ceil: unary(Math.ceil),
  Constant: constant,
  ConstantOfShape: constantOfShape,
  Div: binary({ real: (a, b) => a / b, whole: (a, b) => Math.trunc(a / b) }),
  Equal: comparison((a, b) => a === b),
  Floor: unary(Math.floor),
  Greater: comparison((a, b) => a > b),
  Less: comparison((a, b) => a < b),
  Max: binary({ real: Math.max }),
  Min: binary({ real: Math.min }),
  Mul: binary({ real: (a, b) => a * b }),
  Neg: unary((value) => -value),
  Not: unary((value) => value === 0 ? 1 : 0),
  Or: comparison((a, b) => a !== 0 || b !== 0),
  Pow: binary({ real: (a, b) => a ** b }),
  Range: range,
  Shape: ({ node, inputs: [source] }) => [shapeOf(node, source.shape)],
  Size: ({ inputs: [source] }) => [{ ...integers([source.data.length]), shape: [] }],
  Sqrt: unary(Math.sqrt),
  Sub: binary({ real: (a, b) => a - b }),
  Where: where,
};

/** Operators that can be folded, in the order of their names. */
export const FOLDED_OPERATORS: readonly string[] = Object.keys(FOLDS).sort();

/**
 * The outputs of a node whose inputs are all constant.
 * @throws Refusal when an input is missing or the operator does not fold these.
 */
export function fold(folding: Folding): HostArray[] {
  const { op } = folding.node;
  if (!folds(op)) throw new Refusal("");
  const compute = FOLDS[op];
  const required = REQUIRED[op] ?? 1;
  for (let i = 0; i < required; i++) {
    if (folding.inputs[i] === undefined) throw new Refusal(`lacks its input ${i}`);
  }
  const most = MOST[op] ?? Infinity;
  if (folding.inputs.length > most) {
    throw new Refusal(`has ${folding.inputs.length} inputs instead of at most ${most}`);
  }
  return compute(folding);
}

/** Inputs that must be there, where that is not the first alone. */
const REQUIRED: Readonly<Record<string, number>> = {
  Constant: 0,
  Add: 2,
  And: 2,
  Div: 2,
  Equal: 2,
  Expand: 2,
  Gather: 2,
  Greater: 2,
  Less: 2,
  Max: 2,
  Min: 2,
  Mul: 2,
  Or: 2,
  Pow: 2,
  Range: 3,
  Reshape: 2,
  Sub: 2,
  Where: 3,
};

/** Operators that would silently leave inputs out. */
const MOST: Readonly<Record<string, number>> = { Max: 2, Min: 2 };
