/**
 * Nodes of older operator sets as those of 13 have them, which is the oldest set that is written:
 * attributes that became inputs, and Softmax, which came to work on one axis (onnx/onnx,
 * docs/Changelog.md).
 */

import { create } from "@bufbuild/protobuf";
import {
  type AttributeProto,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProtoSchema,
} from "../proto/onnx_pb.ts";
import { codeOf } from "../read/array.ts";
import { int, text } from "../export/node_proto.ts";
import type { FreshNames } from "../names.ts";

/** The oldest operator set that upgraded nodes are of. */
export const UPGRADED_OPSET = 13;

export interface Upgraded {
  readonly nodes: readonly NodeProto[];
  readonly initializers: readonly TensorProto[];
}

class Upgrade {
  readonly nodes: NodeProto[] = [];
  readonly initializers: TensorProto[] = [];
  readonly opset: number;
  readonly names: FreshNames;

  constructor(opset: number, names: FreshNames) {
    this.opset = opset;
    this.names = names;
  }

  /** A list of integers as a constant of the node's own. */
  integers({ output }: NodeProto, what: string, values: readonly bigint[]): string {
    const data = BigInt64Array.from(values);
    return this.#constant(`${output[0]}/${what}`, "i64", [data.length], data);
  }

  /** Real numbers as a constant of the node's own; of no axis by default, and then one. */
  numbers(
    { output }: NodeProto,
    what: string,
    values: readonly number[],
    shape: readonly number[] = [],
  ): string {
    return this.#constant(`${output[0]}/${what}`, "f32", shape, Float32Array.from(values));
  }

  #constant(
    wanted: string,
    dtype: "i64" | "f32",
    shape: readonly number[],
    data: BigInt64Array<ArrayBuffer> | Float32Array<ArrayBuffer>,
  ): string {
    const name = this.names.take(wanted);
    const dims = shape.map(BigInt), rawData = new Uint8Array(data.buffer);
    this.initializers.push(
      create(TensorProtoSchema, { name, dataType: codeOf(dtype), dims, rawData }),
    );
    return name;
  }

  push(node: NodeProto, change: Partial<Pick<NodeProto, "opType" | "input" | "attribute">>): void {
    this.nodes.push({ ...node, ...change });
  }
}

type Rule = { readonly before: number; readonly apply: (pass: Upgrade, node: NodeProto) => void };

const found = ({ attribute }: NodeProto, name: string): AttributeProto | undefined =>
  attribute.find((each) => each.name === name);

const without = ({ attribute }: NodeProto, ...names: string[]): AttributeProto[] =>
  attribute.filter(({ name }) => !names.includes(name));

const integers = (node: NodeProto, name: string): bigint[] | undefined => found(node, name)?.ints;

/** A list of integers that became the second input. */
function listToInput(name: string, before: number): Rule {
  return {
    before,
    apply: (pass, node) => {
      const values = integers(node, name);
      const second = values === undefined ? [] : [pass.integers(node, name, values)];
      pass.push(node, { input: [node.input[0], ...second], attribute: without(node, name) });
    },
  };
}

function clip(pass: Upgrade, node: NodeProto): void {
  const bound = (name: string) => {
    const value = found(node, name)?.f;
    return value === undefined ? "" : pass.numbers(node, name, [value]);
  };
  const input = [node.input[0], bound("min"), bound("max")];
  pass.push(node, { input, attribute: without(node, "min", "max") });
}

function pad(pass: Upgrade, node: NodeProto): void {
  const pads = pass.integers(node, "pads", integers(node, "pads") ?? []);
  const value = pass.numbers(node, "value", [found(node, "value")?.f ?? 0]);
  const mode = found(node, "mode");
  const constant = mode === undefined || new TextDecoder().decode(mode.s) === "constant";
  const input = [node.input[0], pads, ...(constant ? [value] : [])];
  pass.push(node, { input, attribute: without(node, "pads", "value") });
}

function slice(pass: Upgrade, node: NodeProto): void {
  const starts = integers(node, "starts") ?? [];
  const axes = integers(node, "axes") ?? starts.map((_, axis) => BigInt(axis));
  const input = [
    node.input[0],
    pass.integers(node, "starts", starts),
    pass.integers(node, "ends", integers(node, "ends") ?? []),
    pass.integers(node, "axes", axes),
  ];
  pass.push(node, { input, attribute: without(node, "starts", "ends", "axes") });
}

/** One softmax over all axes from `axis` on. */
function softmax(pass: Upgrade, node: NodeProto): void {
  const axis = Number(found(node, "axis")?.i ?? 1n);
  if (axis === -1) return pass.push(node, {});
  const [x] = node.input, [y] = node.output;
  const value = (what: string) => pass.names.take(`${y}/${what}`);
  const shape = value("shape"), flat = value("flat"), shares = value("shares");
  const make = (opType: string, input: string[], output: string, attribute: AttributeProto[]) =>
    create(NodeProtoSchema, { name: output, opType, input, output: [output], attribute });
  pass.nodes.push(
    make("Shape", [x], shape, []),
    make("Flatten", [x], flat, [int("axis", axis)]),
    { ...node, input: [flat], output: [shares], attribute: [int("axis", 1)] },
    make("Reshape", [shares, shape], y, []),
  );
}

/** Interpolation by scales, from the corner on, as it was before opset 11. */
function resize(pass: Upgrade, node: NodeProto): void {
  const scales = found(node, "scales");
  const by = scales === undefined
    ? node.input[1]
    : pass.numbers(node, "scales", scales.floats, [scales.floats.length]);
  pass.push(node, {
    opType: "Resize",
    input: [node.input[0], "", by],
    attribute: [
      ...without(node, "scales"),
      text("coordinate_transformation_mode", "asymmetric"),
      text("nearest_mode", "floor"),
    ],
  });
}

const RULES: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  ["Clip", { before: 11, apply: clip }],
  ["Pad", { before: 11, apply: pad }],
  ["Slice", { before: 10, apply: slice }],
  ["Squeeze", listToInput("axes", 13)],
  ["Unsqueeze", listToInput("axes", 13)],
  ["ReduceSum", listToInput("axes", 13)],
  ["Split", listToInput("split", 13)],
  ["TopK", {
    before: 10,
    apply: (pass, node) => {
      const count = pass.integers(node, "k", [found(node, "k")?.i ?? 1n]);
      pass.push(node, { input: [node.input[0], count], attribute: without(node, "k") });
    },
  }],
  ["Dropout", {
    before: 12,
    apply: (pass, node) => pass.push(node, { attribute: without(node, "ratio", "is_test") }),
  }],
  ["BatchNormalization", {
    before: 9,
    apply: (pass, node) => pass.push(node, { attribute: without(node, "spatial") }),
  }],
  ["Scatter", {
    before: 11,
    apply: (pass, node) => pass.push(node, { opType: "ScatterElements" }),
  }],
  ["Softmax", { before: 13, apply: softmax }],
  ["LogSoftmax", { before: 13, apply: softmax }],
  ["Hardmax", { before: 13, apply: softmax }],
  ["Upsample", { before: 10, apply: resize }],
  ["Resize", { before: 11, apply: resize }],
]);

/** Nodes of `opset` as nodes of UPGRADED_OPSET or, where they are of a newer one, as they are. */
export function upgraded(
  nodes: readonly NodeProto[],
  opset: number,
  names: FreshNames,
): Upgraded {
  if (opset >= UPGRADED_OPSET) return { nodes, initializers: [] };
  const pass = new Upgrade(opset, names);
  for (const node of nodes) {
    const rule = node.domain === "" || node.domain === "ai.onnx"
      ? RULES.get(node.opType)
      : undefined;
    if (rule === undefined || opset >= rule.before) pass.nodes.push(node);
    else rule.apply(pass, node);
  }
  return pass;
}
