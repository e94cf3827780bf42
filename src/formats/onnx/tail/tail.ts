/**
 * What of a file lies behind its body, the part that is read as a graph: nodes as they are, known or
 * not, with their constants. They go back into files that are written, and onnxruntime runs them.
 */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Buffer } from "node:buffer";
import { z } from "zod";
import {
  type GraphProto,
  GraphProtoSchema,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from "../proto/onnx_pb.ts";

export interface Tail {
  /** In an order in which they can be computed; none where the body's outputs are the file's. */
  readonly nodes: readonly NodeProto[];
  readonly initializers: readonly TensorProto[];
  /** Inputs of the file beside its pictures. */
  readonly inputs: readonly ValueInfoProto[];
  /** Outputs of the file, in order. */
  readonly outputs: readonly ValueInfoProto[];
  /** Names that the nodes have for the graph's outputs, and for its input. */
  readonly values: ReadonlyMap<string, string>;
  /** Version of ONNX's operators that the nodes are of. */
  readonly opset: number;
  /** Versions of other operators, by domain. */
  readonly domains: ReadonlyMap<string, number>;
  /** Images that the nodes are for: a number, or the name of an open extent. */
  readonly batch: number | string;
}

const name = z.string().max(4096);
const pairs = <T extends z.ZodType>(value: T) => z.array(z.tuple([name, value])).max(100_000);

/** A tail in the metadata of secateur's own files. */
export const storedTail = z.strictObject({
  graph: z.base64(),
  values: pairs(name),
  opset: z.number().int().min(13).max(64),
  domains: pairs(z.number().int().min(0).max(2 ** 31)),
  batch: z.union([z.number().int().min(1), name]),
});

/** A tail as JSON can have it. */
export function tailToJson(tail: Tail): z.infer<typeof storedTail> {
  const graph = create(GraphProtoSchema, {
    node: [...tail.nodes],
    initializer: [...tail.initializers],
    input: [...tail.inputs],
    output: [...tail.outputs],
  });
  return {
    graph: Buffer.from(toBinary(GraphProtoSchema, graph)).toString("base64"),
    values: [...tail.values],
    opset: tail.opset,
    domains: [...tail.domains],
    batch: tail.batch,
  };
}

/** What tailToJson made; throws for bytes that hold no graph. */
export function tailFromJson(stored: z.infer<typeof storedTail>): Tail {
  const graph: GraphProto = fromBinary(GraphProtoSchema, Buffer.from(stored.graph, "base64"));
  return {
    nodes: graph.node,
    initializers: graph.initializer,
    inputs: graph.input,
    outputs: graph.output,
    values: new Map(stored.values),
    opset: stored.opset,
    domains: new Map(stored.domains),
    batch: stored.batch,
  };
}
