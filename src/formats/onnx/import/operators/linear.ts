/** Import of linear layers. */

import type { Tensor } from "../../../../tensor.ts";
import { type HostArray, Refusal, shown } from "../../read/array.ts";
import type { Importer } from "../importer.ts";
import type { ConstantValue, FeatureValue } from "../features.ts";
import type { OnnxNode } from "../../read/reader.ts";

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

/** [out, pixels * channels] -> [out, channels * pixels]. */
function channelsOutermost({ shape, data }: Tensor, pixels: number): Tensor {
  const [rows, columns] = shape;
  const channels = columns / pixels;
  const out = new Float32Array(data.length);
  for (let at = 0; at < rows * columns; at += columns) {
    for (let pixel = 0; pixel < pixels; pixel++) {
      for (let c = 0; c < channels; c++) {
        out[at + c * pixels + pixel] = data[at + pixel * channels + c];
      }
    }
  }
  return { shape, data: out };
}

/** What a linear layer reads: features, or a picture that was flattened with channels innermost. */
function flatInput(importer: Importer, node: OnnxNode): FeatureValue {
  const value = importer.viewed(node);
  return value.view === "flat_last" ? value : importer.feature(node);
}

/** The weight of a linear layer as [out, in], for the order in which the graph has what it reads. */
function linearWeight(
  importer: Importer,
  weight: ConstantValue,
  outFirst: boolean,
  factor: number,
  { pixels, shape: [, features] }: FeatureValue,
): string {
  const { array } = weight;
  if (array.shape.length !== 2) throw new Refusal(`has weights of the shape ${shown(array.shape)}`);
  if (pixels !== undefined && pixels > 1) {
    if (array.shape[outFirst ? 1 : 0] !== features) {
      throw new Refusal(`has weights of the shape ${shown(array.shape)} for ${features} features`);
    }
    return importer.parameter(weight, `of ${pixels} pixels ${outFirst} ${factor}`, () => {
      const whole = outFirst
        ? { shape: array.shape, data: Float32Array.from(array.data, (value) => factor * value) }
        : transposed(array, factor);
      return channelsOutermost(whole, pixels);
    });
  }
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
  const x = flatInput(importer, node);
  const { attributes } = node;
  if (attributes.int("transA", 0) !== 0) throw new Refusal("transposes its input");
  const weight = importer.requiredConstant(node, 1);
  const bias = importer.constant(node, 2);
  const outFirst = attributes.int("transB", 0) !== 0;
  const name = linearWeight(importer, weight, outFirst, attributes.float("alpha", 1), x);
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
    const flat = flatInput(importer, node);
    importer.emit(node, {
      op: "linear",
      inputs: [flat.name],
      weight: linearWeight(importer, weight, false, 1, flat),
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
