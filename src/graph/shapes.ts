import { reasonOf, SecateurError } from "../errors.ts";
import type { Graph, Shape } from "./graph.ts";
import { operatorOf } from "./operators/table.ts";

/**
 * Per-image shape of every value, the input's included. Throws "graph-invalid", naming the layer,
 * when an operator does not fit its inputs or parameters, a value is read before it is written,
 * or an output is never written.
 */
export function shapesOf(graph: Graph): Map<string, Shape> {
  const shapes = new Map<string, Shape>([[graph.input.name, graph.input.shape]]);
  for (const node of graph.nodes) {
    const inputs = node.inputs.map((name) => {
      const shape = shapes.get(name);
      if (shape !== undefined) return shape;
      throw new SecateurError(
        "graph-invalid",
        `${node.name} (${node.op}) reads ${name}, which no earlier layer of ${graph.name} writes.`,
      );
    });
    if (shapes.has(node.output)) {
      throw new SecateurError(
        "graph-invalid",
        `${node.name} (${node.op}) writes ${node.output}, which ${graph.name} already has.`,
      );
    }
    shapes.set(node.output, outputShape(graph, node, inputs));
  }
  if (graph.outputs.length === 0) {
    throw new SecateurError("graph-invalid", `${graph.name} has no output.`);
  }
  const missing = graph.outputs.find((output) => !shapes.has(output));
  if (missing !== undefined) {
    throw new SecateurError(
      "graph-invalid",
      `No layer of ${graph.name} writes its output ${missing}.`,
    );
  }
  return shapes;
}

function outputShape(graph: Graph, node: Graph["nodes"][number], inputs: readonly Shape[]): Shape {
  let shape: Shape;
  try {
    shape = operatorOf(node).shape(node, inputs, graph.parameters);
  } catch (thrown) {
    throw new SecateurError(
      "graph-invalid",
      `${node.name} (${node.op}) of ${graph.name} ${reasonOf(thrown)}.`,
    );
  }
  if (shape.some((extent) => !Number.isInteger(extent) || extent < 1)) {
    throw new SecateurError(
      "graph-invalid",
      `${node.name} (${node.op}) of ${graph.name} turns [${inputs[0].join(", ")}] into [${
        shape.join(", ")
      }], which holds nothing.`,
    );
  }
  return shape;
}
