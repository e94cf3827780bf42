/** Import of what gives values other shapes. */

import { elementCount } from "../../../tensor.ts";
import { integers, listed, Refusal } from "../read/array.ts";
import { axesOf, axisOf, reshapeTarget, squeezedShape, unsqueezedShape } from "../fold/layout.ts";
import { rearrangeReshape } from "./rearrange.ts";
import type { Importer } from "./importer.ts";
import type { FeatureValue } from "./features.ts";
import type { OnnxNode } from "../read/reader.ts";

/** Whether the elements of a value lie in the file as they do in the graph. */
function inOrder({ shape, view }: FeatureValue): boolean {
  if (view === "flat_last" || view === "arranged") return false;
  if (view !== "channels_last") return true;
  return elementCount(shape.slice(1, -1)) === 1 || shape.at(-1) === 1;
}

const sameExtents = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((extent, axis) => extent === b[axis]);

/** The elements of each image under another shape: as they are, or flattened. */
export function reshape(importer: Importer, node: OnnxNode, shape: readonly number[]): void {
  const x = importer.viewed(node);
  if (sameExtents(shape, x.shape)) return importer.alias(node, x);
  const graph = importer.shapeOf(x.name);
  const { kind, name } = x;
  if (inOrder(x) && shape.length === 1 && shape[0] === elementCount(x.shape)) {
    return importer.alias(node, { kind, name, shape, view: "merged" });
  }
  if (inOrder(x) && importer.isBatched(shape)) {
    const image = shape.slice(1);
    const ones = (extents: readonly number[]) => extents.filter((extent) => extent !== 1);
    if (sameExtents(image, graph)) return importer.alias(node, { kind, name, shape });
    if (image.length === 1 && image[0] === elementCount(graph)) {
      importer.emit(node, { op: "flatten", inputs: [x.name] });
      return;
    }
    if (sameExtents(ones(image), ones(graph))) {
      return importer.alias(node, { kind, name, shape, view: "reshaped" });
    }
    if (image.length === 2 && graph[0] % image[0] === 0) {
      return importer.alias(node, { kind, name, shape, view: "rows" });
    }
  }
  const pixels = elementCount(graph.slice(1));
  const flat = importer.isBatched(shape) && shape.length === 2 && shape[1] === elementCount(graph);
  if (x.view === "channels_last" && flat) {
    const made = importer.emit(node, { op: "flatten", inputs: [x.name] });
    return importer.alias(node, { ...made, shape, view: "flat_last", pixels });
  }
  if (rearrangeReshape(importer, node, x, shape)) return;
  throw new Refusal(
    `turns ${importer.described(x)} into ${importer.described({ shape })}`,
  );
}

/** Reshape that keeps or flattens pictures. */
export function importReshape(importer: Importer, node: OnnxNode): void {
  const { shape } = importer.viewed(node);
  const target = listed(importer.requiredConstant(node, 1).array);
  const allowZero = node.attributes.int("allowzero", 0) === 1;
  reshape(importer, node, reshapeTarget(shape, target, allowZero));
}

/** Flatten behind the batch. */
export function importFlatten(importer: Importer, node: OnnxNode): void {
  const { shape } = importer.viewed(node);
  const axis = axisOf(node.attributes.int("axis", 1), shape.length);
  reshape(importer, node, [
    elementCount(shape.slice(0, axis)),
    elementCount(shape.slice(axis)),
  ]);
}

/** Squeeze and Unsqueeze, which drop and add axes of one element. */
export function importSqueeze(importer: Importer, node: OnnxNode): void {
  const { shape } = importer.viewed(node);
  const given = importer.opset < 13 ? undefined : importer.constant(node, 1)?.array;
  const axes = axesOf({ node, opset: importer.opset, inputs: [integers([]), given] }, 13);
  reshape(
    importer,
    node,
    node.op === "Squeeze" ? squeezedShape(shape, axes) : unsqueezedShape(shape, axes ?? []),
  );
}
