/** Import of activations, sums, normalisation and of what does nothing at inference. */

import { Refusal, shown } from "./array.ts";
import { shortest } from "./attributes.ts";
import type { FeatureValue, Importer } from "./importer.ts";
import { addConstant } from "./import_linear.ts";
import type { OnnxNode } from "./reader.ts";

const FLOAT = 1;

/** Relu. */
export function importRelu(importer: Importer, node: OnnxNode): void {
  importer.emit(node, { op: "relu", inputs: [importer.feature(node).name] });
}

function requireEqual(importer: Importer, a: FeatureValue, b: FeatureValue): void {
  const equal = a.shape.length === b.shape.length &&
    a.shape.every((e, axis) => e === b.shape[axis]);
  if (!equal) throw new Refusal(`adds ${importer.described(a)} and ${importer.described(b)}`);
}

/** Add of two values of one shape, or of a bias. */
export function importAdd(importer: Importer, node: OnnxNode): void {
  const [a, b] = [importer.input(node, 0), importer.input(node, 1)];
  if (a?.kind === "feature" && b?.kind === "constant") return addConstant(importer, node, a, b);
  if (a?.kind === "constant" && b?.kind === "feature") return addConstant(importer, node, b, a);
  const [left, right] = [importer.feature(node, 0), importer.feature(node, 1)];
  requireEqual(importer, left, right);
  importer.emit(node, { op: "add", inputs: [left.name, right.name] });
}

/** Sum of any number of values of one shape. */
export function importSum(importer: Importer, node: OnnxNode): void {
  const [first, ...others] = node.inputs.map((_, index) => importer.feature(node, index));
  let sum = first;
  others.forEach((other, index) => {
    requireEqual(importer, sum, other);
    const suffix = index === others.length - 1 ? "" : `/${index + 1}`;
    sum = importer.emitPart(node, suffix, { op: "add", inputs: [sum.name, other.name] });
  });
  importer.alias(node, sum);
}

/**
 * BatchNormalization in inference mode. ONNX's momentum weights the old statistic, the graph's, as
 * PyTorch's, the new one.
 */
export function importBatchNorm(importer: Importer, node: OnnxNode): void {
  const x = importer.feature(node);
  const { attributes } = node;
  if (attributes.int("training_mode", 0) !== 0) {
    throw new Refusal("normalises with the batch's own statistics (training_mode)");
  }
  const [scale, offset, mean, variance] = [1, 2, 3, 4].map((index) =>
    importer.requiredConstant(node, index)
  );
  importer.emit(node, {
    op: "batch_norm",
    inputs: [x.name],
    scale: importer.parameter(scale),
    offset: importer.parameter(offset),
    mean: importer.parameter(mean),
    variance: importer.parameter(variance),
    epsilon: attributes.float("epsilon", 1e-5),
    momentum: shortest(1 - attributes.float("momentum", 0.9)),
  });
}

/** Identity. */
export function importIdentity(importer: Importer, node: OnnxNode): void {
  importer.alias(node, importer.feature(node));
}

/** Cast to the type that values have already. */
export function importCast(importer: Importer, node: OnnxNode): void {
  if (node.attributes.int("to") !== FLOAT) {
    throw new Refusal(`casts to element type ${node.attributes.int("to")}`);
  }
  importer.alias(node, importer.feature(node));
}

/** Dropout, which does nothing at inference. */
export function importDropout(importer: Importer, node: OnnxNode): void {
  const training = importer.opset < 12 ? undefined : importer.constant(node, 2);
  if (training !== undefined && training.array.data[0] !== 0) {
    throw new Refusal("drops values (training_mode)");
  }
  importer.alias(node, importer.feature(node));
}

/**
 * Softmax or LogSoftmax over the classes at the very end: left out, since the graph's answer is
 * logits. Elsewhere, a softmax over channels.
 */
export function importSoftmax(importer: Importer, node: OnnxNode): void {
  const x = importer.feature(node);
  const axis = node.attributes.int("axis", importer.opset < 13 ? 1 : -1);
  const rank = x.shape.length;
  const last = node.outputs[0] === importer.model.output.name &&
    importer.uses(node.outputs[0]) === 1;
  const classes = rank === 2 && (axis === 1 || axis === -1);
  if (last && classes) {
    importer.removedSoftmax = { node: node.name, op: node.op, output: node.outputs[0] };
    importer.alias(node, x);
    return;
  }
  // Before operator set 13 all axes from this one on were taken together.
  const channels = classes || (rank === 4 && (axis === 1 || axis === -3) && importer.opset >= 13);
  if (node.op !== "Softmax" || !channels) {
    throw new Refusal(`is not over channels or classes (it reads ${shown(x.shape.slice(1))})`);
  }
  importer.emit(node, { op: "softmax", inputs: [x.name] });
}
