/** An ONNX file as plain data: checked names, nodes in an order in which they can be computed. */

import { SecateurError } from "../../../errors.ts";
import { corrupt, quoted } from "../../bytes.ts";
import { Attributes } from "./attributes.ts";
import type { ExternalData } from "./external.ts";
import type {
  GraphProto,
  ModelProto,
  NodeProto,
  TensorProto,
  ValueInfoProto,
} from "../proto/onnx_pb.ts";

/** Operator sets that are read; what an operator means depends on them. */
export const OLDEST_OPSET = 7;
export const NEWEST_OPSET = 28;

const MOST_NODES = 100_000;
const MOST_OUTPUTS = 1_000;

export interface OnnxNode {
  /** As in the file, or made from its first output. */
  readonly name: string;
  readonly op: string;
  /** Empty names stand for optional inputs and outputs left out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Attributes;
  /** As the file has it. */
  readonly proto: NodeProto;
}

/** Input or output of a model; an extent is a number or the name of one chosen at run time. */
export interface OnnxValue {
  readonly name: string;
  readonly elementType: number;
  readonly shape?: readonly (number | string)[];
}

/** A model as the file has it, restricted to what its outputs need. */
export interface OnnxModel {
  /** The file, for sentences. */
  readonly source: string;
  readonly name: string;
  readonly opset: number;
  readonly irVersion: number;
  readonly producer: string;
  readonly metadata: ReadonlyMap<string, string>;
  /** Inputs without the initializers that old files list among them. */
  readonly inputs: readonly OnnxValue[];
  /** At least one. */
  readonly outputs: readonly OnnxValue[];
  /** In topological order. */
  readonly nodes: readonly OnnxNode[];
  /** Nodes that no output needs. */
  readonly unusedNodes: number;
  /** Inputs and outputs as the file has them, by name. */
  readonly declared: ReadonlyMap<string, ValueInfoProto>;
  /** Versions of operators that are not ONNX's own, by domain. */
  readonly domains: ReadonlyMap<string, bigint>;
  readonly initializers: ReadonlyMap<string, TensorProto>;
  readonly external: ExternalData;
}

function invalid(source: string, finding: string): SecateurError {
  return new SecateurError(
    "graph-invalid",
    `${source}: ${finding}; export the model again.`,
  );
}

function opsetOf(model: ModelProto, source: string): number {
  const versions = model.opsetImport.filter(({ domain }) => isStandard(domain));
  if (versions.length !== 1) {
    throw corrupt(
      source,
      `expected one version of the ONNX operators, but it names ${versions.length}`,
    );
  }
  const opset = Number(versions[0].version);
  if (opset >= OLDEST_OPSET && opset <= NEWEST_OPSET) return opset;
  throw new SecateurError(
    "graph-unsupported",
    `${source}: expected an ONNX operator set from ${OLDEST_OPSET} to ${NEWEST_OPSET}, but it is ` +
      `${opset}; export the model for one of those.`,
  );
}

function isStandard(domain: string): boolean {
  return domain === "" || domain === "ai.onnx";
}

function nodeOf(proto: NodeProto): OnnxNode {
  const { domain, opType, input, output } = proto;
  return {
    name: proto.name || output.find((value) => value !== "") || opType,
    op: isStandard(domain) ? opType : `${domain}::${opType}`,
    inputs: input,
    outputs: output,
    attributes: new Attributes(proto.attribute),
    proto,
  };
}

/** Throws unless every value has one writer and every named node one name. */
function writersOf(
  graph: GraphProto,
  nodes: readonly OnnxNode[],
  given: ReadonlySet<string>,
  source: string,
): Map<string, number> {
  const writers = new Map<string, number>();
  nodes.forEach(({ name, outputs }, index) => {
    for (const output of outputs) {
      if (output === "") continue;
      if (writers.has(output) || given.has(output)) {
        throw invalid(
          source,
          `node ${quoted(name)} writes ${quoted(output)}, which is there already`,
        );
      }
      writers.set(output, index);
    }
  });
  const named = new Set<string>();
  for (const { name } of graph.node) {
    if (name !== "" && named.has(name)) {
      throw invalid(source, `two nodes are named ${quoted(name)}`);
    }
    named.add(name);
  }
  return writers;
}

/**
 * Indices of the nodes that `outputs` need, each after those it reads (depth first, without
 * recursion, which a long chain would exhaust).
 */
function neededNodes(
  nodes: readonly OnnxNode[],
  writers: ReadonlyMap<string, number>,
  given: ReadonlySet<string>,
  outputs: readonly string[],
  source: string,
): number[] {
  const state = new Uint8Array(nodes.length); // 1: its inputs are being visited, 2: done
  const order: number[] = [];
  const stack: { node: number; next: number }[] = [];
  const waiting = outputs.flatMap((output) => writers.get(output) ?? []).reverse();
  while (stack.length > 0 || waiting.length > 0) {
    if (stack.length === 0) {
      const last = waiting.pop()!;
      if (state[last] !== 0) continue;
      stack.push({ node: last, next: 0 });
      state[last] = 1;
    }
    const top = stack[stack.length - 1];
    const { name, inputs } = nodes[top.node];
    if (top.next === inputs.length) {
      state[top.node] = 2;
      order.push(top.node);
      stack.pop();
      continue;
    }
    const input = inputs[top.next++];
    const writer = writers.get(input);
    if (writer === undefined) {
      if (input === "" || given.has(input)) continue;
      throw invalid(source, `node ${quoted(name)} reads ${quoted(input)}, which nothing writes`);
    }
    if (state[writer] === 1) {
      throw invalid(
        source,
        `node ${quoted(nodes[writer].name)} depends on its own output ${quoted(input)}`,
      );
    }
    if (state[writer] === 0) {
      state[writer] = 1;
      stack.push({ node: writer, next: 0 });
    }
  }
  return order;
}

/** File order where it is a valid one, so that graphs keep the order people know. */
function inFileOrder(
  order: readonly number[],
  nodes: readonly OnnxNode[],
  writers: ReadonlyMap<string, number>,
): readonly number[] {
  const sorted = [...order].sort((a, b) => a - b);
  const valid = sorted.every((index) =>
    nodes[index].inputs.every((input) => (writers.get(input) ?? -1) < index)
  );
  return valid ? sorted : order;
}

function valueOf({ name, type }: ValueInfoProto): OnnxValue {
  if (type?.value.case !== "tensorType") return { name, elementType: 0 };
  const { elemType, shape } = type.value.value;
  const extents = shape?.dim.map(({ value }) =>
    value.case === "dimValue" ? Number(value.value) : value.value ?? ""
  );
  return { name, elementType: elemType, ...(extents === undefined ? {} : { shape: extents }) };
}

function initializersOf(graph: GraphProto, source: string): Map<string, TensorProto> {
  if (graph.sparseInitializer.length > 0) {
    throw new SecateurError(
      "graph-unsupported",
      `${source}: expected dense weights, but it holds ${graph.sparseInitializer.length} sparse ` +
        "tensors; export the model with dense ones.",
    );
  }
  const initializers = new Map<string, TensorProto>();
  for (const tensor of graph.initializer) {
    if (tensor.name === "" || initializers.has(tensor.name)) {
      throw invalid(
        source,
        `two initializers are named ${quoted(tensor.name)}, or one has no name`,
      );
    }
    initializers.set(tensor.name, tensor);
  }
  return initializers;
}

function inputsOf(
  graph: GraphProto,
  initializers: ReadonlyMap<string, TensorProto>,
  source: string,
): OnnxValue[] {
  const names = new Set<string>();
  for (const { name } of graph.input) {
    if (name === "" || names.has(name)) {
      throw invalid(source, `two inputs are named ${quoted(name)}, or one has no name`);
    }
    names.add(name);
  }
  return graph.input.filter(({ name }) => !initializers.has(name)).map(valueOf);
}

function outputsOf(graph: GraphProto, source: string): OnnxValue[] {
  const outputs = graph.output.map(valueOf);
  const [twice] = outputs.filter(({ name }, at) =>
    outputs.findIndex((other) => other.name === name) !== at
  );
  if (twice !== undefined) throw invalid(source, `two outputs are named ${quoted(twice.name)}`);
  if (outputs.length > 0 && outputs.length <= MOST_OUTPUTS) return outputs;
  throw new SecateurError(
    "graph-unsupported",
    `${source}: expected a model with 1 to ${MOST_OUTPUTS} outputs, but it has ${outputs.length}; ` +
      "export it with its answers alone.",
  );
}

/**
 * Checks a decoded model and puts its nodes into order. `external` as from readExternalData.
 * @throws SecateurError `graph-invalid` for duplicate names, cycles and values nothing writes;
 * `graph-unsupported` for operator sets, outputs and weights of a kind that is not read.
 */
export function modelOf(
  proto: ModelProto,
  source: string,
  external: ExternalData = new Map(),
): OnnxModel {
  const graph = proto.graph!; // decodeModel has made sure
  const opset = opsetOf(proto, source);
  if (graph.node.length > MOST_NODES) {
    throw invalid(source, `expected at most ${MOST_NODES} nodes, but it has ${graph.node.length}`);
  }
  const initializers = initializersOf(graph, source);
  const inputs = inputsOf(graph, initializers, source);
  const outputs = outputsOf(graph, source);
  const nodes = graph.node.map(nodeOf);
  const given = new Set([...initializers.keys(), ...inputs.map(({ name }) => name)]);
  const writers = writersOf(graph, nodes, given, source);
  const names = outputs.map(({ name }) => name);
  const unwritten = names.find((name) => !writers.has(name));
  if (unwritten !== undefined) {
    throw invalid(source, `nothing writes the output ${quoted(unwritten)}`);
  }
  const needed = neededNodes(nodes, writers, given, names, source);
  return {
    source,
    name: graph.name,
    opset,
    irVersion: Number(proto.irVersion),
    producer: `${proto.producerName} ${proto.producerVersion}`.trim(),
    metadata: new Map(proto.metadataProps.map(({ key, value }) => [key, value])),
    inputs,
    outputs,
    nodes: inFileOrder(needed, nodes, writers).map((index) => nodes[index]),
    unusedNodes: nodes.length - needed.length,
    initializers,
    external,
    declared: new Map([...graph.input, ...graph.output].map((value) => [value.name, value])),
    domains: new Map(
      proto.opsetImport.filter(({ domain }) => !isStandard(domain))
        .map(({ domain, version }) => [domain, version]),
    ),
  };
}
