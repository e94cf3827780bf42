/**
 * Import of operators that ONNX had for a while without promising them, and that converters of
 * CoreML models still write.
 */

import { Refusal } from "../../read/array.ts";
import type { OnnxNode } from "../../read/reader.ts";
import { emitAffine } from "../affine.ts";
import type { FeatureValue } from "../features.ts";
import type { Importer } from "../importer.ts";

/** scale * x + offset, each one number or one a channel. */
function scaled(
  importer: Importer,
  node: OnnxNode,
  x: FeatureValue,
  scale: readonly number[],
  offset: readonly number[],
): void {
  const affine = {
    scale: Float64Array.from(scale),
    offset: Float64Array.from(offset),
    alone: importer.readOnce(node.inputs[0]),
  };
  importer.alias(node, emitAffine(importer, node, x, affine));
}

/** Affine: alpha x + beta. */
export function importScaling(importer: Importer, node: OnnxNode): void {
  const { attributes } = node;
  const [alpha, beta] = [attributes.float("alpha", 1), attributes.float("beta", 0)];
  scaled(importer, node, importer.feature(node), [alpha], [beta]);
}

/** ImageScaler: scale x + bias, a bias for each channel. */
export function importImageScaler(importer: Importer, node: OnnxNode): void {
  const x = importer.picture(node);
  const bias = node.attributes.floats("bias");
  if (bias.length !== x.shape[1]) {
    throw new Refusal(`has ${bias.length} biases for ${x.shape[1]} channels`);
  }
  scaled(importer, node, x, [node.attributes.float("scale", 1)], bias);
}

/** Crop: without a border (left, top, right, bottom), or of a given size behind it. */
export function importCrop(importer: Importer, node: OnnxNode): void {
  const { name, shape: [, , height, width] } = importer.picture(node);
  const [left, top, right, bottom] = node.attributes.ints("border");
  const [rows, columns] = node.attributes.has("scale")
    ? node.attributes.ints("scale")
    : [height - top - bottom, width - left - right];
  importer.emit(node, {
    op: "slice",
    inputs: [name],
    starts: [top, left],
    ends: [top + rows, left + columns],
    strides: [1, 1],
  });
}
