/** What a file has behind its graph, under names that fit those of the graph. */

import { create } from "@bufbuild/protobuf";
import type { Graph } from "../../../graph/graph.ts";
import { FreshNames } from "../names.ts";
import type { NodeProto, TensorProto, ValueInfoProto } from "../proto/onnx_pb.ts";
import { TensorProtoSchema } from "../proto/onnx_pb.ts";
import type { Tail } from "../tail/tail.ts";

export interface Written {
  readonly nodes: readonly NodeProto[];
  readonly initializers: readonly TensorProto[];
  readonly inputs: readonly ValueInfoProto[];
  readonly outputs: readonly ValueInfoProto[];
}

/** Names of values in a file of this graph, those of the tail's ends taken. */
export function valueNames(values: Iterable<string>, tail: Tail | undefined): FreshNames {
  const ends = tail === undefined ? [] : [...tail.inputs, ...tail.outputs].map(({ name }) => name);
  return new FreshNames([...values, ...ends]);
}

/** The tail of a graph's file; `fresh` gives names to what lies within it. */
export function tailProtos(tail: Tail, graph: Graph, fresh: FreshNames): Written {
  const names = new Map(tail.values);
  for (const { name } of tail.inputs) names.set(name, name);
  const own = new Set(tail.outputs.map(({ name }) => name));
  const initializers = tail.initializers.map((tensor) => {
    const name = fresh.take(tensor.name);
    names.set(tensor.name, name);
    return create(TensorProtoSchema, { ...tensor, name });
  });
  const layers = new FreshNames(graph.nodes.map(({ name }) => name));
  const written = (name: string): string => {
    if (name === "" || own.has(name)) return name;
    const taken = fresh.take(name);
    names.set(name, taken);
    return taken;
  };
  const nodes = tail.nodes.map((node) => {
    const input = node.input.map((name) => names.get(name) ?? name);
    return {
      ...node,
      name: layers.take(node.name || node.output[0]),
      input,
      output: node.output.map(written),
    };
  });
  return { nodes, initializers, inputs: tail.inputs, outputs: tail.outputs };
}
