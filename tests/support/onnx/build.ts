/** Small ONNX models written here, node by node, as exporters write them. */

import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  type FunctionProtoSchema,
  ModelProtoSchema,
  type NodeProtoSchema,
  type TensorProtoSchema,
} from "../../../src/formats/onnx/proto/onnx_pb.ts";
import { RandomStream } from "../../../src/random.ts";

type Plain<T> = Exclude<T, { $typeName: string }>;
export type BuiltNode = Plain<MessageInitShape<typeof NodeProtoSchema>>;
export type BuiltTensor = Plain<MessageInitShape<typeof TensorProtoSchema>>;
export type BuiltFunction = Plain<MessageInitShape<typeof FunctionProtoSchema>>;

const FLOAT = 1, I64 = 7, HALF = 10;

/** An attribute: a whole number, a list of them, a word, one real number as { float }, or a tensor. */
type Value = number | readonly number[] | string | { readonly float: number } | BuiltTensor;

function attribute([name, value]: readonly [string, Value]) {
  if (typeof value === "number") return { name, type: 2, i: BigInt(value) };
  if (typeof value === "string") return { name, type: 3, s: new TextEncoder().encode(value) };
  if ("float" in value) return { name, type: 1, f: value.float };
  if ("dataType" in value) return { name, type: 4, t: value };
  return { name, type: 7, ints: (value as readonly number[]).map(BigInt) };
}

/** One node; `domain::op` names an operator of another domain. */
export function node(
  op: string,
  inputs: readonly string[],
  outputs: string | readonly string[],
  attributes: Readonly<Record<string, Value>> = {},
): BuiltNode {
  const output = typeof outputs === "string" ? [outputs] : [...outputs];
  const [domain, opType] = op.includes("::") ? op.split("::") : ["", op];
  return {
    name: `${opType}_${output[0]}`,
    opType,
    domain,
    input: [...inputs],
    output,
    attribute: Object.entries(attributes).map(attribute),
  };
}

/** An f32 tensor; random where no numbers are given, the same for the same name. */
export function floats(
  name: string,
  dims: readonly number[],
  values?: readonly number[],
): BuiltTensor {
  const random = new RandomStream(1, name);
  const count = dims.reduce((product, extent) => product * extent, 1);
  const data = values ?? Array.from({ length: count }, () => 0.3 * random.normal());
  const bytes = new Uint8Array(Float32Array.from(data).buffer);
  return { name, dataType: FLOAT, dims: dims.map(BigInt), rawData: bytes };
}

/** An f16 tensor of numbers that f16 holds exactly. */
export function halves(name: string, dims: readonly number[]): BuiltTensor {
  const random = new RandomStream(2, name);
  const count = dims.reduce((product, extent) => product * extent, 1);
  // Sign, exponents from 2^-3 to 2^-2, and all ten bits behind the point.
  const bits = Uint16Array.from(
    { length: count },
    () => (random.integer(2) << 15) | ((12 + random.integer(2)) << 10) | random.integer(1024),
  );
  return { name, dataType: HALF, dims: dims.map(BigInt), rawData: new Uint8Array(bits.buffer) };
}

/** An i64 vector, or with `scalar` a single number of no axes. */
export function integers(name: string, values: readonly number[], scalar = false): BuiltTensor {
  return {
    name,
    dataType: I64,
    dims: scalar ? [] : [BigInt(values.length)],
    rawData: new Uint8Array(BigInt64Array.from(values.map(BigInt)).buffer),
  };
}

type Extents = readonly (number | string)[];

function info(name: string, shape: Extents, elemType: number) {
  const dim = shape.map((extent) => ({
    value: typeof extent === "number"
      ? { case: "dimValue" as const, value: BigInt(extent) }
      : { case: "dimParam" as const, value: extent },
  }));
  return {
    name,
    type: { value: { case: "tensorType" as const, value: { elemType, shape: { dim } } } },
  };
}

export interface BuiltModel {
  readonly nodes: readonly BuiltNode[];
  readonly tensors?: readonly BuiltTensor[];
  /** Of the input "x"; default ["N", 3, 8, 8]. */
  readonly input?: Extents;
  /** ONNX's numbers of the element types of "x" and "y"; default f32. */
  readonly types?: { readonly input?: number; readonly output?: number };
  /** Of the output "y", where the runtime is to be told. */
  readonly output?: Extents;
  /** Names of the outputs where "y" is not the only one. */
  readonly outputs?: readonly string[];
  /** Inputs beside "x", in f32. */
  readonly inputs?: readonly { readonly name: string; readonly shape: Extents }[];
  readonly opset?: number;
  readonly producer?: string;
  readonly functions?: readonly BuiltFunction[];
}

/** The bytes of a model from "x" to "y". */
export function built(model: BuiltModel): Uint8Array {
  const { nodes, tensors = [], input = ["N", 3, 8, 8], output, opset = 17, types = {} } = model;
  const { functions = [], producer = "build.ts", outputs = ["y"], inputs = [] } = model;
  const end = info("y", output ?? [], types.output ?? FLOAT);
  const domains = new Set(functions.map(({ domain }) => domain ?? ""));
  return toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, {
      irVersion: 8n,
      producerName: producer,
      opsetImport: [
        { domain: "", version: BigInt(opset) },
        ...[...domains].map((domain) => ({ domain, version: 1n })),
      ],
      functions: [...functions],
      graph: {
        name: "built",
        node: [...nodes],
        initializer: [...tensors],
        input: [
          info("x", input, types.input ?? FLOAT),
          ...inputs.map(({ name, shape }) => info(name, shape, FLOAT)),
        ],
        output: output === undefined
          ? outputs.map((name) => ({
            name,
            type: {
              value: { case: "tensorType" as const, value: { elemType: types.output ?? FLOAT } },
            },
          }))
          : [end],
      },
    }),
  );
}
