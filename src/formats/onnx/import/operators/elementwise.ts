/** Import of sums, products, normalisation and of what does nothing at inference. */

import { mapOfAll } from "../../../../graph/operators/operator.ts";
import { elementCount } from "../../../../tensor.ts";
import { axisOf } from "../../fold/layout.ts";
import { dtypeOf, Refusal, shown } from "../../read/array.ts";
import { shortest } from "../../read/attributes.ts";
import type { Importer } from "../importer.ts";
import { CHANNELS, isAlong, sameArrangement } from "../arrangement.ts";
import type { FeatureValue } from "../features.ts";
import { affineOf, emitAffine } from "../affine.ts";
import { normalisedAxis } from "../moments.ts";
import type { OnnxNode } from "../../read/reader.ts";

/** Relu. */
export function importRelu(importer: Importer, node: OnnxNode): void {
  const x = importer.viewed(node);
  importer.emitLike(node, x, { op: "relu", inputs: [x.name] });
}

const sameShape = (a: FeatureValue, b: FeatureValue): boolean =>
  a.view === b.view && a.shape.length === b.shape.length &&
  a.shape.every((extent, axis) => extent === b.shape[axis]) &&
  sameArrangement(a.arrangement, b.arrangement);

function requireEqual(importer: Importer, a: FeatureValue, b: FeatureValue): void {
  if (sameShape(a, b)) return;
  throw new Refusal(`adds ${importer.described(a)} and ${importer.described(b)}`);
}

/** Whether all extents but the batch's and the channels' are 1. */
function isPerChannel(importer: Importer, { name, shape, view }: FeatureValue): boolean {
  if (view === "expanded") return true;
  const axis = view === "channels_last" ? shape.length - 1 : 1;
  return shape.length === 4 && shape[axis] === importer.shapeOf(name)[0] &&
    shape.every((extent, each) => each === 0 || each === axis || extent === 1);
}

/** The picture, where the other is a map of one channel for all of its; both lie alike. */
function pictureWithMap(
  importer: Importer,
  a: FeatureValue,
  b: FeatureValue,
): FeatureValue | undefined {
  if (a.view !== b.view || a.view === "arranged" || a.shape.length !== 4) return undefined;
  const map = mapOfAll([importer.shapeOf(a.name), importer.shapeOf(b.name)]);
  return map === undefined ? undefined : map === 0 ? b : a;
}

/** The picture, where the other is one number for each of its channels; both lie alike. */
function pictureWithNumbers(
  importer: Importer,
  a: FeatureValue,
  b: FeatureValue,
): FeatureValue | undefined {
  const layout = ({ view }: FeatureValue) => view === "channels_last" ? "last" : "first";
  const [large, small] = isPerChannel(importer, a) ? [b, a] : [a, b];
  const fits = large.shape.length === 4 && isPerChannel(importer, small) &&
    layout(large) === layout(small) && large.view !== "arranged" && small.view !== "arranged" &&
    importer.shapeOf(large.name)[0] === importer.shapeOf(small.name)[0];
  return fits ? large : undefined;
}

/** Sum or product of two values, one of which may be one number a channel or a pixel of the other. */
function combine(
  importer: Importer,
  node: OnnxNode,
  op: "add" | "multiply",
  [a, b]: readonly [FeatureValue, FeatureValue],
): void {
  const picture = pictureWithMap(importer, a, b) ?? pictureWithNumbers(importer, a, b);
  if (picture === undefined && !sameShape(a, b)) {
    const does = op === "add" ? "adds" : "multiplies";
    throw new Refusal(`${does} ${importer.described(a)} and ${importer.described(b)}`);
  }
  importer.emitLike(node, picture ?? a, { op, inputs: [a.name, b.name] });
}

/** Add, Sub, Mul, Div and Neg: of a value and a constant, or of two values. */
export function importArithmetic(importer: Importer, node: OnnxNode): void {
  const computed = node.inputs.filter((_, index) =>
    importer.input(node, index)?.kind !== "constant"
  );
  node.inputs.forEach((_, index) => {
    if (importer.input(node, index)?.kind === "pending") importer.viewed(node, index);
  });
  const made = affineOf(importer, node);
  if (made !== undefined) {
    importer.alias(node, emitAffine(importer, node, made.base, made.affine));
  } else if (node.op === "Mul" && computed.length === 2) {
    combine(importer, node, "multiply", [importer.viewed(node, 0), importer.viewed(node, 1)]);
  } else if (node.op === "Add" && computed.length === 2) {
    combine(importer, node, "add", [importer.viewed(node, 0), importer.viewed(node, 1)]);
  } else if (node.op === "Sub" && computed.length === 2) {
    const right = importer.viewed(node, 1);
    const minus = { scale: Float64Array.of(-1), offset: Float64Array.of(0), alone: false };
    const negative = emitAffine(importer, node, right, minus);
    combine(importer, node, "add", [importer.viewed(node, 0), negative]);
  } else {
    throw new Refusal("is neither a sum nor a product");
  }
}

/** Sum of any number of values of one shape. */
export function importSum(importer: Importer, node: OnnxNode): void {
  let sum = importer.feature(node);
  const others = node.inputs.slice(1).map((_, index) => importer.feature(node, index + 1));
  others.forEach((other, index) => {
    requireEqual(importer, sum, other);
    const suffix = index === others.length - 1 ? "" : `/${index + 1}`;
    sum = importer.emitPart(node, suffix, { op: "add", inputs: [sum.name, other.name] });
  });
  importer.alias(node, sum);
}

/**
 * BatchNormalization, in inference mode even where the file was exported in training mode, whose
 * running statistics are those that inference uses. ONNX's momentum weights the old statistic; the
 * graph's, as PyTorch's, the new one.
 */
export function importBatchNorm(importer: Importer, node: OnnxNode): void {
  const x = importer.feature(node);
  const { attributes } = node;
  if (attributes.int("training_mode", 0) !== 0) importer.trainingMode = true;
  if (importer.opset < 9 && attributes.int("spatial", 1) === 0) {
    throw new Refusal("normalises every pixel by statistics of its own (spatial)");
  }
  const [scale, offset, mean, variance] = [1, 2, 3, 4].map((index) =>
    importer.requiredConstant(node, index)
  );
  importer.emit(node, {
    op: "batch_norm",
    inputs: [x.name],
    scale: importer.parameter(scale),
    offset: importer.parameter(offset),
    mean: importer.parameter(mean),
    variance: importer.parameter(variance),
    epsilon: attributes.float("epsilon", 1e-5),
    momentum: shortest(1 - attributes.float("momentum", 0.9)),
  });
}

/** Identity. */
export function importIdentity(importer: Importer, node: OnnxNode): void {
  importer.alias(node, importer.viewed(node));
}

/** Cast between types of real numbers, all of which are f32 here. */
export function importCast(importer: Importer, node: OnnxNode): void {
  const code = node.attributes.int("to");
  const type = dtypeOf(code);
  if (type !== "f32" && type !== "f16") throw new Refusal(`casts to element type ${code}`);
  if (type === "f16") importer.half = true;
  importer.alias(node, importer.viewed(node));
}

/** Dropout, which does nothing at inference. */
export function importDropout(importer: Importer, node: OnnxNode): void {
  const training = importer.opset < 12 ? undefined : importer.constant(node, 2);
  if (training !== undefined && training.array.data[0] !== 0) importer.trainingMode = true;
  importer.alias(node, importer.viewed(node));
}

/** Whether a softmax over an axis is one over the channels of each pixel of the graph's value. */
function isOverChannels(importer: Importer, x: FeatureValue, axis: number): boolean {
  const [channels, ...area] = importer.shapeOf(x.name);
  const { arrangement } = x;
  if (arrangement !== undefined) {
    const last = importer.opset >= 13 || axis === x.shape.length - 1;
    return last && isAlong(arrangement.axes[axis], CHANNELS, channels);
  }
  const single = elementCount(area) === 1;
  // Before operator set 13 all axes from this one on were taken together.
  const together = importer.opset < 13 ? elementCount(x.shape.slice(axis)) : x.shape[axis];
  if (axis > 0 && single && together === channels) return true;
  return axis === normalisedAxis(x) && (importer.opset >= 13 || axis === x.shape.length - 1);
}

/** Softmax or LogSoftmax over channels or classes; the latter at the very end alone. */
export function importSoftmax(importer: Importer, node: OnnxNode): void {
  const x = importer.viewed(node);
  const named = node.attributes.int("axis", importer.opset < 13 ? 1 : -1);
  if (!isOverChannels(importer, x, axisOf(named, x.shape.length))) {
    throw new Refusal(`is not over channels or classes (it reads ${shown(x.shape.slice(1))})`);
  }
  if (node.op === "LogSoftmax" && !importer.readsLogarithms) {
    throw new Refusal("is not the end of a classifier");
  }
  importer.emitLike(node, x, { op: "softmax", inputs: [x.name] });
  if (node.op === "LogSoftmax") importer.logarithms.set(importer.nodes.at(-1)!.name, node);
}
