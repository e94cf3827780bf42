/** Import of activations, products, and what looks at all channels. */

import type { ActivationKind } from "../../graph/graph.ts";
import { emptyArray, Refusal, shown } from "./array.ts";
import type { ConstantValue, FeatureValue, Importer } from "./importer.ts";
import type { OnnxNode } from "./reader.ts";

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
  const x = importer.feature(node);
  const { kind, alpha, beta } = FORMS.get(node.op)!;
  importer.emit(node, {
    op: "activation",
    inputs: [x.name],
    kind,
    ...(alpha === undefined ? {} : { alpha: node.attributes.float("alpha", alpha) }),
    ...(beta === undefined ? {} : { beta: node.attributes.float("beta", beta) }),
  });
}

/** HardSwish, which has no parameters. */
export function importHardSwish(importer: Importer, node: OnnxNode): void {
  const inputs = [importer.feature(node).name];
  importer.emit(node, { op: "activation", inputs, kind: "hard_swish" });
}

/** Gelu. */
export function importGelu(importer: Importer, node: OnnxNode): void {
  const approximate = node.attributes.string("approximate", "none");
  if (approximate !== "none" && approximate !== "tanh") {
    throw new Refusal("approximates in an unknown way");
  }
  const kind = approximate === "tanh" ? "gelu_tanh" : "gelu";
  importer.emit(node, { op: "activation", inputs: [importer.feature(node).name], kind });
}

/** Clip to constant bounds, either of which may be left out. */
export function importClip(importer: Importer, node: OnnxNode): void {
  const x = importer.feature(node);
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
  importer.emit(node, {
    op: "activation",
    inputs: [x.name],
    kind: "clip",
    ...(alpha === undefined ? {} : { alpha }),
    ...(beta === undefined ? {} : { beta }),
  });
}

/** x times its own sigmoid, or hard sigmoid, is one activation. */
function importSelfGated(importer: Importer, node: OnnxNode): boolean {
  for (const [x, share] of [[0, 1], [1, 0]]) {
    const value = importer.feature(node, x), gate = importer.feature(node, share);
    const writer = importer.writer(gate.name);
    if (writer?.op !== "activation" || writer.inputs[0] !== value.name) continue;
    if (importer.uses(node.inputs[share]) !== 1 || node.inputs[share] !== gate.name) continue;
    if (writer.kind !== "sigmoid" && writer.kind !== "hard_sigmoid") continue;
    importer.replace({ ...writer, kind: writer.kind === "sigmoid" ? "silu" : "hard_swish" });
    importer.alias(node, gate);
    return true;
  }
  return false;
}

/** Mul of two values that the model computes. */
export function importMul(importer: Importer, node: OnnxNode): void {
  const [a, b] = [importer.feature(node, 0), importer.feature(node, 1)];
  const features = ({ shape }: FeatureValue) => shape.length === 2 || shape.length === 4;
  if (a.shape.length !== b.shape.length || !features(a)) {
    throw new Refusal(`multiplies ${importer.described(a)} and ${importer.described(b)}`);
  }
  if (importSelfGated(importer, node)) return;
  importer.emit(node, { op: "multiply", inputs: [a.name, b.name] });
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

/** LayerNormalization of features, over all of them. */
export function importLayerNorm(importer: Importer, node: OnnxNode): void {
  const x = importer.feature(node);
  const axis = node.attributes.int("axis", -1);
  if (x.shape.length !== 2 || (axis !== -1 && axis !== 1)) {
    throw new Refusal(`normalises ${importer.described(x)} from axis ${axis} on`);
  }
  const given = importer.constant(node, 2);
  const offset = given ?? {
    kind: "constant" as const,
    name: `${node.name}.offset`,
    array: emptyArray("f32", [x.shape[1]]),
  };
  importer.emit(node, {
    op: "layer_norm",
    inputs: [x.name],
    scale: importer.parameter(importer.requiredConstant(node, 1)),
    offset: importer.parameter(offset),
    epsilon: node.attributes.float("epsilon", 1e-5),
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
