/** What a classifier's graph answers with: one vector, a logit for every class. */

import { SecateurError } from "../errors.ts";
import { elementCount } from "../tensor.ts";
import type { Graph } from "./graph.ts";
import { shapesOf } from "./shapes.ts";

const MOST_NAMED = 4;

/**
 * The value that is a model's one answer. Throws "graph-unsupported" for a model of several, which is
 * no classifier.
 */
export function answerOf({ name, outputs }: Pick<Graph, "name" | "outputs">): string {
  if (outputs.length === 1) return outputs[0];
  const named = outputs.slice(0, MOST_NAMED).join(", ");
  throw new SecateurError(
    "graph-unsupported",
    `${name} has ${outputs.length} outputs (${named}${
      outputs.length > MOST_NAMED ? ", ..." : ""
    }), but a classifier has one.`,
  );
}

/**
 * How many classes a model tells apart. Throws "graph-unsupported" unless its one answer is one number
 * for each, [classes] or [classes, 1, 1].
 */
export function classesOf(graph: Graph): number {
  const answer = answerOf(graph);
  const shape = shapesOf(graph).get(answer)!;
  if (elementCount(shape) === shape[0]) return shape[0];
  throw new SecateurError(
    "graph-unsupported",
    `${graph.name} ends in ${answer}, a picture of [${
      shape.join(", ")
    }], but a classifier ends in ` +
      `[classes]; end it with a linear layer or a global pool.`,
  );
}
