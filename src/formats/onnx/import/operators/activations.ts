/** Import of activations and of what looks at all channels. */

import type { ActivationKind } from "../../../../graph/graph.ts";
import { Refusal, shown } from "../../read/array.ts";
import { axisOf } from "../../fold/layout.ts";
import { emitLayerNorm } from "../moments.ts";
import type { Importer } from "../importer.ts";
import type { ConstantValue, FeatureValue } from "../features.ts";
import type { OnnxNode } from "../../read/reader.ts";

interface Form {
  readonly kind: ActivationKind;
  /** What alpha and beta are when the node leaves them out; undefined where there are none. */
  readonly alpha?: number;
  readonly beta?: number;
}

const FORMS: ReadonlyMap<string, Form> = new Map([
  ["Elu", { kind: "elu", alpha: 1 }],
  ["HardSigmoid", { kind: "hard_sigmoid", alpha: 0.2, beta: 0.5 }],
  ["LeakyRelu", { kind: "leaky_relu", alpha: 0.01 }],
  ["Sigmoid", { kind: "sigmoid" }],
  ["Tanh", { kind: "tanh" }],
]);

/** Elu, HardSigmoid, LeakyRelu, Sigmoid and Tanh. */
export function importActivation(importer: Importer, node: OnnxNode): void {
  const x = importer.viewed(node);
  const { kind, alpha, beta } = FORMS.get(node.op)!;
  importer.emitLike(node, x, {
    op: "activation",
    inputs: [x.name],
    kind,
    ...(alpha === undefined ? {} : { alpha: node.attributes.float("alpha", alpha) }),
    ...(beta === undefined ? {} : { beta: node.attributes.float("beta", beta) }),
  });
}

/** HardSwish, which has no parameters. */
export function importHardSwish(importer: Importer, node: OnnxNode): void {
  const x = importer.viewed(node);
  importer.emitLike(node, x, { op: "activation", inputs: [x.name], kind: "hard_swish" });
}

/** Gelu. */
export function importGelu(importer: Importer, node: OnnxNode): void {
  const approximate = node.attributes.string("approximate", "none");
  if (approximate !== "none" && approximate !== "tanh") {
    throw new Refusal("approximates in an unknown way");
  }
  const kind = approximate === "tanh" ? "gelu_tanh" : "gelu";
  const x = importer.viewed(node);
  importer.emitLike(node, x, { op: "activation", inputs: [x.name], kind });
}

/** Bounds of a Clip, either of which may be left out. */
export function clipBounds(
  importer: Importer,
  node: OnnxNode,
): { readonly alpha?: number; readonly beta?: number } {
  const older = importer.opset < 11;
  const bound = (name: string, index: number): number | undefined => {
    if (older) return node.attributes.has(name) ? node.attributes.float(name) : undefined;
    const array = importer.constant(node, index)?.array;
    if (array !== undefined && array.data.length !== 1) {
      throw new Refusal(`has bounds of the shape ${shown(array.shape)}`);
    }
    return array?.data[0];
  };
  const alpha = bound("min", 1), beta = bound("max", 2);
  const none = (value: number | undefined, infinity: number) =>
    value === undefined || value === infinity;
  return {
    ...(none(alpha, -Infinity) ? {} : { alpha }),
    ...(none(beta, Infinity) ? {} : { beta }),
  };
}

/** Clip to constant bounds. */
export function importClip(importer: Importer, node: OnnxNode): void {
  const x = importer.viewed(node);
  const bounds = clipBounds(importer, node);
  importer.emitLike(node, x, { op: "activation", inputs: [x.name], kind: "clip", ...bounds });
}

/** Max or Min of a value and one number. */
export function importBound(importer: Importer, node: OnnxNode): void {
  const values = node.inputs.map((_, index) => importer.input(node, index));
  const at = values.findIndex((value) => value?.kind === "constant");
  const bound = values[at];
  const number = bound?.kind === "constant" && bound.array.data.length === 1;
  if (values.length !== 2 || !number) {
    throw new Refusal("compares values that are not one and a single constant number");
  }
  const x = importer.viewed(node, 1 - at);
  const [value] = bound.array.data;
  const side = node.op === "Max" ? { alpha: value } : { beta: value };
  if (bound.array.shape.length > x.shape.length) {
    throw new Refusal(`compares ${importer.described(x)} and ${shown(bound.array.shape)}`);
  }
  if (node.op === "Max" && value === 0) {
    importer.emitLike(node, x, { op: "relu", inputs: [x.name] });
  } else importer.emitLike(node, x, { op: "activation", inputs: [x.name], kind: "clip", ...side });
}

/** The slopes of PRelu as one a channel. */
function slopesOf({ array: { shape, data } }: ConstantValue, x: FeatureValue): Float32Array {
  const [, channels, ...area] = x.shape;
  const perChannel = data.length === channels &&
    (area.length === 0 || (shape.at(-3) === channels && shape.length >= 3));
  if (data.length !== 1 && !perChannel) {
    throw new Refusal(`has slopes of the shape ${shown(shape)} for ${channels} channels`);
  }
  return Float32Array.from({ length: channels }, (_, c) => data[data.length === 1 ? 0 : c]);
}

/** PRelu with one slope, or one for each channel. */
export function importPrelu(importer: Importer, node: OnnxNode): void {
  const x = importer.feature(node);
  const slope = importer.requiredConstant(node, 1);
  const data = slopesOf(slope, x);
  importer.emit(node, {
    op: "prelu",
    inputs: [x.name],
    slope: importer.parameter(
      slope,
      `slopes ${data.length}`,
      () => ({ shape: [data.length], data }),
    ),
  });
}

/** LayerNormalization over channels, of features or of pictures laid out with channels last. */
export function importLayerNorm(importer: Importer, node: OnnxNode): void {
  const x = importer.viewed(node);
  const last = x.shape.length - 1;
  const axis = axisOf(node.attributes.int("axis", -1), x.shape.length);
  const channelsLast = x.view === "channels_last" || (x.view === undefined && last === 1);
  if (axis !== last || !channelsLast) {
    throw new Refusal(`normalises ${importer.described(x)} from axis ${axis} on`);
  }
  const offset = importer.constant(node, 2);
  emitLayerNorm(importer, node, x, node.attributes.float("epsilon", 1e-5), {
    scale: importer.requiredConstant(node, 1),
    ...(offset === undefined ? {} : { offset }),
  });
}

/** LRN. */
export function importResponseNorm(importer: Importer, node: OnnxNode): void {
  const { attributes } = node;
  importer.emit(node, {
    op: "local_response_norm",
    inputs: [importer.picture(node).name],
    size: attributes.int("size"),
    alpha: attributes.float("alpha", 1e-4),
    beta: attributes.float("beta", 0.75),
    bias: attributes.float("bias", 1),
  });
}
