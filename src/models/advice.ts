/** What to do about weights that do not fit: the model that they do fit, where one is known. */

import type { Graph } from "../graph/graph.ts";
import type { StateDict } from "../tensor.ts";
import { createModel, MODEL_NAMES } from "./models.ts";
import { relevantWeights } from "./relevant.ts";

/** Parameters of the layer that gives the answer, whose extents depend on the classes. */
function answering(graph: Graph): ReadonlySet<string> {
  const last = graph.nodes.find(({ output }) => output === graph.outputs[0]);
  if (last?.op !== "linear" && last?.op !== "convolution") return new Set();
  return new Set([last.weight, ...(last.bias === undefined ? [] : [last.bias])]);
}

/** Whether a model reads all of these tensors and no others, whatever number of classes it is for. */
function fits(graph: Graph, weights: StateDict): boolean {
  const free = answering(graph);
  const held = relevantWeights(graph, weights);
  return held.size === graph.parameters.size &&
    [...graph.parameters].every(([name, { shape }]) => {
      const own = held.get(name)?.shape;
      return own?.length === shape.length &&
        own.every((extent, axis) => extent === shape[axis] || (axis === 0 && free.has(name)));
    });
}

/** Names of known models that a checkpoint's tensors are of. */
export function modelsOf(weights: StateDict): string[] {
  return MODEL_NAMES.filter((name) => fits(createModel(name, { classes: 10 }), weights));
}

/** The last half of a sentence about weights that are not those of `graph`. */
export function adviceFor(graph: Graph, weights: StateDict): string {
  const [known] = modelsOf(weights).filter((name) => name !== graph.name);
  if (known !== undefined) return `they are those of ${known}, so give --model ${known}`;
  return MODEL_NAMES.includes(graph.name)
    ? "no model known by name has them, so give the network as an ONNX file with --model"
    : "the two are not of the same network, so give the checkpoint that the file was exported from";
}

/** Whether a parameter is of the layer whose extents depend on the classes. */
export const dependsOnClasses = (graph: Graph, parameter: string): boolean =>
  answering(graph).has(parameter);
