/**
 * Products and sums with constants, one number or one for every channel: folded into the layer that
 * makes the value where nothing else reads it, else a depthwise convolution of one cell. Both keep
 * channels prunable.
 */

import type { Node } from "../../../graph/graph.ts";
import type { Tensor } from "../../../tensor.ts";
import { isFloat, Refusal, shown } from "../read/array.ts";
import type { Importer } from "./importer.ts";
import type { ConstantValue, FeatureValue } from "./features.ts";
import type { Affine } from "./pending.ts";
import type { OnnxNode } from "../read/reader.ts";

const ONE = Float64Array.of(1), ZERO = Float64Array.of(0);

/** a and b element by element, where either may be one number for all. */
function combined(
  a: Float64Array,
  b: Float64Array,
  compute: (a: number, b: number) => number,
): Float64Array {
  const length = Math.max(a.length, b.length);
  return Float64Array.from(
    { length },
    (_, c) => compute(a[a.length === 1 ? 0 : c], b[b.length === 1 ? 0 : c]),
  );
}

const isAll = (values: Float64Array, value: number): boolean => values.every((v) => v === value);

/** Channels of a value in the graph. */
function channelsOf(importer: Importer, { name }: FeatureValue): number {
  return importer.shapeOf(name)[0];
}

/** The axis of the file's shape along which channels lie, if one is. */
function channelAxis(channels: number, { shape, view }: FeatureValue): number | undefined {
  if (view === "channels_last") return shape.length - 1;
  const elsewhere = view === "arranged" || view === "flat_last";
  return !elsewhere && shape[1] === channels ? 1 : undefined;
}

/** A constant as one number, or one for every channel of a value that it is broadcast to. */
function perChannel(importer: Importer, value: FeatureValue, constant: ConstantValue) {
  const { shape, data, dtype } = constant.array;
  if (value.view === "expanded") throw new Refusal("combines a repeated number with a constant");
  const channels = channelsOf(importer, value);
  const axis = channelAxis(channels, value);
  const lead = value.shape.length - shape.length;
  const fits = isFloat(dtype) && lead >= 0 && data.length > 0 &&
    shape.every((extent, each) => extent === 1 || (each + lead === axis && extent === channels));
  if (fits) {
    importer.spendCopies(2 * data.length);
    return Float64Array.from(data);
  }
  throw new Refusal(
    `combines ${importer.described(value)} with a constant of the shape ${shown(shape)}`,
  );
}

const identity = (alone: boolean): Affine => ({ scale: ONE, offset: ZERO, alone });

/** `before`, then a node that adds or multiplies by `constant`, on its left if `reversed`. */
function then(
  { op }: OnnxNode,
  before: Affine,
  constant: ConstantValue,
  values: Float64Array,
  reversed: boolean,
): Affine | undefined {
  const { scale, offset, alone } = before;
  const times = (factor: Float64Array, by?: ConstantValue): Affine => ({
    scale: combined(scale, factor, (a, b) => a * b),
    offset: combined(offset, factor, (a, b) => a * b),
    ...(by !== undefined && isAll(scale, 1) ? { scaleFrom: by } : {}),
    ...(before.offsetFrom !== undefined && isAll(factor, 1)
      ? { offsetFrom: before.offsetFrom }
      : {}),
    alone,
  });
  const plus = (base: Affine, sign: number): Affine => ({
    ...base,
    offset: combined(base.offset, values, (a, b) => a + sign * b),
    ...(sign === 1 && isAll(base.offset, 0) ? { offsetFrom: constant } : { offsetFrom: undefined }),
  });
  if (op === "Mul") return times(values, constant);
  if (op === "Add") return plus(before, 1);
  if (op === "Sub") return reversed ? plus(times(Float64Array.of(-1)), 1) : plus(before, -1);
  if (op === "Div" && !reversed) return times(values.map((value) => 1 / value));
  return undefined;
}

/**
 * What a node makes of a value of the graph, where that is a product or sum with constants; throws a
 * Refusal for constants that differ within a channel.
 */
export function affineOf(
  importer: Importer,
  node: OnnxNode,
): { base: FeatureValue; affine: Affine } | undefined {
  const values = [importer.input(node, 0), importer.input(node, 1)];
  const at = values.findIndex((value) => value?.kind === "feature" || value?.kind === "pending");
  const [value, other] = [values[at], values[1 - at]];
  if (value?.kind !== "feature" && value?.kind !== "pending") return undefined;
  if (value.kind === "pending" && (value.form === "moment" || value.affine === undefined)) {
    return undefined;
  }
  const base = value.kind === "pending" ? value.base : value;
  const once = importer.readOnce(node.inputs[at]);
  const before = value.kind === "pending"
    ? { ...value.affine!, alone: value.affine!.alone && once }
    : identity(once);
  if (node.op === "Neg") {
    const negated = before.scale.map((scale) => -scale), offset = before.offset.map((o) => -o);
    return { base, affine: { scale: negated, offset, alone: before.alone } };
  }
  if (other?.kind !== "constant") return undefined;
  const affine = then(node, before, other, perChannel(importer, base, other), at === 1);
  return affine && { base, affine };
}

/** A vector of one number a channel, as the constant it comes from or under a name of its own. */
function vector(
  importer: Importer,
  name: string,
  values: Float64Array,
  from: ConstantValue | undefined,
  channels: number,
): string {
  const all = Float32Array.from(
    { length: channels },
    (_, c) => values[values.length === 1 ? 0 : c],
  );
  const tensor = () => ({ shape: [channels], data: all });
  if (from === undefined) {
    return importer.parameter(
      { kind: "constant", name, array: { dtype: "f32", ...tensor() } },
      `of ${name}`,
    );
  }
  const plain = from.array.shape.length === 1 && from.array.data.length === channels;
  return plain ? importer.parameter(from) : importer.parameter(from, `vector ${channels}`, tensor);
}

/** A parameter of a layer with every slice along axis 0 scaled, and then moved. */
function changed(
  importer: Importer,
  parameter: string,
  { scale, offset }: Pick<Affine, "scale" | "offset">,
): string {
  const { shape, data } = importer.parameters.get(parameter)!;
  const inner = data.length / shape[0];
  const at = (values: Float64Array, i: number) =>
    values[values.length === 1 ? 0 : Math.floor(i / inner)];
  const tensor: Tensor = {
    shape,
    data: data.map((value, i) => value * at(scale, i) + at(offset, i)),
  };
  return importer.rewritten(parameter, tensor);
}

/** The layer with its answer scaled and moved, or undefined for layers that cannot do that. */
function absorbed(
  importer: Importer,
  node: OnnxNode,
  layer: Node,
  affine: Affine,
  channels: number,
): Node | undefined {
  const { scale, offset, scaleFrom, offsetFrom } = affine;
  const scaled = !isAll(scale, 1), moved = offset.length > 1 || offset[0] !== 0;
  const scaling = { scale, offset: ZERO };
  switch (layer.op) {
    case "convolution":
    case "linear": {
      const weight = scaled ? changed(importer, layer.weight, scaling) : layer.weight;
      if (layer.bias !== undefined) {
        return { ...layer, weight, bias: changed(importer, layer.bias, affine) };
      }
      if (!moved) return { ...layer, weight };
      const bias = vector(importer, `${node.name}.bias`, offset, offsetFrom, channels);
      return { ...layer, weight, bias };
    }
    case "batch_norm":
    case "group_norm":
    case "layer_norm": {
      const plain = (name: string, value: number) =>
        importer.parameters.get(name)!.data.every((each) => each === value);
      const fresh = scaleFrom !== undefined && plain(layer.scale, 1);
      return {
        ...layer,
        scale: fresh
          ? vector(importer, "", scale, scaleFrom, channels)
          : scaled
          ? changed(importer, layer.scale, scaling)
          : layer.scale,
        offset: offsetFrom !== undefined && plain(layer.offset, 0)
          ? vector(importer, "", offset, offsetFrom, channels)
          : changed(importer, layer.offset, affine),
      };
    }
    default:
      return undefined;
  }
}

/** scale * base + offset as a layer of its own: a depthwise convolution of one cell. */
function depthwise(
  importer: Importer,
  node: OnnxNode,
  base: FeatureValue,
  { scale, offset, scaleFrom }: Affine,
  channels: number,
): FeatureValue {
  const weights = Float32Array.from(
    { length: channels },
    (_, c) => scale[scale.length === 1 ? 0 : c],
  );
  const name = scaleFrom?.name ?? `${node.name}.weight`;
  const weight = importer.parameter(
    { kind: "constant", name, array: { dtype: "f32", shape: [channels, 1, 1, 1], data: weights } },
    `depthwise of ${node.name}`,
  );
  const bias = offset.length === 1 && offset[0] === 0
    ? undefined
    : vector(importer, `${node.name}.bias`, offset, undefined, channels);
  return importer.emitLike(node, base, {
    op: "convolution",
    inputs: [base.name],
    weight,
    ...(bias === undefined ? {} : { bias }),
    kernel: [1, 1],
    stride: [1, 1],
    padding: [0, 0, 0, 0],
    dilation: [1, 1],
    groups: channels,
  });
}

/** The value of scale * base + offset, which a node computes. */
export function emitAffine(
  importer: Importer,
  node: OnnxNode,
  base: FeatureValue,
  affine: Affine,
): FeatureValue {
  const { scale, offset } = affine;
  // Vectors are weights, even where they change nothing yet.
  const nothing = scale.length === 1 && scale[0] === 1 && offset.length === 1 && offset[0] === 0;
  if (nothing) return base;
  const channels = channelsOf(importer, base);
  const writer = affine.alone ? importer.writer(base.name) : undefined;
  const layer = writer && absorbed(importer, node, writer, affine, channels);
  if (layer !== undefined) {
    importer.replace(layer, node);
    return base;
  }
  if (importer.shapeOf(base.name).length === 3) {
    return depthwise(importer, node, base, affine, channels);
  }
  throw new Refusal(
    `scales or moves ${importer.described(base)}, which no layer with weights makes for it alone`,
  );
}
