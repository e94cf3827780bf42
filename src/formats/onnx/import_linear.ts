/** Import of linear layers and of what flattens pictures for them. */

import type { Tensor } from "../../tensor.ts";
import { elementCount } from "../../tensor.ts";
import { type HostArray, integers, Refusal, shown } from "./array.ts";
import { axesOf, axisOf, reshapeTarget, squeezedShape, unsqueezedShape } from "./fold_layout.ts";
import type { ConstantValue, FeatureValue, Importer } from "./importer.ts";
import type { OnnxNode } from "./reader.ts";

/** [rows, columns] -> [columns, rows], times a factor. */
function transposed({ shape: [rows, columns], data }: HostArray, factor: number): Tensor {
  const out = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      out[column * rows + row] = factor * data[row * columns + column];
    }
  }
  return { shape: [columns, rows], data: out };
}

/** The weight of a linear layer as [out, in]. */
function linearWeight(
  importer: Importer,
  weight: ConstantValue,
  outFirst: boolean,
  factor: number,
): string {
  const { array } = weight;
  if (array.shape.length !== 2) throw new Refusal(`has weights of the shape ${shown(array.shape)}`);
  if (outFirst && factor === 1) return importer.parameter(weight);
  if (!outFirst) {
    return importer.parameter(weight, `transposed ${factor}`, () => transposed(array, factor));
  }
  return importer.parameter(weight, `scaled ${factor}`, () => ({
    shape: array.shape,
    data: Float32Array.from(array.data, (value) => factor * value),
  }));
}

/**
 * A constant added to a value as a bias of `channels`: all its extents are 1 but that of the
 * channels. `rank` is the value's, and `factor` scales it.
 */
function biasOf(
  importer: Importer,
  bias: ConstantValue,
  channels: number,
  rank: number,
  factor = 1,
): string {
  const { shape, data } = bias.array;
  const axis = shape.length - rank + 1;
  const fits = shape.length <= rank &&
    shape.every((extent, each) => extent === 1 || (each === axis && extent === channels));
  if (!fits) throw new Refusal(`adds a constant of the shape ${shown(shape)}`);
  if (shape.length === 1 && data.length === channels && factor === 1) {
    return importer.parameter(bias);
  }
  return importer.parameter(bias, `bias ${channels} ${factor}`, () => ({
    shape: [channels],
    data: Float32Array.from({ length: channels }, (_, c) => factor * data[c % data.length]),
  }));
}

/** Gemm with constant weights. */
export function importGemm(importer: Importer, node: OnnxNode): void {
  const x = importer.feature(node);
  const { attributes } = node;
  if (attributes.int("transA", 0) !== 0) throw new Refusal("transposes its input");
  const weight = importer.requiredConstant(node, 1);
  const bias = importer.constant(node, 2);
  const outFirst = attributes.int("transB", 0) !== 0;
  const name = linearWeight(importer, weight, outFirst, attributes.float("alpha", 1));
  const out = importer.parameters.get(name)!.shape[0];
  importer.emit(node, {
    op: "linear",
    inputs: [x.name],
    weight: name,
    ...(bias === undefined
      ? {}
      : { bias: biasOf(importer, bias, out, 2, attributes.float("beta", 1)) }),
  });
}

/** MatMul with constant weights on the right. */
export function importMatMul(importer: Importer, node: OnnxNode): void {
  const x = importer.feature(node);
  const weight = linearWeight(importer, importer.requiredConstant(node, 1), false, 1);
  importer.emit(node, { op: "linear", inputs: [x.name], weight });
}

/**
 * Adds a constant to a value: the bias of the linear layer or convolution that alone wrote it, for
 * this alone.
 */
export function addConstant(
  importer: Importer,
  node: OnnxNode,
  { name, shape }: FeatureValue,
  constant: ConstantValue,
): void {
  const writer = importer.writer(name);
  const takesBias = (writer?.op === "linear" || writer?.op === "convolution") &&
    writer.bias === undefined;
  const from = node.inputs.find((input) => importer.values.get(input)?.kind === "feature")!;
  if (!takesBias || from !== name || importer.uses(from) !== 1) {
    throw new Refusal("adds a constant to what is not the output of a layer without bias");
  }
  const bias = biasOf(importer, constant, shape[1], shape.length);
  importer.replace({ ...writer, bias });
  importer.alias(node, { kind: "feature", name, shape });
}

/** [batch, channels, ...] seen as [batch, groups, channels / groups, ...], or back. */
function regroupsChannels(from: readonly number[], to: readonly number[]): boolean {
  const [few, many] = from.length < to.length ? [from, to] : [to, from];
  return few.length === 4 && many.length === 5 && few[0] === many[0] &&
    few[1] === many[1] * many[2] && few[2] === many[3] && few[3] === many[4];
}

/** The elements of each image under another shape: as they are, or flattened. */
function reshape(importer: Importer, node: OnnxNode, shape: readonly number[]): void {
  const x = importer.feature(node);
  const same = shape.length === x.shape.length && shape.every((e, axis) => e === x.shape[axis]);
  if (same) return importer.alias(node, x);
  if (regroupsChannels(x.shape, shape)) return importer.alias(node, { ...x, shape });
  const flattens = shape.length === 2 && importer.isBatched(shape) &&
    shape[1] === elementCount(x.shape.slice(1));
  if (!flattens) {
    throw new Refusal(
      `turns ${importer.described(x)} into ${importer.described({ ...x, shape })}`,
    );
  }
  importer.emit(node, { op: "flatten", inputs: [x.name] });
}

/** Reshape that keeps or flattens pictures. */
export function importReshape(importer: Importer, node: OnnxNode): void {
  const { shape } = importer.feature(node);
  const target = importer.requiredConstant(node, 1).array.data;
  const allowZero = node.attributes.int("allowzero", 0) === 1;
  reshape(importer, node, reshapeTarget(shape, [...target], allowZero));
}

/** Flatten behind the batch. */
export function importFlatten(importer: Importer, node: OnnxNode): void {
  const { shape } = importer.feature(node);
  const axis = axisOf(node.attributes.int("axis", 1), shape.length);
  reshape(importer, node, [
    elementCount(shape.slice(0, axis)),
    elementCount(shape.slice(axis)),
  ]);
}

/** Squeeze that flattens [batch, features, 1, 1], and Unsqueeze that changes nothing. */
export function importSqueeze(importer: Importer, node: OnnxNode): void {
  const { shape } = importer.feature(node);
  const given = importer.opset < 13 ? undefined : importer.constant(node, 1)?.array;
  const axes = axesOf({ node, opset: importer.opset, inputs: [integers([]), given] }, 13);
  reshape(
    importer,
    node,
    node.op === "Squeeze" ? squeezedShape(shape, axes) : unsqueezedShape(shape, axes ?? []),
  );
}
