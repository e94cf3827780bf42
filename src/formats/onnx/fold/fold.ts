/**
 * Constant folding: nodes whose inputs are all known are computed while the model is read. What
 * exporters leave behind is mostly arithmetic on shapes.
 */

import { type DType, fromHalf, toHalf } from "../../dtype.ts";
import {
  dtypeOf,
  type HostArray,
  integers,
  isFloat,
  listed,
  Refusal,
  shown,
} from "../read/array.ts";
import type { Fold, Folding } from "./folding.ts";
import { broadcastShape, broadcastTo, LAYOUT_FOLDS } from "./layout.ts";
import { NORMALISING_FOLDS } from "./normalise.ts";
import { REDUCING_FOLDS } from "./reduce.ts";
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

/** Of halves the even one, as ONNX rounds. */
function roundedToEven(value: number): number {
  const nearest = Math.round(value);
  return nearest - value === 0.5 && nearest % 2 !== 0 ? nearest - 1 : nearest;
}

/** The rest has the sign of the divisor, as in Python; that of the dividend with fmod, as in C. */
const modulo: Fold = (folding) => {
  const asInC = folding.node.attributes.int("fmod", 0) === 1;
  const rest = (a: number, b: number) => asInC ? a % b : a - Math.floor(a / b) * b;
  return binary({ real: rest })(folding);
};

/** Max and Min of any number of arrays. */
function extreme(choose: Binary): Fold {
  const two = binary({ real: choose });
  return (folding) => {
    const [first, ...rest] = folding.inputs;
    if (rest.some((input) => input === undefined)) throw new Refusal("lacks one of its inputs");
    return rest.reduce((so, next) => two({ ...folding, inputs: [so[0], next] }), [first]);
  };
}

/** Bounds are attributes before operator set 11; either may be left out. */
const clip: Fold = ({ node, inputs: [source, ...bounds], opset, allocate }) => {
  const bound = (name: string, at: number, absent: number): number => {
    if (opset < 11) return node.attributes.float(name, absent);
    const array = bounds[at];
    if (array !== undefined && array.data.length !== 1) {
      throw new Refusal(`has bounds of the shape ${shown(array.shape)}`);
    }
    return array?.data[0] ?? absent;
  };
  const low = bound("min", 0, -Infinity), high = bound("max", 1, Infinity);
  const out = allocate(source.dtype, source.shape);
  source.data.forEach((value, i) => out.data[i] = Math.min(high, Math.max(low, value)));
  return [out];
};

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
  if (dtype === undefined || dtype === "bf16") {
    throw new Refusal(`casts to element type ${node.attributes.int("to")}`);
  }
  if (dtype === "f16") {
    const halves = allocate("f32", source.shape);
    source.data.forEach((value, i) => halves.data[i] = fromHalf(toHalf(value)));
    return [halves];
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

const constantOfShape: Fold = ({ node, inputs: [shape], fill, decode }) => {
  const value = node.attributes.has("value") ? decode(node.attributes.tensor("value")) : undefined;
  const out = fill(value?.dtype ?? "f32", listed(shape));
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
  ...NORMALISING_FOLDS,
  ...REDUCING_FOLDS,
  Abs: unary(Math.abs),
  Add: binary({ real: (a, b) => a + b }),
  And: comparison((a, b) => a !== 0 && b !== 0),
  Cast: cast,
  Ceil: unary(Math.ceil),
  Clip: clip,
  Constant: constant,
  ConstantOfShape: constantOfShape,
  Div: binary({ real: (a, b) => a / b, whole: (a, b) => Math.trunc(a / b) }),
  Equal: comparison((a, b) => a === b),
  Exp: unary(Math.exp),
  Floor: unary(Math.floor),
  Greater: comparison((a, b) => a > b),
  GreaterOrEqual: comparison((a, b) => a >= b),
  Less: comparison((a, b) => a < b),
  LessOrEqual: comparison((a, b) => a <= b),
  Log: unary(Math.log),
  Max: extreme(Math.max),
  Min: extreme(Math.min),
  Mod: modulo,
  Mul: binary({ real: (a, b) => a * b }),
  Neg: unary((value) => -value),
  Not: unary((value) => value === 0 ? 1 : 0),
  Or: comparison((a, b) => a !== 0 || b !== 0),
  Pow: binary({ real: (a, b) => a ** b }),
  Range: range,
  Reciprocal: unary((value) => 1 / value),
  Relu: unary((value) => Math.max(0, value)),
  Round: unary(roundedToEven),
  Shape: ({ node, inputs: [source] }) => [shapeOf(node, source.shape)],
  Sign: unary(Math.sign),
  Size: ({ inputs: [source] }) => [{ ...integers([source.data.length]), shape: [] }],
  Sqrt: unary(Math.sqrt),
  Sub: binary({ real: (a, b) => a - b }),
  Tanh: unary(Math.tanh),
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
  return compute(folding);
}

/** Inputs that must be there, where that is not the first alone. */
const REQUIRED: Readonly<Record<string, number>> = {
  Constant: 0,
  Add: 2,
  And: 2,
  BatchNormalization: 5,
  Div: 2,
  Equal: 2,
  Expand: 2,
  Gather: 2,
  Greater: 2,
  GreaterOrEqual: 2,
  Less: 2,
  LessOrEqual: 2,
  Mod: 2,
  Mul: 2,
  Or: 2,
  Pow: 2,
  Range: 3,
  Reshape: 2,
  Sub: 2,
  Tile: 2,
  Where: 3,
};
