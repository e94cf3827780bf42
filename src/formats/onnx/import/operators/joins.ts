/** Import of what joins and splits channels: Concat and Split. */

import { axisOf } from "../../fold/layout.ts";
import { Refusal, shown } from "../../read/array.ts";
import type { OnnxNode } from "../../read/reader.ts";
import { emitAffine } from "../affine.ts";
import type { FeatureValue } from "../features.ts";
import type { Importer } from "../importer.ts";
import type { Affine } from "../pending.ts";

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

/** Channels of an input, or undefined where it is no constant of zeros beside pictures of this shape. */
function zerosOf(
  importer: Importer,
  node: OnnxNode,
  index: number,
  [batch, , ...area]: readonly number[],
): number | undefined {
  const value = importer.input(node, index);
  if (value?.kind !== "constant") return undefined;
  const { shape: [images, channels, ...own], data } = value.array;
  const fits = images === batch && own.join() === area.join() && data.every((each) => each === 0);
  if (fits) return channels;
  throw new Refusal(`joins constants of the shape ${shown(value.array.shape)} that are not zero`);
}

/** Pictures and zeros side by side, as some exporters write a shortcut with more channels behind it. */
function importWithZeros(importer: Importer, node: OnnxNode): void {
  const values = node.inputs.map((_, index) =>
    importer.input(node, index)?.kind === "constant" ? undefined : importer.feature(node, index)
  );
  const pictures = values.filter((value) => value !== undefined);
  const [first] = pictures;
  const axis = axisOf(node.attributes.int("axis"), first.shape.length);
  if (axis !== 1) throw new Refusal(`joins constants along axis ${axis}, not channels`);
  let taken = 0;
  const from = values.flatMap((value, index) => {
    const zeros = value === undefined ? zerosOf(importer, node, index, first.shape)! : 0;
    if (zeros > 2 ** 16) throw new Refusal(`joins ${zeros} channels of zeros`);
    const count = value?.shape[1] ?? 0;
    const channels = Array.from({ length: count }, (_, c) => taken + c);
    taken += count;
    return [...channels, ...new Array<number>(zeros).fill(-1)];
  });
  const joined = pictures.length === 1 ? first : importer.emitPart(node, "/joined", {
    op: "concat",
    inputs: pictures.map(({ name }) => name),
  });
  importer.emit(node, { op: "channel_map", inputs: [joined.name], from });
}

/** Concat of channels. */
export function importConcat(importer: Importer, node: OnnxNode): void {
  const kinds = node.inputs.map((_, index) => importer.input(node, index)?.kind);
  if (
    kinds.includes("constant") && kinds.some((kind) => kind === "feature" || kind === "pending")
  ) {
    return importWithZeros(importer, node);
  }
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
