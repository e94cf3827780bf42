/** Import of what moves pixels and channels: Pad, Slice, Gather, Transpose. */

import { PAD_FILLS, type Padding, type PadNode, type Pair } from "../../../../graph/graph.ts";
import { quoted } from "../../../bytes.ts";
import { listed, Refusal, shown } from "../../read/array.ts";
import { axisOf, broadcastShape, sliceRange } from "../../fold/layout.ts";
import {
  emitSpaceToDepth,
  LARGEST_BLOCK,
  rearrangeGather,
  rearrangeSlice,
  rearrangeTranspose,
} from "../rearrange.ts";
import { reshape } from "../reshape.ts";
import type { Importer } from "../importer.ts";
import type { FeatureValue } from "../features.ts";
import type { OnnxNode } from "../../read/reader.ts";

const countUp = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

/** What a Pad repeats, or nothing where it pads with zeros. */
function fillOf(importer: Importer, node: OnnxNode): PadNode["fill"] {
  const { attributes } = node;
  const mode = attributes.string("mode", "constant");
  const fill = PAD_FILLS.find((each) => each === mode);
  if (fill !== undefined) return fill;
  if (mode !== "constant") throw new Refusal(`pads in the mode ${quoted(mode)}`);
  const value = importer.opset < 11
    ? attributes.float("value", 0)
    : importer.constant(node, 2)?.array.data[0];
  if (value === undefined || value === 0) return undefined;
  throw new Refusal(`pads with ${value} instead of zeros`);
}

/** Cells before and after every axis, negative where they are cut off. */
function padsOf(importer: Importer, node: OnnxNode, rank: number): [number, number][] {
  const { attributes } = node;
  const older = importer.opset < 11;
  const pads = older ? attributes.ints("pads") : listed(importer.requiredConstant(node, 1).array);
  const named = importer.opset < 18 ? undefined : importer.constant(node, 3)?.array;
  const axes = (named ? listed(named) : countUp(rank)).map((axis) => axisOf(axis, rank));
  if (pads.length !== 2 * axes.length || new Set(axes).size !== axes.length) {
    throw new Refusal(`has ${pads.length} pads for ${axes.length} axes`);
  }
  const result = countUp(rank).map((): [number, number] => [0, 0]);
  axes.forEach((axis, i) => result[axis] = [pads[i], pads[i + axes.length]]);
  if (result[0][0] !== 0 || result[0][1] !== 0) throw new Refusal("pads the batch");
  return result;
}

/** Layers of one node in a row; the last of them writes the node's output. */
class Chain {
  readonly #importer: Importer;
  readonly #node: OnnxNode;
  readonly #steps: {
    suffix: string;
    emit: (value: FeatureValue, suffix: string) => FeatureValue;
  }[] = [];

  constructor(importer: Importer, node: OnnxNode) {
    this.#importer = importer;
    this.#node = node;
  }

  channels(from: readonly number[]): void {
    this.#add(
      "/channels",
      (value, suffix) =>
        this.#importer.emitPart(this.#node, suffix, {
          op: "channel_map",
          inputs: [value.name],
          from,
        }),
    );
  }

  slice(starts: Pair, ends: Pair, strides: Pair, [height, width]: readonly number[]): void {
    const whole = starts[0] === 0 && starts[1] === 0 && ends[0] === height && ends[1] === width &&
      strides[0] === 1 && strides[1] === 1;
    if (whole) return;
    this.#add("/slice", (value, suffix) =>
      this.#importer.emitPart(this.#node, suffix, {
        op: "slice",
        inputs: [value.name],
        starts,
        ends,
        strides,
      }));
  }

  pad(padding: Padding, fill: PadNode["fill"]): void {
    if (padding.every((extent) => extent === 0)) return;
    // Pads may be of any type, and a slice may take away again what no picture could hold.
    if (padding.some((extent) => !Number.isInteger(extent) || extent > 2 ** 16)) {
      throw new Refusal(`has pads of [${padding.join(", ")}]`);
    }
    this.#add("/pad", (value, suffix) =>
      this.#importer.emitPart(this.#node, suffix, {
        op: "pad",
        inputs: [value.name],
        padding,
        ...(fill === undefined ? {} : { fill }),
      }));
  }

  finish(value: FeatureValue): void {
    this.#steps.forEach(({ suffix, emit }, index) => {
      value = emit(value, index === this.#steps.length - 1 ? "" : suffix);
    });
    this.#importer.alias(this.#node, value);
  }

  #add(suffix: string, emit: (value: FeatureValue, suffix: string) => FeatureValue): void {
    this.#steps.push({ suffix, emit });
  }
}

/** Channels -before.. of a value, -1 where it has none. */
function shiftedChannels(channels: number, before: number, after: number): number[] {
  const count = channels + before + after;
  if (!(count >= 1 && count <= 2 ** 16)) throw new Refusal(`makes ${count} channels`);
  return countUp(count).map((c) => c - before >= 0 && c - before < channels ? c - before : -1);
}

/** Pad: of channels a channel map, of height and width padding or, negative, a slice. */
export function importPad(importer: Importer, node: OnnxNode): void {
  const x = importer.feature(node);
  const [, channels, ...area] = x.shape;
  const fill = fillOf(importer, node);
  const [, [before, after], ...sides] = padsOf(importer, node, x.shape.length);
  const beyond = before !== 0 || after !== 0 || sides.flat().some((cells) => cells < 0);
  if (fill !== undefined && beyond) {
    throw new Refusal("repeats cells of more than height and width");
  }
  const chain = new Chain(importer, node);
  if (before !== 0 || after !== 0) chain.channels(shiftedChannels(channels, before, after));
  if (area.length === 2) {
    const [[top, bottom], [left, right]] = sides;
    const cut = (extent: number) => Math.max(0, -extent);
    const grown = (extent: number) => Math.max(0, extent);
    const ends: Pair = [area[0] - cut(bottom), area[1] - cut(right)];
    chain.slice([cut(top), cut(left)], ends, [1, 1], area);
    chain.pad([grown(top), grown(left), grown(bottom), grown(right)], fill);
  } else if (area.length !== 0) {
    throw new Refusal(`pads ${importer.described(x)}`);
  }
  chain.finish(x);
}

interface SliceArguments {
  readonly starts: readonly number[];
  readonly ends: readonly number[];
  readonly axes: readonly number[];
  readonly steps: readonly number[];
}

function sliceArguments(importer: Importer, node: OnnxNode): SliceArguments {
  const { attributes } = node;
  if (importer.opset < 10) {
    const starts = attributes.ints("starts");
    const axes = attributes.ints("axes", countUp(starts.length));
    return { starts, ends: attributes.ints("ends"), axes, steps: starts.map(() => 1) };
  }
  const list = (index: number) => {
    const array = importer.constant(node, index)?.array;
    return array && listed(array);
  };
  const starts = listed(importer.requiredConstant(node, 1).array);
  const ends = listed(importer.requiredConstant(node, 2).array);
  return {
    starts,
    ends,
    axes: list(3) ?? countUp(starts.length),
    steps: list(4) ?? starts.map(() => 1),
  };
}

/** Slice of channels is a channel map, of height and width a slice. */
export function importSlice(importer: Importer, node: OnnxNode): void {
  const x = importer.viewed(node);
  const rank = x.shape.length;
  const { starts, ends, axes, steps } = sliceArguments(importer, node);
  const ranges = x.shape.map((extent) => ({ start: 0, count: extent, step: 1 }));
  const sliced = new Set<number>();
  axes.forEach((named, i) => {
    const axis = axisOf(named, rank);
    if (sliced.has(axis)) throw new Refusal(`slices axis ${axis} twice`);
    sliced.add(axis);
    ranges[axis] = sliceRange(x.shape[axis], starts[i], ends[i], steps[i]);
    if (!(ranges[axis].count > 0)) throw new Refusal("takes nothing");
  });
  if (x.view === "arranged" && rearrangeSlice(importer, node, x, ranges)) return;
  importer.feature(node);
  const [batch, channel, ...area] = ranges;
  if (batch.start !== 0 || batch.step !== 1 || batch.count !== x.shape[0]) {
    throw new Refusal("slices the batch");
  }
  const chain = new Chain(importer, node);
  if (channel.count !== x.shape[1] || channel.step !== 1) {
    chain.channels(countUp(channel.count).map((c) => channel.start + c * channel.step));
  }
  if (area.length === 2) {
    const [rows, columns] = area;
    if (rows.step < 0 || columns.step < 0) throw new Refusal("turns pictures round");
    const end = (range: typeof rows, extent: number) =>
      Math.min(extent, range.start + range.count * range.step);
    const { shape: [, , height, width] } = x;
    chain.slice(
      [rows.start, columns.start],
      [end(rows, height), end(columns, width)],
      // No picture is larger, so that longer steps take one row or column just the same.
      [Math.min(rows.step, 2 ** 16), Math.min(columns.step, 2 ** 16)],
      [height, width],
    );
  }
  chain.finish(x);
}

/**
 * Gather of channels by constant indices, of which a single one drops the axis; or, out of a vector
 * of all elements, of each in its place, as exporters write a strided view.
 */
export function importGather(importer: Importer, node: OnnxNode): void {
  const indices = importer.requiredConstant(node, 1).array;
  const whole = importer.viewed(node);
  const all = whole.view === "merged" && indices.data.length === whole.shape[0] &&
    indices.data.every((index, position) => index === position);
  if (all) return reshape(importer, node, indices.shape);
  const named = axisOf(node.attributes.int("axis", 0), whole.shape.length);
  const one = indices.shape.length === 0 && whole.view === "arranged";
  if (one && rearrangeGather(importer, node, whole, [named, indices.data[0]])) return;
  const x = importer.feature(node);
  const axis = axisOf(node.attributes.int("axis", 0), x.shape.length);
  if (axis !== 1 || indices.shape.length > 1 || indices.data.length > 2 ** 16) {
    throw new Refusal(`gathers ${shown(indices.shape)} along axis ${axis}, not channels`);
  }
  const from = Array.from(indices.data.map((index) => axisOf(index, x.shape[1])));
  const { kind, name } = importer.emit(node, { op: "channel_map", inputs: [x.name], from });
  if (indices.shape.length === 1) return;
  const [batch, , ...area] = x.shape;
  importer.alias(node, { kind, name, shape: [batch, ...area], view: "reshaped" });
}

/** DepthToSpace; in mode DCR, where blocks come before channels, behind a map of channels. */
export function importDepthToSpace(importer: Importer, node: OnnxNode): void {
  const x = importer.picture(node);
  const block = node.attributes.int("blocksize");
  const mode = node.attributes.string("mode", "DCR");
  const cells = block ** 2;
  const fits = Number.isInteger(block) && block >= 1 && x.shape[1] % cells === 0;
  if (!fits || (mode !== "DCR" && mode !== "CRD")) {
    throw new Refusal(`spreads ${x.shape[1]} channels over blocks of ${block} (${quoted(mode)})`);
  }
  const channels = x.shape[1] / cells;
  const turned = mode === "CRD" || cells === 1 || channels === 1 ? x : importer.emitPart(
    node,
    "/channels",
    {
      op: "channel_map",
      inputs: [x.name],
      from: countUp(x.shape[1]).map((c) => (c % cells) * channels + Math.floor(c / cells)),
    },
  );
  importer.emit(node, { op: "depth_to_space", inputs: [turned.name], block });
}

/** Expand of one number a channel to a picture, whose products and sums need no layer for it. */
export function importExpand(importer: Importer, node: OnnxNode): void {
  const x = importer.viewed(node);
  const shape = broadcastShape(x.shape, listed(importer.requiredConstant(node, 1).array));
  const same = shape.length === x.shape.length &&
    shape.every((extent, axis) => extent === x.shape[axis]);
  if (same) return importer.alias(node, x);
  const [batch, channels, ...area] = shape;
  const plain = x.view === undefined || x.view === "reshaped";
  const repeats = plain && x.shape.length === 4 && shape.length === 4 && batch === x.shape[0] &&
    channels === importer.shapeOf(x.name)[0] && channels === x.shape[1] && x.shape[2] === 1 &&
    x.shape[3] === 1 &&
    area.every((extent) => Number.isInteger(extent) && extent >= 1 && extent <= 2 ** 16);
  if (!repeats) throw new Refusal(`expands ${importer.described(x)} to ${shown(shape)}`);
  importer.alias(node, { ...x, shape, view: "expanded" });
}

/** SpaceToDepth, which puts the pixels of a block before the channels. */
export function importSpaceToDepth(importer: Importer, node: OnnxNode): void {
  const { name, shape: [, channels, height, width] } = importer.picture(node);
  const block = node.attributes.int("blocksize");
  const fits = Number.isInteger(block) && block >= 1 && block <= LARGEST_BLOCK &&
    height % block === 0 && width % block === 0 && channels * block ** 2 <= 2 ** 16;
  if (!fits) throw new Refusal(`gathers blocks of ${block} from ${shown([height, width])}`);
  const places = countUp(channels * block ** 2);
  importer.alias(node, emitSpaceToDepth(importer, node, name, block, places));
}

/** Transpose, which shows what it does only with what is behind it, unless it moves channels last. */
export function importTranspose(importer: Importer, node: OnnxNode): void {
  const x = importer.viewed(node);
  const axes = node.attributes.ints("perm", x.shape.map((_, axis) => x.shape.length - 1 - axis));
  const order = axes.join();
  const { kind, name, shape: [batch, a, b, c] } = x;
  if (x.view === undefined && x.shape.length === 4 && order === "0,2,3,1") {
    return importer.alias(node, { kind, name, shape: [batch, b, c, a], view: "channels_last" });
  }
  if (x.view === "channels_last" && order === "0,3,1,2") {
    return importer.alias(node, { kind, name, shape: [batch, c, a, b] });
  }
  const all = axes.length === x.shape.length;
  if (all && axes.every((axis, position) => axis === position)) return importer.alias(node, x);
  if (all && rearrangeTranspose(importer, node, x, axes)) return;
  throw new Refusal(`moves axes (${axes.slice(0, 8).join(", ")})`);
}
