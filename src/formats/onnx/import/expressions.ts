/** Element-wise nodes, put off until it shows which activation or scaling they make together. */

import { clipBounds } from "./operators/activations.ts";
import { affineOf } from "./affine.ts";
import type { Importer } from "./importer.ts";
import type { ConstantValue, FeatureValue } from "./features.ts";
import type { Expression } from "./pending.ts";
import type { OnnxNode } from "../read/reader.ts";
import {
  type Activation,
  clipped,
  errorFunction,
  gelu,
  geluByTanh,
  logistic,
  POINTS,
  recognised,
} from "./recognise.ts";

/** Longer chains are cut, so that making their layers stays shallow. */
const DEEPEST = 24;

type Unary = (x: number) => number;

/** Functions of one value, by operator; undefined for attributes of an unknown kind. */
const UNARY: Readonly<Record<string, (importer: Importer, node: OnnxNode) => Unary>> = {
  Abs: () => Math.abs,
  Clip: (importer, node) => {
    const { alpha = -Infinity, beta = Infinity } = clipBounds(importer, node);
    return (x) => clipped(x, alpha, beta);
  },
  Elu: (_, { attributes }) => {
    const alpha = attributes.float("alpha", 1);
    return (x) => x < 0 ? alpha * Math.expm1(x) : x;
  },
  Erf: () => errorFunction,
  Exp: () => Math.exp,
  Gelu: (_, { attributes }) =>
    attributes.string("approximate", "none") === "tanh" ? geluByTanh : gelu,
  HardSigmoid: (_, { attributes }) => {
    const alpha = attributes.float("alpha", 0.2), beta = attributes.float("beta", 0.5);
    return (x) => clipped(alpha * x + beta, 0, 1);
  },
  HardSwish: () => (x) => x * clipped(x / 6 + 0.5, 0, 1),
  LeakyRelu: (_, { attributes }) => {
    const alpha = attributes.float("alpha", 0.01);
    return (x) => x < 0 ? alpha * x : x;
  },
  Neg: () => (x) => -x,
  Reciprocal: () => (x) => 1 / x,
  Relu: () => (x) => Math.max(0, x),
  Sigmoid: () => logistic,
  Softplus: () => (x) => Math.max(0, x) + Math.log1p(Math.exp(-Math.abs(x))),
  Sqrt: () => Math.sqrt,
  Tanh: () => Math.tanh,
};

const BINARY: Readonly<Record<string, (a: number, b: number) => number>> = {
  Add: (a, b) => a + b,
  Div: (a, b) => a / b,
  Max: Math.max,
  Min: Math.min,
  Mul: (a, b) => a * b,
  Pow: (a, b) => a ** b,
  Sub: (a, b) => a - b,
};

/** Operators that may be part of an activation, in the order of their names. */
export const ELEMENTWISE_OPERATORS: readonly string[] = [
  ...Object.keys(UNARY),
  ...Object.keys(BINARY),
].sort();

/** Activations that are layers by themselves: one after another they stay two layers. */
const LAYERS: ReadonlySet<string> = new Set([
  ...["Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Tanh"],
]);

type Operand = FeatureValue | Expression | ConstantValue;

/** What a node reads, or undefined where that is none of what expressions are made of. */
function operandsOf(importer: Importer, node: OnnxNode): Operand[] | undefined {
  const count = Object.hasOwn(UNARY, node.op) ? 1 : Object.hasOwn(BINARY, node.op) ? 2 : 0;
  if (count === 0 || (count === 2 && node.inputs.length !== 2)) return undefined;
  const operands = Array.from({ length: count }, (_, index) => importer.input(node, index));
  const usable = operands.every((operand) =>
    operand?.kind === "constant" || operand?.kind === "feature" ||
    (operand?.kind === "pending" && operand.form === "expression")
  );
  return usable ? operands as Operand[] : undefined;
}

/** The one value that all operands are computed from. */
function baseOf(operands: readonly Operand[]): FeatureValue | undefined {
  const bases = operands.flatMap((operand) =>
    operand.kind === "constant" ? [] : operand.kind === "pending" ? [operand.base] : [operand]
  );
  const [base, other = base] = bases;
  const same = base?.name === other?.name && base?.shape.join() === other?.shape.join();
  return same ? base : undefined;
}

function samplesOf(operand: Operand, rank: number): Float64Array | undefined {
  if (operand.kind === "feature") return POINTS;
  if (operand.kind === "pending") return operand.samples;
  const { data, shape } = operand.array;
  return data.length === 1 && shape.length <= rank ? POINTS.map(() => data[0]) : undefined;
}

/** Values of a node at points where its operands have these. */
function sampled(
  importer: Importer,
  node: OnnxNode,
  [a, b]: readonly (Float64Array | undefined)[],
): Float64Array | undefined {
  if (a === undefined || (Object.hasOwn(BINARY, node.op) && b === undefined)) return undefined;
  const unary = Object.hasOwn(UNARY, node.op) ? UNARY[node.op](importer, node) : undefined;
  return unary === undefined ? a.map((x, i) => BINARY[node.op](x, b![i])) : a.map((x) => unary(x));
}

/** Makes layers of operands that a node cannot form a function with; false when there are none. */
function forceOperands(importer: Importer, node: OnnxNode, operands: readonly Operand[]): boolean {
  const perChannel = operands.some((operand) =>
    operand.kind === "constant" && operand.array.data.length > 1
  );
  if (perChannel) return false;
  const made = operands.flatMap((operand, index) =>
    operand.kind === "pending" &&
      (operand.samples === undefined || (LAYERS.has(node.op) && LAYERS.has(operand.node.op)))
      ? [index]
      : []
  );
  for (const index of made) importer.viewed(node, index);
  return made.length > 0;
}

/** Puts an element-wise node off where its meaning depends on what follows; else returns false. */
export function putOffExpression(importer: Importer, node: OnnxNode): boolean {
  let operands = operandsOf(importer, node);
  if (operands !== undefined && forceOperands(importer, node, operands)) {
    operands = operandsOf(importer, node);
  }
  const base = operands && baseOf(operands);
  if (operands === undefined || base === undefined) return false;
  const depths = operands.map((operand) => operand.kind === "pending" ? operand.depth : 0);
  const depth = 1 + Math.max(...depths);
  if (depth > DEEPEST) return false;
  const rank = base.shape.length;
  const samples = sampled(importer, node, operands.map((operand) => samplesOf(operand, rank)));
  const affine = affineOf(importer, node)?.affine;
  if (samples === undefined && affine === undefined) return false;
  importer.postpone({
    kind: "pending",
    form: "expression",
    node,
    base,
    shape: base.shape,
    depth,
    ...(samples === undefined ? {} : { samples }),
    ...(affine === undefined ? {} : { affine }),
  });
  return true;
}

/** Values that an expression is computed from, the nearest first; none where there are many. */
function innerValues(importer: Importer, value: Expression): (FeatureValue | Expression)[] {
  const found: (FeatureValue | Expression)[] = [value];
  for (let at = 0; at < found.length && found.length <= MOST_INNER; at++) {
    const each = found[at];
    const operands = each.kind === "pending" ? operandsOf(importer, each.node) ?? [] : [];
    for (const operand of operands) {
      if (operand.kind !== "constant" && !found.includes(operand)) found.push(operand);
    }
  }
  return found.length > MOST_INNER ? [] : found.slice(1);
}

/** No activation is written as more nodes. */
const MOST_INNER = 32;

/** Samples of an expression as a function of another that it is computed from and from nothing else. */
function samplesFrom(
  importer: Importer,
  value: Operand,
  from: Operand,
  known: Map<Operand, Float64Array | undefined>,
): Float64Array | undefined {
  if (value === from) return POINTS;
  if (value.kind === "constant") return samplesOf(value, Infinity);
  if (value.kind === "feature") return undefined;
  if (known.has(value)) return known.get(value);
  known.set(value, undefined);
  const operands = operandsOf(importer, value.node);
  const samples = operands &&
    sampled(
      importer,
      value.node,
      operands.map((operand) => samplesFrom(importer, operand, from, known)),
    );
  known.set(value, samples);
  return samples;
}

/** An activation of a value between an expression and its base, which makes layers of its own. */
export function activationOfPart(
  importer: Importer,
  value: Expression,
): { activation: Activation; of: FeatureValue | Expression } | undefined {
  for (const of of innerValues(importer, value)) {
    const samples = samplesFrom(importer, value, of, new Map());
    const activation = samples && recognised(samples);
    if (activation !== undefined) return { activation, of };
  }
  return undefined;
}
