/** Import of linear layers. */

import type { Tensor } from "../../../tensor.ts";
import { type HostArray, Refusal, shown } from "../read/array.ts";
import type { Importer } from "./importer.ts";
import type { ConstantValue } from "./features.ts";
import type { OnnxNode } from "../read/reader.ts";

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

/** MatMul with constant weights on the right; of pictures with channels last, a convolution. */
export function importMatMul(importer: Importer, node: OnnxNode): void {
  const x = importer.viewed(node);
  const weight = importer.requiredConstant(node, 1);
  if (x.view !== "channels_last") {
    const inputs = [importer.feature(node).name];
    importer.emit(node, {
      op: "linear",
      inputs,
      weight: linearWeight(importer, weight, false, 1),
    });
    return;
  }
  const { array } = weight;
  if (array.shape.length !== 2) throw new Refusal(`has weights of the shape ${shown(array.shape)}`);
  const [, out] = array.shape;
  const { name, kind } = importer.emit(node, {
    op: "convolution",
    inputs: [x.name],
    weight: importer.parameter(weight, "pointwise", () => {
      const { shape, data } = transposed(array, 1);
      return { shape: [...shape, 1, 1], data };
    }),
    kernel: [1, 1],
    stride: [1, 1],
    padding: [0, 0, 0, 0],
    dilation: [1, 1],
    groups: 1,
  });
  importer.alias(node, { kind, name, shape: [...x.shape.slice(0, -1), out], view: x.view });
}
