/**
 * Between a model's own answer and its graph's, which is a logit for every class: a model that answers
 * with one number for two classes gets the other's logit, zero.
 */

import { answerOf } from "../graph/answer.ts";
import type { Graph, Node } from "../graph/graph.ts";
import { shapesOf } from "../graph/shapes.ts";
import { elementCount } from "../tensor.ts";

/** Name of the layer that makes two logits of one. */
const TWO_CLASSES = "two_classes";

/** Whether a graph answers with one number. */
export function answersWithOne(graph: Graph): boolean {
  const { outputs: [output, ...others] } = graph;
  return others.length === 0 && elementCount(shapesOf(graph).get(output)!) === 1;
}

/**
 * A graph of one logit z with logits 0 and z for two classes: its softmax is z's sigmoid, and its
 * cross entropy the binary one.
 */
export function withTwoClasses(graph: Graph): Graph {
  const taken = new Set(graph.nodes.flatMap((node) => [node.name, node.output]));
  if (taken.has(TWO_CLASSES) || graph.input.name === TWO_CLASSES) return graph;
  const node: Node = {
    op: "channel_map",
    name: TWO_CLASSES,
    inputs: [answerOf(graph)],
    output: TWO_CLASSES,
    from: [-1, 0],
  };
  return { ...graph, nodes: [...graph.nodes, node], outputs: [TWO_CLASSES] };
}

/** The graph as its model is: with one logit again where withTwoClasses made two of it. */
export function withOwnAnswer(graph: Graph): Graph {
  const last = graph.nodes.find(({ output }) => output === graph.outputs[0]);
  const made = last?.op === "channel_map" && last.name === TWO_CLASSES &&
    last.from.join() === "-1,0";
  if (last === undefined || !made) return graph;
  return {
    ...graph,
    nodes: graph.nodes.filter((node) => node !== last),
    outputs: [last.inputs[0]],
  };
}
