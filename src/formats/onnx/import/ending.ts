/**
 * How a model ends. Graphs answer with logits, since losses work on those: a softmax or sigmoid at
 * the very end is taken off, and said. Where other layers work on its probabilities that cannot be.
 */

import type { Node, Shape } from "../../../graph/graph.ts";
import { elementCount } from "../../../tensor.ts";
import type { FinalActivation } from "../final_activation.ts";

/** Layers that make no more of probabilities than they are: they pick, join, add or average them. */
const PASSING: ReadonlySet<Node["op"]> = new Set([
  ...["flatten", "global_average_pool", "average_pool", "max_pool", "slice", "pad"] as const,
  ...["channel_map", "concat", "add"] as const,
]);

const WEIGHTED: ReadonlySet<Node["op"]> = new Set([
  ...["convolution", "linear", "transposed_convolution"] as const,
]);

/** What is known of the layers that a model ends in. */
export interface Ending {
  readonly nodes: readonly Node[];
  readonly output: string;
  /** What was taken off the end. */
  readonly activation?: Omit<FinalActivation, "output">;
  /** The softmax or sigmoid whose probabilities others work on to make the answer. */
  readonly mixed?: string;
}

type Activation = Node & { op: "softmax" | "activation" };

function isProbability(node: Node): node is Activation {
  return node.op === "softmax" || (node.op === "activation" && node.kind === "sigmoid");
}

/** One number for all of an image's cells, as where [channels, 1, 1] is scaled. */
const isScaling = (node: Node): boolean =>
  node.op === "convolution" && node.groups > 1 && node.kernel[0] * node.kernel[1] === 1;

/** The first layer of probabilities that the answer is put together from. */
function probabilitiesBehind(
  output: string,
  writers: ReadonlyMap<string, Node>,
): string | undefined {
  const seen = new Set<string>(), open = [output];
  while (open.length > 0) {
    const node = writers.get(open.pop()!);
    if (node === undefined || seen.has(node.output)) continue;
    seen.add(node.output);
    if (isProbability(node)) return node.name;
    if (PASSING.has(node.op) || isScaling(node)) open.push(...node.inputs);
  }
  return undefined;
}

/**
 * Takes a final softmax or sigmoid off, also from before a last flatten. `logarithms` names the
 * softmax layers that stand for LogSoftmax. Only classifiers are looked at: one answer an image,
 * made by layers with weights.
 */
export function endingOf(
  nodes: readonly Node[],
  output: string,
  shapeOf: (value: string) => Shape,
  logarithms: ReadonlySet<string>,
): Ending {
  const single = (value: string) => elementCount(shapeOf(value).slice(1)) === 1;
  if (!single(output) || !nodes.some(({ op }) => WEIGHTED.has(op))) return { nodes, output };
  const writers = new Map(nodes.map((node) => [node.output, node]));
  const uses = (value: string) =>
    nodes.flatMap(({ inputs }) => inputs).filter((input) => input === value).length;
  const flattened: Node[] = [];
  let last = writers.get(output);
  while (last?.op === "flatten" && uses(last.inputs[0]) === 1) {
    flattened.push(last);
    last = writers.get(last.inputs[0]);
  }
  const alone = last !== undefined && isProbability(last) && single(last.output) &&
    uses(last.output) === (flattened.length > 0 ? 1 : 0);
  if (last === undefined || !alone) {
    const mixed = probabilitiesBehind(output, writers);
    return { nodes, output, ...(mixed === undefined ? {} : { mixed }) };
  }
  const [logits] = last.inputs;
  const gone = last;
  const op = gone.op !== "softmax"
    ? "Sigmoid"
    : logarithms.has(gone.name)
    ? "LogSoftmax"
    : "Softmax";
  return {
    nodes: nodes.filter((node) => node !== gone).map((node) =>
      node.inputs.includes(gone.output)
        ? { ...node, inputs: node.inputs.map((name) => name === gone.output ? logits : name) }
        : node
    ),
    output: flattened.length > 0 ? output : logits,
    activation: { op, node: gone.name },
  };
}
