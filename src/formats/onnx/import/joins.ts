/** Import of what joins, splits, grows and shrinks pictures: Concat, Split, ConvTranspose, Resize. */

import {
  type Padding,
  type Pair,
  RESIZE_COORDINATES,
  RESIZE_ROUNDINGS,
  type ResizeNode,
} from "../../../graph/graph.ts";
import { quoted } from "../../bytes.ts";
import { listed, Refusal, shown } from "../read/array.ts";
import { axisOf } from "../fold/layout.ts";
import { emitAffine } from "./affine.ts";
import type { Importer } from "./importer.ts";
import type { FeatureValue } from "./features.ts";
import type { Affine } from "./pending.ts";
import type { OnnxNode } from "../read/reader.ts";

/** Channels of one value, each perhaps scaled and moved. */
interface Selection {
  readonly source: string;
  readonly from: readonly number[];
  readonly affine: Affine;
}

/** An input of a Concat as channels selected from another value. */
function selectionOf(importer: Importer, node: OnnxNode, index: number): Selection | undefined {
  const value = importer.input(node, index);
  const whole = { scale: Float64Array.of(1), offset: Float64Array.of(0), alone: false };
  const found = value?.kind === "feature"
    ? { base: value, affine: whole }
    : value?.kind === "pending" && value.form === "expression" && value.affine !== undefined
    ? { base: value.base, affine: value.affine }
    : undefined;
  if (found === undefined || found.base.view !== undefined) return undefined;
  const writer = importer.writer(found.base.name);
  if (writer?.op !== "channel_map" || writer.from.includes(-1)) return undefined;
  return { source: writer.inputs[0], from: writer.from, affine: found.affine };
}

/**
 * Channels taken out of one value, scaled one by one and joined again, as torchvision's models do to
 * their input: one scaling.
 */
function importRejoined(importer: Importer, node: OnnxNode): boolean {
  const selections = node.inputs.map((_, index) => selectionOf(importer, node, index));
  const [first] = selections;
  if (first === undefined || selections.some((each) => each?.source !== first.source)) return false;
  const parts = selections as Selection[];
  const { source } = first;
  const from = parts.flatMap((part) => part.from);
  const each = (values: (affine: Affine) => Float64Array) =>
    Float64Array.from(parts.flatMap((part) => {
      const own = values(part.affine);
      return part.from.map((_, c) => own[own.length === 1 ? 0 : c]);
    }));
  const scale = each((affine) => affine.scale), offset = each((affine) => affine.offset);
  const shape = importer.shapeOf(source);
  const all = from.length === shape[0] && from.every((channel, c) => channel === c);
  const selected: FeatureValue = all
    ? { kind: "feature", name: source, shape: [importer.batch, ...shape] }
    : importer.emitPart(node, "/channels", { op: "channel_map", inputs: [source], from });
  importer.alias(node, emitAffine(importer, node, selected, { scale, offset, alone: false }));
  return true;
}

/** Concat of channels. */
export function importConcat(importer: Importer, node: OnnxNode): void {
  const first = importer.input(node, 0);
  const rank = first?.kind === "pending" || first?.kind === "feature" ? first.shape.length : 0;
  const named = rank === 0 ? NaN : axisOf(node.attributes.int("axis"), rank);
  if (named === 1 && importRejoined(importer, node)) return;
  const values = node.inputs.map((_, index) => importer.viewed(node, index));
  const { view } = values[0];
  const odd = values.find((value) =>
    value.shape.length !== values[0].shape.length || value.view !== view
  );
  if (odd !== undefined) {
    throw new Refusal(`joins ${importer.described(values[0])} and ${importer.described(odd)}`);
  }
  const axis = axisOf(node.attributes.int("axis"), values[0].shape.length);
  const channels = view === undefined ? 1 : view === "channels_last" ? rank - 1 : NaN;
  if (axis !== channels) throw new Refusal(`joins along axis ${axis}, not channels`);
  if (values.length === 1) return importer.alias(node, values[0]);
  const joined = importer.emit(node, { op: "concat", inputs: values.map(({ name }) => name) });
  if (view === undefined) return;
  const [count] = importer.shapeOf(joined.name);
  importer.alias(node, { ...joined, shape: [...values[0].shape.slice(0, -1), count], view });
}

/** Channels of each part. */
function partsOf(importer: Importer, node: OnnxNode, channels: number): number[] {
  const { attributes, outputs } = node;
  const given = importer.opset < 13
    ? attributes.has("split") ? attributes.ints("split") : undefined
    : importer.constant(node, 1)?.array.data;
  const count = outputs.length;
  const each = Math.ceil(channels / count);
  const parts = given === undefined
    ? outputs.map((_, part) => Math.min(each, channels - part * each))
    : [...given.slice(0, count + 1)];
  const sum = parts.reduce((total, part) => total + part, 0);
  if (parts.length !== count || sum !== channels || parts.some((part) => !(part >= 1))) {
    throw new Refusal(`splits ${channels} channels into ${shown(parts)}`);
  }
  return parts;
}

/** Split of channels: a channel map for every part that is read. */
export function importSplit(importer: Importer, node: OnnxNode): void {
  const x = importer.feature(node);
  const axis = axisOf(node.attributes.int("axis", 0), x.shape.length);
  if (axis !== 1) throw new Refusal(`splits along axis ${axis}, not channels`);
  let first = 0;
  partsOf(importer, node, x.shape[1]).forEach((count, part) => {
    const from = Array.from({ length: count }, (_, c) => first + c);
    first += count;
    const output = node.outputs[part];
    if (!output || importer.uses(output) === 0) return;
    const one = { ...node, name: `${node.name}/${part}`, outputs: [output] };
    importer.emit(one, { op: "channel_map", inputs: [x.name], from });
  });
}

interface Transposed {
  readonly kernel: Pair;
  readonly stride: Pair;
  readonly dilation: Pair;
  readonly outputPadding: Pair;
}

function pairOf(values: readonly number[], what: string, least: number): Pair {
  const [vertical, horizontal] = values;
  const sensible = values.length === 2 &&
    values.every((value) => Number.isInteger(value) && value >= least && value <= 2 ** 16);
  if (sensible) return [vertical, horizontal];
  throw new Refusal(`has ${what} of ${shown(values.slice(0, 8))} instead of two axes`);
}

/** Padding that crops the output to the extents asked for, the odd cell at the end or the start. */
function croppedPadding(
  [, , ...area]: readonly number[],
  { kernel, stride, dilation, outputPadding }: Transposed,
  wanted: Pair,
  oddAtEnd: boolean,
): Padding {
  const around = (axis: 0 | 1): Pair => {
    const total = stride[axis] * (area[axis] - 1) + outputPadding[axis] +
      dilation[axis] * (kernel[axis] - 1) + 1 - wanted[axis];
    if (total < 0) throw new Refusal(`is to write ${shown(wanted)}, more than it reaches`);
    const small = Math.floor(total / 2);
    return oddAtEnd ? [small, total - small] : [total - small, small];
  };
  const [top, bottom] = around(0), [left, right] = around(1);
  return [top, left, bottom, right];
}

function transposedPadding(node: OnnxNode, shape: readonly number[], geometry: Transposed) {
  const { attributes } = node;
  const automatic = attributes.string("auto_pad", "NOTSET");
  const upper = automatic !== "SAME_LOWER";
  if (attributes.has("output_shape")) {
    const wanted = pairOf(attributes.ints("output_shape").slice(-2), "an output shape", 1);
    return croppedPadding(shape, geometry, wanted, automatic === "SAME_UPPER");
  }
  if (automatic === "SAME_UPPER" || automatic === "SAME_LOWER") {
    const { stride } = geometry;
    return croppedPadding(shape, geometry, [shape[2] * stride[0], shape[3] * stride[1]], upper);
  }
  const pads = automatic === "VALID" ? [0, 0, 0, 0] : attributes.ints("pads", [0, 0, 0, 0]);
  if (pads.length !== 4 || pads.some((pad) => !(Number.isInteger(pad) && pad >= 0))) {
    throw new Refusal(`has pads of ${shown(pads.slice(0, 8))}`);
  }
  return [pads[0], pads[1], pads[2], pads[3]] as const;
}

/** ConvTranspose. */
export function importTransposedConvolution(importer: Importer, node: OnnxNode): void {
  const x = importer.picture(node);
  const weight = importer.requiredConstant(node, 1);
  const bias = importer.constant(node, 2);
  const { attributes } = node;
  const { shape } = weight.array;
  if (shape.length !== 4) throw new Refusal(`has weights of ${shape.length} axes instead of 4`);
  const geometry: Transposed = {
    kernel: pairOf(attributes.ints("kernel_shape", shape.slice(2)), "a kernel", 1),
    stride: pairOf(attributes.ints("strides", [1, 1]), "strides", 1),
    dilation: pairOf(attributes.ints("dilations", [1, 1]), "dilations", 1),
    outputPadding: pairOf(attributes.ints("output_padding", [0, 0]), "output padding", 0),
  };
  const groups = attributes.int("group", 1);
  if (!Number.isInteger(groups) || groups < 1) throw new Refusal(`has ${groups} groups`);
  importer.emit(node, {
    op: "transposed_convolution",
    inputs: [x.name],
    weight: importer.parameter(weight),
    ...(bias === undefined ? {} : { bias: importer.parameter(bias) }),
    ...geometry,
    padding: transposedPadding(node, x.shape, geometry),
    groups,
  });
}

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
