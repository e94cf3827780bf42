/** Import of instance and group norm. */

import { Refusal, shown } from "../../read/array.ts";
import type { OnnxNode } from "../../read/reader.ts";
import type { ConstantValue, FeatureValue } from "../features.ts";
import type { Importer } from "../importer.ts";

/** Channels in groups: how many of each, and the value. */
interface Grouped {
  readonly x: FeatureValue;
  readonly groups: number;
}

/** A constant of one number a group or a channel as one of a number a channel. */
function perChannel(
  importer: Importer,
  constant: ConstantValue,
  { x, groups }: Grouped,
): string {
  const { shape, data } = constant.array;
  const [channels] = importer.shapeOf(x.name);
  if (shape.length !== 1 || (data.length !== groups && data.length !== channels)) {
    throw new Refusal(`has a constant of the shape ${shown(shape)} for ${groups} groups`);
  }
  if (data.length === channels) return importer.parameter(constant);
  const width = channels / groups;
  return importer.parameter(constant, `of ${channels} channels in groups`, () => ({
    shape: [channels],
    data: Float32Array.from({ length: channels }, (_, c) => data[Math.floor(c / width)]),
  }));
}

function emitGroupNorm(importer: Importer, node: OnnxNode, grouped: Grouped): void {
  const { x, groups } = grouped;
  const [scale, offset] = [1, 2].map((index) => importer.requiredConstant(node, index));
  importer.emitLike(node, x, {
    op: "group_norm",
    inputs: [x.name],
    groups,
    scale: perChannel(importer, scale, grouped),
    offset: perChannel(importer, offset, grouped),
    epsilon: node.attributes.float("epsilon", 1e-5),
  });
}

/** InstanceNormalization, of channels or of neighbouring channels laid out as one. */
export function importInstanceNorm(importer: Importer, node: OnnxNode): void {
  const x = importer.viewed(node);
  const apart = x.shape.length >= 3 && (x.view === undefined || x.view === "rows");
  if (!apart) throw new Refusal(`normalises each channel of ${importer.described(x)}`);
  emitGroupNorm(importer, node, { x, groups: x.shape[1] });
}

/** GroupNormalization, whose scale and offset were one number a group before operator set 21. */
export function importGroupNorm(importer: Importer, node: OnnxNode): void {
  const x = importer.feature(node);
  emitGroupNorm(importer, node, { x, groups: node.attributes.int("num_groups") });
}
