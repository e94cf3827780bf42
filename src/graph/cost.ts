import { elementCount } from "../tensor.ts";
import type { Graph } from "./graph.ts";
import { operatorOf } from "./operators/table.ts";
import { shapesOf } from "./shapes.ts";

/** Cost of one layer that has any. */
export interface LayerCost {
  readonly name: string;
  readonly op: string;
  /** Multiply-accumulates for one image. */
  readonly macs: number;
  /** Trainable parameters first named by this layer. */
  readonly parameters: number;
}

/**
 * Cost of a model as the papers count it: multiply-accumulates of convolutions and linear layers
 * for one image, and trainable parameters (batch-norm scale and offset, not running statistics).
 */
export interface Cost {
  readonly layers: readonly LayerCost[];
  readonly macs: number;
  readonly parameters: number;
}

/** Counts a graph. Parameters shared between layers count once. */
export function costOf(graph: Graph): Cost {
  const shapes = shapesOf(graph);
  const counted = new Set<string>();
  const layers: LayerCost[] = [];
  for (const node of graph.nodes) {
    const operator = operatorOf(node);
    const inputs = node.inputs.map((name) => shapes.get(name)!);
    let parameters = 0;
    for (const name of operator.trainable(node)) {
      if (!counted.has(name)) parameters += elementCount(graph.parameters.get(name)!.shape);
      counted.add(name);
    }
    const macs = operator.macs(node, inputs, shapes.get(node.output)!);
    if (macs > 0 || parameters > 0) layers.push({ name: node.name, op: node.op, macs, parameters });
  }
  return {
    layers,
    macs: layers.reduce((sum, layer) => sum + layer.macs, 0),
    parameters: layers.reduce((sum, layer) => sum + layer.parameters, 0),
  };
}
