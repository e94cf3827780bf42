/** What a file has before and behind its graph: casts, turned axes, the last operator. */

import type { Graph, Shape } from "../../../graph/graph.ts";
import type { FileForm } from "../file_form.ts";
import { FreshNames } from "../names.ts";
import { codeOf } from "../read/array.ts";
import type { NodeProto } from "../proto/onnx_pb.ts";
import { int, ints, onnxNode } from "./node_proto.ts";

/** Nodes around a graph, and the graph as it is between them. */
export interface Around {
  readonly before: readonly NodeProto[];
  readonly graph: Graph;
  readonly behind: readonly NodeProto[];
  /** The values that are the file's answers, in the order of the graph's. */
  readonly outputs: readonly string[];
  /** Shapes of the graph's values, what its first layers read included. */
  readonly shapesOf: (shapes: ReadonlyMap<string, Shape>) => ReadonlyMap<string, Shape>;
}

type Step = readonly [op: string, name: string, attributes: NodeProto["attribute"]];

const TURN_FIRST = [0, 3, 1, 2], TURN_LAST = [0, 2, 3, 1];

/** Steps that turn what comes in into the graph's input. */
function stepsBefore({ input, inputLast, half = false }: FileForm, name: string): Step[] {
  const type = half ? "f16" : "f32";
  const cast: Step[] = (input ?? "f32") === type
    ? []
    : [["Cast", `${name}/cast`, [int("to", codeOf(type))]]];
  const turn: Step[] = inputLast === true
    ? [["Transpose", `${name}/channels_first`, [ints("perm", TURN_FIRST)]]]
    : [];
  return [...cast, ...turn];
}

/** Steps that turn the graph's answer into the file's. */
function stepsBehind({ activation, output, outputLast, half = false }: FileForm, name: string) {
  const ends: Step[] = [];
  if (activation !== undefined) {
    const axis = activation.op === "Sigmoid" ? [] : [int("axis", 1)];
    ends.push([activation.op, activation.node, axis]);
  }
  if (outputLast === true) {
    ends.push(["Transpose", `${name}/channels_last`, [ints("perm", TURN_LAST)]]);
  }
  const type = output ?? "f32";
  if (type !== (half ? "f16" : "f32")) {
    ends.push(["Cast", `${name}/cast`, [int("to", codeOf(type))]]);
  }
  return ends;
}

/** `values` are the names that values have so far. A form's end is that of a graph of one output. */
export function aroundGraph(
  graph: Graph,
  form: FileForm,
  values: FreshNames,
): Around {
  const layers = new FreshNames(graph.nodes.map(({ name }) => name));
  const chain = (steps: readonly Step[], from: string, last?: string): NodeProto[] => {
    let value = from;
    return steps.map(([op, name, attributes], index) => {
      const output = last !== undefined && index === steps.length - 1 ? last : values.take(name);
      const node = onnxNode(op, { name: layers.take(name), inputs: [value], output }, attributes);
      value = output;
      return node;
    });
  };
  const before = chain(stepsBefore(form, graph.input.name), graph.input.name);
  const input = before.at(-1)?.output[0] ?? graph.input.name;
  const [answer, ...others] = graph.outputs;
  const behind = form.tail !== undefined || others.length > 0 ? [] : stepsBehind(form, answer);
  const nodes = graph.nodes.map((node) => ({
    ...node,
    inputs: node.inputs.map((name) => name === graph.input.name ? input : name),
  }));
  // The answer keeps its name: what the graph calls so is called otherwise, where more follows.
  const wanted = form.activation?.output ?? answer;
  const renamed = behind.length > 0 && wanted === answer ? values.take(`${wanted}/inner`) : answer;
  const rename = (name: string) => name === answer ? renamed : name;
  const output = behind.length === 0 ? answer : wanted === answer ? wanted : values.take(wanted);
  return {
    before,
    graph: {
      ...graph,
      nodes: nodes.map((node) => ({
        ...node,
        inputs: node.inputs.map(rename),
        output: rename(node.output),
      })),
      outputs: [renamed, ...others],
    },
    behind: chain(behind, renamed, output),
    outputs: [output, ...others],
    shapesOf: (shapes) =>
      new Map([...shapes, [input, graph.input.shape], [renamed, shapes.get(answer)!]]),
  };
}
