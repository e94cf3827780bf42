/**
 * Layer norm over channels written as its steps: the mean, the deviation from it, the mean of that
 * squared, a root, a quotient.
 */

import { axesOf, axisOf } from "../fold/layout.ts";
import type { Importer, Value } from "./importer.ts";
import type { ConstantValue, FeatureValue } from "./features.ts";
import { integers } from "../read/array.ts";
import type { Moment, MomentStep } from "./pending.ts";
import type { OnnxNode } from "../read/reader.ts";

const isMoment = (value: Value | undefined, step?: MomentStep): value is Moment =>
  value?.kind === "pending" && value.form === "moment" &&
  (step === undefined || value.step === step);

const scalarOf = (value: Value | undefined): number | undefined =>
  value?.kind === "constant" && value.array.data.length === 1 ? value.array.data[0] : undefined;

const sameBase = (a: Moment, b: Moment): boolean =>
  a.base.name === b.base.name && a.base.view === b.base.view;

/** The axis that channels lie along, in the file's shape. */
export function normalisedAxis({ shape, view }: FeatureValue): number | undefined {
  if (view === "channels_last") return shape.length - 1;
  return view === undefined ? 1 : undefined;
}

/**
 * Axes that a reduction goes over, counted from the front; undefined when it names none. They are an
 * input from operator set `asInputFrom` on.
 */
export function reducedAxes(
  importer: Importer,
  node: OnnxNode,
  rank: number,
  asInputFrom = 18,
): number[] | undefined {
  const given = importer.opset < asInputFrom ? undefined : importer.constant(node, 1)?.array;
  const axes = axesOf({ node, opset: importer.opset, inputs: [integers([]), given] }, asInputFrom);
  return axes?.map((axis) => axisOf(axis, rank)).sort((a, b) => a - b);
}

function nextStep(node: OnnxNode, from: Moment, step: MomentStep, epsilon = 0): Moment {
  return { ...from, node, step, epsilon };
}

/** ReduceMean over channels: of a value its mean, of the squared deviations the variance. */
function reduced(importer: Importer, node: OnnxNode): Moment | undefined {
  const value = importer.input(node, 0);
  const squares = isMoment(value, "squares");
  if (!squares && (value === undefined || value.kind === "constant" || isMoment(value))) {
    return undefined;
  }
  const base = squares ? value.base : importer.viewed(node);
  const axes = reducedAxes(importer, node, base.shape.length);
  const axis = normalisedAxis(base);
  const kept = node.attributes.int("keepdims", 1) === 1;
  if (!kept || axis === undefined || axes?.length !== 1 || axes[0] !== axis) return undefined;
  return {
    kind: "pending",
    form: "moment",
    node,
    base,
    shape: base.shape.map((extent, each) => each === axis ? 1 : extent),
    step: squares ? "variance" : "mean",
    epsilon: 0,
  };
}

/** What a node of one or two operands makes of the steps before it. */
function combinedMoment(importer: Importer, node: OnnxNode): Moment | undefined {
  const [a, b] = [importer.input(node, 0), importer.input(node, 1)];
  switch (node.op) {
    case "Sub": {
      const centres = isMoment(b, "mean") && a?.kind === "feature" && a.name === b.base.name &&
        a.view === b.base.view;
      return centres ? { ...nextStep(node, b, "centred"), shape: a.shape } : undefined;
    }
    case "Mul":
      return isMoment(a, "centred") && a === b ? nextStep(node, a, "squares") : undefined;
    case "Pow": {
      const exponent = scalarOf(b);
      if (isMoment(a, "centred") && exponent === 2) return nextStep(node, a, "squares");
      if (!isMoment(a, "variance")) return undefined;
      if (exponent === 0.5) return nextStep(node, a, "deviation", a.epsilon);
      return exponent === -0.5 ? nextStep(node, a, "inverse", a.epsilon) : undefined;
    }
    case "Add": {
      const [moment, constant] = isMoment(a) ? [a, b] : [b, a];
      const epsilon = scalarOf(constant);
      return isMoment(moment, "variance") && moment.epsilon === 0 && epsilon !== undefined
        ? nextStep(node, moment, "variance", epsilon)
        : undefined;
    }
    case "Sqrt":
      return isMoment(a, "variance") ? nextStep(node, a, "deviation", a.epsilon) : undefined;
    case "Reciprocal":
      return isMoment(a, "deviation") ? nextStep(node, a, "inverse", a.epsilon) : undefined;
    case "Div":
      return isMoment(b, "deviation") && scalarOf(a) === 1
        ? nextStep(node, b, "inverse", b.epsilon)
        : undefined;
    default:
      return undefined;
  }
}

/** The steps whose quotient a node computes: a whole layer norm. */
function quotientOf(importer: Importer, node: OnnxNode): Moment | undefined {
  const [a, b] = [importer.input(node, 0), importer.input(node, 1)];
  const [top, bottom] = node.op === "Mul" && isMoment(a, "inverse") ? [b, a] : [a, b];
  const fits = isMoment(top, "centred") &&
    ((node.op === "Div" && isMoment(bottom, "deviation")) ||
      (node.op === "Mul" && isMoment(bottom, "inverse")));
  return fits && sameBase(top, bottom) ? bottom : undefined;
}

/** A layer norm over channels; its scale and offset are ones and zeros where left out. */
export function emitLayerNorm(
  importer: Importer,
  node: OnnxNode,
  base: FeatureValue,
  epsilon: number,
  given: { readonly scale?: ConstantValue; readonly offset?: ConstantValue } = {},
): void {
  const [channels] = importer.shapeOf(base.name);
  const filled = (name: string, value: number): ConstantValue => ({
    kind: "constant",
    name: `${node.name}.${name}`,
    array: { dtype: "f32", shape: [channels], data: new Float32Array(channels).fill(value) },
  });
  const { scale = filled("scale", 1), offset = filled("offset", 0) } = given;
  importer.emitLike(node, base, {
    op: "layer_norm",
    inputs: [base.name],
    scale: importer.parameter(scale),
    offset: importer.parameter(offset),
    epsilon,
  });
}

/** Takes a node as a step of a layer norm; false when it is none. */
export function putOffMoment(importer: Importer, node: OnnxNode): boolean {
  const quotient = quotientOf(importer, node);
  if (quotient !== undefined) {
    emitLayerNorm(importer, node, quotient.base, quotient.epsilon);
    return true;
  }
  const moment = node.op === "ReduceMean"
    ? reduced(importer, node)
    : combinedMoment(importer, node);
  if (moment === undefined) return false;
  importer.postpone(moment);
  return true;
}
