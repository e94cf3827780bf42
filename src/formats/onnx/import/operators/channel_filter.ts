/** Import of convolutions of one axis, where that is the channels of single cells. */

import { elementCount } from "../../../../tensor.ts";
import { Refusal, shown } from "../../read/array.ts";
import type { OnnxNode } from "../../read/reader.ts";
import type { ConstantValue } from "../features.ts";
import type { Importer } from "../importer.ts";

/** Zeros before and after, as many as taps but one, so that there is an answer for each channel. */
function paddingOf({ attributes }: OnnxNode, taps: number): readonly [number, number] {
  const automatic = attributes.string("auto_pad", "NOTSET");
  const small = Math.floor((taps - 1) / 2), large = taps - 1 - small;
  if (automatic === "SAME_UPPER") return [small, large];
  if (automatic === "SAME_LOWER") return [large, small];
  const [before, after = 0] = automatic === "NOTSET" ? attributes.ints("pads", [0, 0]) : [0, 0];
  const keeps = Number.isInteger(before) && before >= 0 && after >= 0 &&
    before + after === taps - 1;
  if (keeps) return [before, after];
  throw new Refusal(`has pads of [${before}, ${after}] for ${taps} taps, which change the extent`);
}

/** Conv of [batch, 1, channels] with one filter. */
export function importChannelFilter(
  importer: Importer,
  node: OnnxNode,
  weight: ConstantValue,
  bias: ConstantValue | undefined,
): void {
  const x = importer.viewed(node);
  const graph = importer.shapeOf(x.name), [channels] = graph;
  const row = x.shape.length === 3 && x.shape[1] === 1 && x.shape[2] === channels &&
    x.view !== "arranged" && elementCount(graph) === channels;
  if (!row) {
    throw new Refusal(`filters ${importer.described(x)}, which are no channels of one cell`);
  }
  const [out, from, taps] = weight.array.shape;
  const { attributes } = node;
  const single = [...attributes.ints("strides", [1]), ...attributes.ints("dilations", [1])]
    .every((step) => step === 1);
  if (out !== 1 || from !== 1 || attributes.int("group", 1) !== 1 || !single || taps > channels) {
    throw new Refusal(`has weights of the shape ${shown(weight.array.shape)} for one row`);
  }
  importer.emitLike(node, x, {
    op: "channel_filter",
    inputs: [x.name],
    weight: importer.parameter(weight),
    ...(bias === undefined ? {} : { bias: importer.parameter(bias) }),
    padding: paddingOf(node, taps),
    extent: channels,
    positions: Array.from({ length: channels }, (_, c) => c),
  });
}
