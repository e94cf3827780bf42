/** The graph of a file's body, of as many outputs as what lies behind it reads, and that. */

import { create } from "@bufbuild/protobuf";
import type { Graph, Node } from "../../../graph/graph.ts";
import type { FeatureValue } from "../import/features.ts";
import type { Importer } from "../import/importer.ts";
import { composeNeighbours, neededLayers, neededParameters } from "../import/simplify.ts";
import { FreshNames, storable } from "../names.ts";
import { type NodeProto, NodeProtoSchema } from "../proto/onnx_pb.ts";
import { type Behind, behindBody } from "./body.ts";
import type { Tail } from "./tail.ts";
import { upgraded, UPGRADED_OPSET } from "./upgrade.ts";

export interface Body {
  readonly graph: Omit<Graph, "name">;
  readonly tail: Tail;
}

/** Renames values of a graph. */
function renamed(nodes: readonly Node[], names: ReadonlyMap<string, string>): Node[] {
  const rename = (name: string) => names.get(name) ?? name;
  return nodes.map((node) => ({
    ...node,
    inputs: node.inputs.map(rename),
    output: rename(node.output),
  }));
}

/**
 * New names for values of the graph: what a file's output is gets that one's name, and what only has
 * such a name another.
 */
function namesFor(
  importer: Importer,
  nodes: readonly Node[],
  ends: Behind["ends"],
): Map<string, string> {
  const outputs = importer.model.outputs.map(({ name }) => name);
  const wanted = new Set(outputs.map(storable));
  const names = new Map<string, string>();
  for (const output of outputs) {
    const end = ends.get(output);
    const name = storable(output);
    const free = name === output && ![...names.values()].includes(name);
    if (end !== undefined && !names.has(end.name) && free) names.set(end.name, name);
  }
  const fresh = new FreshNames([...wanted, ...nodes.map(({ output }) => output)]);
  for (const { output } of nodes) {
    const taken = wanted.has(output) && !names.has(output);
    if (taken) names.set(output, fresh.take(`${output}/body`));
  }
  return names;
}

/** A node that gives a value another name. */
const identity = (from: string, to: string): NodeProto =>
  create(NodeProtoSchema, {
    name: `${to}/identity`,
    opType: "Identity",
    input: [from],
    output: [to],
  });

/** What of the file is not the graph; undefined values are those that only it reads. */
function tailOf(
  importer: Importer,
  behind: Behind,
  input: { readonly file: string; readonly graph: string },
  values: ReadonlyMap<string, string>,
  batch: number | string,
): Tail {
  const { model } = importer;
  const names = new FreshNames([
    ...model.initializers.keys(),
    ...model.nodes.flatMap(({ outputs }) => outputs),
    ...model.declared.keys(),
  ]);
  const { nodes, initializers } = upgraded(
    behind.nodes.map(({ proto }) => proto),
    model.opset,
    names,
  );
  // Outputs that are the graph's under another name.
  const copies = model.outputs.flatMap(({ name }) => {
    const value = values.get(name);
    return value === undefined || value === name ? [] : [identity(name, name)];
  });
  return {
    nodes: [...nodes, ...copies],
    initializers: [...behind.constants, ...initializers],
    inputs: behind.inputs.filter(({ name }) => name !== input.file),
    outputs: model.outputs.map(({ name }) => model.declared.get(name)!),
    values: new Map([...values, [input.file, input.graph]]),
    opset: Math.max(UPGRADED_OPSET, model.opset),
    domains: new Map([...model.domains].map(([domain, version]) => [domain, Number(version)])),
    batch,
  };
}

/** The body's graph and its tail; undefined where no output depends on any layer that is known. */
export function finishBody(
  importer: Importer,
  input: { readonly file: string; readonly feature: FeatureValue },
  batch: number | string,
): Body | undefined {
  const behind = behindBody(importer);
  const outputs = [...new Set([...behind.ends.values()].map(({ name }) => name))];
  if (outputs.length === 0) return undefined;
  const nodes = composeNeighbours(
    neededLayers(importer.ordered(), outputs),
    outputs,
    (value) => importer.shapeOf(value),
  );
  const names = namesFor(importer, nodes, behind.ends);
  const nameOf = (value: string) => names.get(value) ?? value;
  const values = new Map([...behind.ends].map(([name, { name: value }]) => [name, nameOf(value)]));
  const { name } = input.feature;
  return {
    graph: {
      input: { name, shape: importer.shapeOf(name) },
      outputs: outputs.map(nameOf),
      nodes: renamed(nodes, names),
      parameters: neededParameters(nodes, importer.parameters),
    },
    tail: tailOf(importer, behind, { file: input.file, graph: name }, values, batch),
  };
}
