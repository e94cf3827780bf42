/** The pieces layers are exported with. */

import { create } from "@bufbuild/protobuf";
import type { Shape } from "../../../graph/graph.ts";
import { ATTRIBUTE } from "../read/attributes.ts";
import {
  type AttributeProto,
  AttributeProtoSchema,
  type NodeProto,
  NodeProtoSchema,
} from "../proto/onnx_pb.ts";

/** What exporting a layer may add to the model beside its nodes. */
export interface ExportContext {
  /** Version of the operators that are written. */
  readonly opset: number;
  /** Per-image shapes of the graph's values. */
  readonly shapes: ReadonlyMap<string, Shape>;
  /** Adds an i64 vector as an initializer; returns its name. */
  integers(name: string, values: readonly number[]): string;
  /**
   * Adds a tensor of real numbers as an initializer, of the type that weights have, or of f32 where
   * the operator asks for that; returns its name.
   */
  numbers(
    name: string,
    shape: readonly number[],
    values: readonly number[],
    type?: "f32",
  ): string;
  /** The initializer of a parameter. */
  parameter(name: string): string;
  /** A name for a value between the nodes of one layer. */
  value(name: string): string;
}

/** An attribute of one integer. */
export const int = (name: string, value: number): AttributeProto =>
  create(AttributeProtoSchema, { name, type: ATTRIBUTE.int, i: BigInt(value) });

/** An attribute of a list of integers. */
export const ints = (name: string, values: readonly number[]): AttributeProto =>
  create(AttributeProtoSchema, { name, type: ATTRIBUTE.ints, ints: values.map(BigInt) });

/** An attribute of one number. */
export const float = (name: string, value: number): AttributeProto =>
  create(AttributeProtoSchema, { name, type: ATTRIBUTE.float, f: value });

/** An attribute of a word. */
export const text = (name: string, value: string): AttributeProto =>
  create(AttributeProtoSchema, {
    name,
    type: ATTRIBUTE.string,
    s: new TextEncoder().encode(value),
  });

/** One ONNX node of one output. */
export function onnxNode(
  opType: string,
  { name, inputs, output }: { name: string; inputs: readonly string[]; output: string },
  attribute: AttributeProto[] = [],
): NodeProto {
  return create(NodeProtoSchema, { name, opType, input: [...inputs], output: [output], attribute });
}
