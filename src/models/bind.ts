import { SecateurError } from "../errors.ts";
import { escaped } from "../formats/bytes.ts";
import type { Graph } from "../graph/graph.ts";
import type { StateDict, Tensor } from "../tensor.ts";
import { adviceFor, dependsOnClasses } from "./advice.ts";
import { relevantWeights } from "./relevant.ts";

const listed = (names: readonly string[]): string => {
  const shown = names.slice(0, 3).map(escaped).join(", ");
  return names.length > 3 ? `${shown} and ${names.length - 3} more` : shown;
};

/**
 * The graph with the checkpoint's weights. Throws "weights-missing" when the checkpoint lacks
 * tensors of the model, "weights-unexpected" when it holds others, "weights-shape" when one does
 * not fit; `source` names the file in those sentences.
 */
export function bindWeights(graph: Graph, weights: StateDict, source: string): Graph {
  const held = relevantWeights(graph, weights);
  const missing = [...graph.parameters.keys()].filter((name) => !held.has(name));
  if (missing.length > 0) {
    throw new SecateurError(
      "weights-missing",
      `${source} lacks ${missing.length} of the ${graph.parameters.size} tensors of ` +
        `${graph.name} (${listed(missing)}); ${adviceFor(graph, held)}.`,
    );
  }
  const unexpected = [...held.keys()].filter((name) => !graph.parameters.has(name));
  if (unexpected.length > 0) {
    throw new SecateurError(
      "weights-unexpected",
      `${source} holds ${unexpected.length} tensors that ${graph.name} does not have ` +
        `(${listed(unexpected)}); ${adviceFor(graph, held)}.`,
    );
  }
  const parameters = new Map<string, Tensor>();
  for (const [name, expected] of graph.parameters) {
    const tensor = held.get(name)!;
    const fits = tensor.shape.length === expected.shape.length &&
      tensor.shape.every((extent, axis) => extent === expected.shape[axis]);
    if (!fits) {
      throw new SecateurError(
        "weights-shape",
        `Expected ${name} of ${graph.name} to be [${expected.shape.join(", ")}] but ${source} ` +
          `holds [${tensor.shape.join(", ")}]; ${
            dependsOnClasses(graph, name)
              ? `it tells ${tensor.shape[0]} classes apart, so choose data of as many`
              : adviceFor(graph, held)
          }.`,
      );
    }
    parameters.set(name, tensor);
  }
  return { ...graph, parameters };
}
