/** Import of what grows and shrinks pictures: Resize, and Upsample before it. */

import { RESIZE_COORDINATES, RESIZE_ROUNDINGS, type ResizeNode } from "../../../../graph/graph.ts";
import { quoted } from "../../../bytes.ts";
import { axisOf } from "../../fold/layout.ts";
import { listed, Refusal, shown } from "../../read/array.ts";
import type { OnnxNode } from "../../read/reader.ts";
import type { FeatureValue } from "../features.ts";
import type { Importer } from "../importer.ts";

/** One of the words known for an attribute. */
function wordOf<Word extends string>(node: OnnxNode, name: string, words: readonly Word[]): Word {
  const found = node.attributes.string(name, words[0]);
  const known = words.find((word) => word === found);
  if (known === undefined) throw new Refusal(`has the ${name} ${quoted(found)}`);
  return known;
}

/** Height and width to resize to, and the scales that relate the coordinates. */
function resizedTo(
  importer: Importer,
  node: OnnxNode,
  x: FeatureValue,
): Pick<ResizeNode, "size" | "scales"> {
  const policy = node.attributes.string("keep_aspect_ratio_policy", "stretch");
  if (policy !== "stretch") throw new Refusal("keeps the aspect ratio");
  const named = node.attributes.has("axes") ? node.attributes.ints("axes") : [0, 1, 2, 3];
  const axes = named.map((axis) => axisOf(axis, 4));
  const list = (index: number) => {
    const array = importer.constant(node, index)?.array;
    return array === undefined || array.data.length === 0 ? undefined : listed(array);
  };
  const scales = list(2), sizes = list(3);
  const along = (axis: number): { size: number; scale: number } => {
    const at = axes.indexOf(axis), extent = x.shape[axis];
    if (at < 0) return { size: extent, scale: 1 };
    const [scale, size] = [scales?.[at], sizes?.[at]];
    if (size !== undefined) return { size, scale: size / extent };
    if (scale !== undefined && scale > 0) return { size: Math.floor(extent * scale), scale };
    throw new Refusal("has neither scales nor sizes for its axes");
  };
  const [batch, channels, rows, columns] = [0, 1, 2, 3].map(along);
  if (batch.size !== x.shape[0] || channels.size !== x.shape[1]) {
    throw new Refusal("resizes more than height and width");
  }
  return { size: [rows.size, columns.size], scales: [rows.scale, columns.scale] };
}

/** Scales of Upsample and of the first Resize: an attribute before operator set 9, then an input. */
function olderScales(importer: Importer, node: OnnxNode): readonly number[] {
  if (importer.opset < 9) return node.attributes.floats("scales");
  const { data } = importer.requiredConstant(node, 1).array;
  return [...data.slice(0, 5)];
}

/** Upsample, and Resize of operator set 10: from the top left, to the cell before. */
export function importUpsample(importer: Importer, node: OnnxNode): void {
  const x = importer.picture(node);
  const scales = olderScales(importer, node);
  const [batch, channels, ...factors] = scales;
  const mode = node.attributes.string("mode", "nearest");
  const known = mode === "nearest" || mode === "linear" || mode === "bilinear";
  if (!known) throw new Refusal(`has the mode ${quoted(mode)}`);
  const [rows, columns] = factors;
  const sensible = factors.length === 2 && factors.every((factor) => factor > 0);
  if (!sensible || batch !== 1 || channels !== 1) {
    throw new Refusal(`has the scales ${shown(scales)}, not of height and width alone`);
  }
  const [, , height, width] = x.shape;
  importer.emit(node, {
    op: "resize",
    inputs: [x.name],
    mode: mode === "nearest" ? mode : "linear",
    coordinates: "asymmetric",
    rounding: "floor",
    size: [Math.floor(height * rows), Math.floor(width * columns)],
    scales: [rows, columns],
  });
}

/** Resize of height and width to the nearest cells or linearly between them. */
export function importResize(importer: Importer, node: OnnxNode): void {
  if (importer.opset < 11) return importUpsample(importer, node);
  const x = importer.picture(node);
  if (node.attributes.int("antialias", 0) !== 0) throw new Refusal("smooths (antialias)");
  if (node.attributes.int("exclude_outside", 0) !== 0) throw new Refusal("excludes the outside");
  const { size, scales } = resizedTo(importer, node, x);
  importer.emit(node, {
    op: "resize",
    inputs: [x.name],
    mode: wordOf(node, "mode", ["nearest", "linear"]),
    coordinates: wordOf(node, "coordinate_transformation_mode", RESIZE_COORDINATES),
    rounding: wordOf(node, "nearest_mode", RESIZE_ROUNDINGS),
    size,
    scales,
  });
}
