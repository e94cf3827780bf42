/** Import of what slides a window over pictures: convolution and pooling. */

import type { Padding, Pair } from "../../../../graph/graph.ts";
import { windowExtent } from "../../../../graph/operators/operator.ts";
import { Refusal, shown } from "../../read/array.ts";
import { elementCount } from "../../../../tensor.ts";
import { emitAffine } from "../affine.ts";
import type { FeatureValue } from "../features.ts";
import { importChannelFilter } from "./channel_filter.ts";
import { reducedAxes } from "../moments.ts";
import type { Importer } from "../importer.ts";
import type { OnnxNode } from "../../read/reader.ts";

/** Geometry of a window on pictures of [height, width], with what `auto_pad` stands for. */
interface Geometry {
  readonly kernel: Pair;
  readonly stride: Pair;
  readonly padding: Padding;
  readonly dilation: Pair;
}

/** No picture is larger, so that no window, step or padding need be; as in model files. */
const LARGEST = 2 ** 16;

function pairOf(values: readonly number[], what: string): Pair {
  const [vertical, horizontal] = values;
  const sensible = values.length === 2 &&
    values.every((value) => Number.isInteger(value) && value > 0 && value <= LARGEST);
  if (sensible) return [vertical, horizontal];
  throw new Refusal(`has ${what} of [${values.slice(0, 8).join(", ")}] instead of two axes`);
}

function explicitPadding(node: OnnxNode): Padding {
  const pads = node.attributes.ints("pads", [0, 0, 0, 0]);
  const [top, left, bottom, right] = pads;
  const sensible = pads.length === 4 &&
    pads.every((pad) => Number.isInteger(pad) && pad >= 0 && pad <= LARGEST);
  if (sensible) return [top, left, bottom, right];
  throw new Refusal(`has pads of [${pads.slice(0, 8).join(", ")}]`);
}

/** Padding with which the window takes ceil(extent / stride) steps, the odd cell on one side. */
function samePadding(
  [, , height, width]: readonly number[],
  { kernel, stride, dilation }: Omit<Geometry, "padding">,
  oddAtEnd: boolean,
): Padding {
  const around = (extent: number, axis: 0 | 1): Pair => {
    const steps = Math.ceil(extent / stride[axis]);
    const covered = (steps - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1;
    const total = Math.max(0, covered - extent);
    if (total > LARGEST) throw new Refusal(`needs ${total} cells of padding`);
    const small = Math.floor(total / 2);
    return oddAtEnd ? [small, total - small] : [total - small, small];
  };
  const [top, bottom] = around(height, 0), [left, right] = around(width, 1);
  return [top, left, bottom, right];
}

function geometryOf(node: OnnxNode, shape: readonly number[], kernelShape: Pair): Geometry {
  const { attributes } = node;
  const window = {
    kernel: kernelShape,
    stride: pairOf(attributes.ints("strides", [1, 1]), "strides"),
    dilation: pairOf(attributes.ints("dilations", [1, 1]), "dilations"),
  };
  const automatic = attributes.string("auto_pad", "NOTSET");
  switch (automatic) {
    case "NOTSET":
      return { ...window, padding: explicitPadding(node) };
    case "VALID":
      return { ...window, padding: [0, 0, 0, 0] };
    case "SAME_UPPER":
    case "SAME_LOWER":
      return { ...window, padding: samePadding(shape, window, automatic === "SAME_UPPER") };
    default:
      throw new Refusal("has an unknown auto_pad");
  }
}

/** Conv. */
export function importConvolution(importer: Importer, node: OnnxNode): void {
  const weight = importer.requiredConstant(node, 1);
  const bias = importer.constant(node, 2);
  if (weight.array.shape.length === 3) return importChannelFilter(importer, node, weight, bias);
  const x = importer.picture(node);
  const { shape } = weight.array;
  if (shape.length !== 4) throw new Refusal(`has weights of ${shape.length} axes instead of 4`);
  const kernel = pairOf(node.attributes.ints("kernel_shape", shape.slice(2)), "a kernel");
  const groups = node.attributes.int("group", 1);
  if (!Number.isInteger(groups) || groups < 1) throw new Refusal(`has ${groups} groups`);
  const { stride, padding, dilation } = geometryOf(node, x.shape, kernel);
  importer.emit(node, {
    op: "convolution",
    inputs: [x.name],
    weight: importer.parameter(weight),
    ...(bias === undefined ? {} : { bias: importer.parameter(bias) }),
    kernel,
    stride,
    padding,
    dilation,
    groups,
  });
}

/**
 * Padding under which rounding down gives the extents that ceil_mode asks for: the last window may
 * hang over the end, but not start beyond it.
 */
function ceiledPadding([, , height, width]: readonly number[], geometry: Geometry): Padding {
  const { kernel, stride, padding: [top, left, bottom, right] } = geometry;
  const after = (extent: number, axis: 0 | 1, before: number, end: number): number => {
    const room = extent + before + end - kernel[axis];
    const steps = Math.ceil(room / stride[axis]);
    const last = steps * stride[axis] >= extent + before ? steps - 1 : steps;
    return end + Math.max(0, last * stride[axis] - room);
  };
  return [top, left, after(height, 0, top, bottom), after(width, 1, left, right)];
}

function sameExtents(shape: readonly number[], geometry: Geometry, padding: Padding): boolean {
  const { kernel, stride } = geometry;
  return ([0, 1] as const).every((axis) => {
    const extent = (pads: Padding) =>
      windowExtent(shape[2 + axis], kernel[axis], stride[axis], pads[axis], pads[axis + 2]);
    return extent(padding) === extent(geometry.padding);
  });
}

/** MaxPool and AveragePool. */
export function importPool(importer: Importer, node: OnnxNode): void {
  const x = importer.picture(node);
  const geometry = geometryOf(
    node,
    x.shape,
    pairOf(node.attributes.ints("kernel_shape"), "a kernel"),
  );
  const { kernel, stride, dilation } = geometry;
  if (dilation.some((step) => step !== 1)) throw new Refusal("is dilated");
  const countPadding = node.attributes.int("count_include_pad", 0) === 1;
  let { padding } = geometry;
  if (node.attributes.int("ceil_mode", 0) === 1) {
    const ceiled = ceiledPadding(x.shape, geometry);
    const beyond = !sameExtents(x.shape, geometry, ceiled);
    if (beyond && node.op === "AveragePool" && countPadding) {
      return importCountedPool(importer, node, x, geometry, ceiled);
    }
    if (beyond) padding = ceiled;
  }
  const window = { inputs: [x.name], kernel, stride, padding };
  if (node.op === "MaxPool") importer.emit(node, { op: "max_pool", ...window });
  else importer.emit(node, { op: "average_pool", ...window, countPadding });
}

/** Means that count padding, but not what the last windows reach beyond it: padding is a layer then. */
function importCountedPool(
  importer: Importer,
  node: OnnxNode,
  x: FeatureValue,
  { kernel, stride, padding }: Geometry,
  ceiled: Padding,
): void {
  const padded = padding.every((cells) => cells === 0)
    ? x
    : importer.emitPart(node, "/pad", { op: "pad", inputs: [x.name], padding });
  const [, , bottom, right] = ceiled.map((cells, side) => cells - padding[side]);
  importer.emit(node, {
    op: "average_pool",
    inputs: [padded.name],
    kernel,
    stride,
    padding: [0, 0, bottom, right],
    countPadding: false,
  });
}

/** GlobalAveragePool. */
export function importGlobalAveragePool(importer: Importer, node: OnnxNode): void {
  const x = importer.picture(node);
  importer.emit(node, { op: "global_average_pool", inputs: [x.name] });
}

/** GlobalMaxPool. */
export function importGlobalMaxPool(importer: Importer, node: OnnxNode): void {
  const { name, shape: [, , height, width] } = importer.picture(node);
  importer.emit(node, {
    op: "max_pool",
    inputs: [name],
    kernel: [height, width],
    stride: [1, 1],
    padding: [0, 0, 0, 0],
  });
}

/** A reduction over all of height and width; throws a Refusal for one over other axes. */
function wholeArea(importer: Importer, node: OnnxNode, asInputFrom: number): FeatureValue {
  const x = importer.viewed(node);
  const axes = reducedAxes(importer, node, x.shape.length, asInputFrom) ?? [];
  const area = x.view === undefined ? "2,3" : x.view === "channels_last" ? "1,2" : "";
  if (x.shape.length === 4 && axes.join() === area) return x;
  throw new Refusal(
    `reduces ${importer.described(x)} over axes ${shown(axes)}, not height and width`,
  );
}

/** One number a channel under the shape that a reduction of `x` gives it. */
function reducedTo(
  importer: Importer,
  node: OnnxNode,
  x: FeatureValue,
  pooled: FeatureValue,
): void {
  const { kind, name, shape: [batch, channels] } = pooled;
  if (node.attributes.int("keepdims", 1) !== 1) {
    importer.emit(node, { op: "flatten", inputs: [name] });
  } else if (x.view === undefined) {
    importer.alias(node, pooled);
  } else {
    importer.alias(node, { kind, name, shape: [batch, 1, 1, channels], view: "channels_last" });
  }
}

/** ReduceMean over height and width, with or without keeping them. */
export function importReduceMean(importer: Importer, node: OnnxNode): void {
  const x = wholeArea(importer, node, 18);
  const layer = { op: "global_average_pool", inputs: [x.name] } as const;
  const kept = node.attributes.int("keepdims", 1) === 1;
  reducedTo(importer, node, x, importer.emitPart(node, kept ? "" : "/pool", layer));
}

/** ReduceSum over height and width: their mean, times how many there are. */
export function importReduceSum(importer: Importer, node: OnnxNode): void {
  const x = wholeArea(importer, node, 13);
  const [, ...area] = importer.shapeOf(x.name);
  const mean = importer.emitPart(node, "/mean", { op: "global_average_pool", inputs: [x.name] });
  const scale = Float64Array.of(elementCount(area)), offset = Float64Array.of(0);
  reducedTo(importer, node, x, emitAffine(importer, node, mean, { scale, offset, alone: false }));
}
