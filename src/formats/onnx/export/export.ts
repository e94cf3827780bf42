/** Graph -> ONNX model. */

import { create, toBinary } from "@bufbuild/protobuf";
import { SecateurError } from "../../../errors.ts";
import type { Graph, Shape } from "../../../graph/graph.ts";
import { shapesOf } from "../../../graph/shapes.ts";
import { elementCount } from "../../../tensor.ts";
import type { DType } from "../../dtype.ts";
import { toHalf } from "../../dtype.ts";
import type { FileForm } from "../file_form.ts";
import { codeOf } from "../read/array.ts";
import { aroundGraph } from "./around.ts";
import { tailProtos, valueNames } from "./behind.ts";
import { exportNode } from "./nodes.ts";
import {
  type GraphProto,
  GraphProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  type TensorProto,
  TensorProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "../proto/onnx_pb.ts";
import { NEWEST_OPSET } from "../read/reader.ts";
import { EXTERNAL } from "../read/tensor.ts";
import type { Tail } from "../tail/tail.ts";

/** Operator sets that can be written. */
export const OLDEST_WRITTEN_OPSET = 13;
export const DEFAULT_OPSET = 17;

export interface ExportOptions {
  /** Version of the ONNX operators, 13 to 28; default 17, and what the tail is of where there is one. */
  readonly opset?: number;
  /** Images per run: a name leaves them open (default "N"), a number fixes them; a tail has its own. */
  readonly batch?: number | string;
  /** Strings to store with the model (metadata_props). */
  readonly metadata?: Readonly<Record<string, string>>;
  /** What the file has around the graph: layout, types, what logits go through; default nothing. */
  readonly form?: FileForm;
  /** Version of this program, stored as the producer's. */
  readonly version?: string;
}

/** Bytes of weights that one file takes: a protocol buffer must stay below 2 GiB, names included. */
export const LARGEST_INSIDE = 2 ** 31 - 2 ** 24;

/** Version of the file format that the ONNX releases paired with each operator set. */
function irVersionOf(opset: number): number {
  const introduced = [[28, 14], [25, 13], [24, 12], [23, 11], [21, 10], [19, 9], [15, 8]];
  return introduced.find(([from]) => opset >= from)?.[1] ?? 7;
}

/** Weights that lie in a file beside the model. */
export interface DataFile {
  /** Its name, which the model knows it by. */
  readonly location: string;
  /** What it holds, each piece at its offset, in order. */
  readonly pieces: readonly { readonly offset: number; readonly bytes: Uint8Array }[];
}

/** Smaller tensors stay in the model, as shapes and indices must. */
const SMALLEST_OUTSIDE = 1024;
/** So that runtimes may map tensors into memory. */
const ALIGNMENT = 4096;

/** Stores weights: in the model, or in a file of the given name beside it. */
class Weights {
  readonly pieces: { offset: number; bytes: Uint8Array }[] = [];
  readonly #location: string | undefined;
  #end = 0;

  constructor(location?: string) {
    this.#location = location;
  }

  store(made: TensorProto): TensorProto {
    const bytes = made.rawData;
    if (this.#location === undefined || bytes.length < SMALLEST_OUTSIDE) return made;
    const offset = Math.ceil(this.#end / ALIGNMENT) * ALIGNMENT;
    this.pieces.push({ offset, bytes });
    this.#end = offset + bytes.length;
    const entries = { location: this.#location, offset, length: bytes.length };
    return create(TensorProtoSchema, {
      name: made.name,
      dataType: made.dataType,
      dims: made.dims,
      dataLocation: EXTERNAL,
      externalData: Object.entries(entries).map(([key, value]) => ({ key, value: String(value) })),
    });
  }
}

function bytesOf(array: Float32Array | BigInt64Array | Uint16Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function tensor(
  name: string,
  dtype: "f32" | "f16" | "i64",
  dims: readonly number[],
  data: Float32Array | BigInt64Array | Uint16Array,
): TensorProto {
  return create(TensorProtoSchema, {
    name,
    dataType: codeOf(dtype),
    dims: dims.map(BigInt),
    rawData: bytesOf(data) as Uint8Array<ArrayBuffer>,
  });
}

/** A tensor of real numbers, rounded to the type where that is f16. */
function realTensor(
  name: string,
  dtype: "f32" | "f16",
  dims: readonly number[],
  data: Float32Array,
): TensorProto {
  return tensor(name, dtype, dims, dtype === "f32" ? data : Uint16Array.from(data, toHalf));
}

/** Type and extents of a value; `last` for pictures whose channels are the last axis. */
function valueInfo(
  name: string,
  shape: Shape,
  batch: number | string,
  dtype: DType = "f32",
  last = false,
): ValueInfoProto {
  const extents = last ? [...shape.slice(1), shape[0]] : shape;
  const extent = (dimValue: number) => ({
    value: { case: "dimValue" as const, value: BigInt(dimValue) },
  });
  const images = typeof batch === "number"
    ? extent(batch)
    : { value: { case: "dimParam" as const, value: batch } };
  return create(ValueInfoProtoSchema, {
    name,
    type: {
      value: {
        case: "tensorType",
        value: { elemType: codeOf(dtype), shape: { dim: [images, ...extents.map(extent)] } },
      },
    },
  });
}

function requireWritable(opset: number, batch: number | string): void {
  const valid = Number.isInteger(opset) && opset >= OLDEST_WRITTEN_OPSET && opset <= NEWEST_OPSET;
  if (!valid) {
    throw new SecateurError(
      "option-invalid",
      `Expected an ONNX operator set from ${OLDEST_WRITTEN_OPSET} to ${NEWEST_OPSET}, but it is ` +
        `${opset}; choose one of those.`,
    );
  }
  if (batch === "" || (typeof batch === "number" && !(Number.isInteger(batch) && batch > 0))) {
    throw new SecateurError(
      "option-invalid",
      `Expected a batch of at least 1 image, or a name for an open one, but it is ` +
        `${JSON.stringify(batch)}; choose one.`,
    );
  }
}

/** Bytes that the weights of a graph take. */
export function weightBytes(graph: Graph): number {
  let bytes = 0;
  for (const { shape } of graph.parameters.values()) bytes += 4 * elementCount(shape);
  return bytes;
}

function graphProto(
  graph: Graph,
  { batch = "N", opset = DEFAULT_OPSET, form = {} }: ExportOptions,
  weights: Weights,
): GraphProto {
  const shapes = shapesOf(graph);
  // ONNX has one space of names for values and initializers: parameters give way to values.
  const fresh = valueNames(shapes.keys(), form.tail);
  const around = aroundGraph(graph, form, fresh);
  const type = form.half === true ? "f16" : "f32";
  const renamed = new Map([...graph.parameters.keys()].map((name) => [name, fresh.take(name)]));
  const initializer = [...graph.parameters].map(([name, { shape, data }]) =>
    weights.store(realTensor(renamed.get(name)!, type, shape, data))
  );
  const integers = (wanted: string, values: readonly number[]) => {
    const name = fresh.take(wanted);
    const data = BigInt64Array.from(values.map(BigInt));
    initializer.push(tensor(name, "i64", [values.length], data));
    return name;
  };
  const numbers = (
    wanted: string,
    dims: readonly number[],
    values: readonly number[],
    own: "f32" | "f16" = type,
  ) => {
    const name = fresh.take(wanted);
    initializer.push(realTensor(name, own, dims, Float32Array.from(values)));
    return name;
  };
  const context = {
    opset,
    shapes: around.shapesOf(shapes),
    integers,
    numbers,
    parameter: (name: string) => renamed.get(name)!,
    value: (wanted: string) => fresh.take(wanted),
  };
  const node = around.graph.nodes.flatMap((each) => exportNode(each, context));
  const behind = form.tail && tailProtos(form.tail, graph, fresh);
  const outputs = behind?.outputs.map(({ name }) => name) ?? around.outputs;
  const between = around.graph.nodes.map(({ output }) => output)
    .filter((name) => !outputs.includes(name));
  return create(GraphProtoSchema, {
    name: graph.name,
    node: [...around.before, ...node, ...around.behind, ...behind?.nodes ?? []],
    initializer: [...initializer, ...behind?.initializers ?? []],
    input: [
      valueInfo(graph.input.name, graph.input.shape, batch, form.input, form.inputLast),
      ...behind?.inputs ?? [],
    ],
    output: behind === undefined
      ? graph.outputs.map((name, index) =>
        valueInfo(around.outputs[index], shapes.get(name)!, batch, form.output, form.outputLast)
      )
      : [...behind.outputs],
    valueInfo: between.map((name) => valueInfo(name, context.shapes.get(name)!, batch, type)),
  });
}

/** What lies behind a graph decides for which operators and images its file is. */
function settled(options: ExportOptions): ExportOptions {
  const tail = options.form?.tail;
  if (tail === undefined || tail.nodes.length === 0) return options;
  return { ...options, opset: tail.opset, batch: tail.batch };
}

function encode(graph: Graph, asked: ExportOptions, weights: Weights): Uint8Array {
  const options = settled(asked);
  const { opset = DEFAULT_OPSET, batch = "N", form } = options;
  requireWritable(opset, batch);
  const written = graphProto(graph, options, weights);
  return toBinary(ModelProtoSchema, modelProto(written, opset, form?.tail?.domains, options));
}

/**
 * The tail of a graph's file as a model of its own, from the graph's outputs and, where it reads them,
 * the file's pictures; values keep the names they have in the graph.
 */
export function encodeTail(graph: Graph, form: FileForm & { readonly tail: Tail }): Uint8Array {
  const { tail } = form;
  const shapes = shapesOf(graph);
  const fresh = valueNames(shapes.keys(), tail);
  const { nodes, initializers, inputs, outputs } = tailProtos(tail, graph, fresh);
  const read = new Set([
    ...nodes.flatMap(({ input }) => input),
    ...outputs.map(({ name }) => name),
  ]);
  const type = form.half === true ? "f16" : "f32";
  const ends = graph.outputs.filter((name) => read.has(name))
    .map((name) => valueInfo(name, shapes.get(name)!, tail.batch, type));
  const pictures = read.has(graph.input.name)
    ? [valueInfo(graph.input.name, graph.input.shape, tail.batch, form.input, form.inputLast)]
    : [];
  const proto = create(GraphProtoSchema, {
    name: `${graph.name} behind its body`,
    node: [...nodes],
    initializer: [...initializers],
    input: [...ends, ...pictures, ...inputs],
    output: [...outputs],
  });
  return toBinary(ModelProtoSchema, modelProto(proto, tail.opset, tail.domains));
}

/** A model of a graph; `metadata` is stored beside it. */
function modelProto(
  graph: GraphProto,
  opset: number,
  domains: ReadonlyMap<string, number> = new Map(),
  { version = "", metadata = {} }: ExportOptions = {},
): ModelProto {
  return create(ModelProtoSchema, {
    irVersion: BigInt(irVersionOf(opset)),
    producerName: "secateur",
    producerVersion: version,
    opsetImport: [
      { domain: "", version: BigInt(opset) },
      ...[...domains].map(([domain, version]) => ({ domain, version: BigInt(version) })),
    ],
    graph,
    metadataProps: Object.entries(metadata).map(([key, value]) => ({ key, value })),
  });
}

/**
 * The bytes of a graph as an ONNX model: layers, values and parameters keep their names, batch norm
 * stays. Equal input gives equal bytes.
 * @throws SecateurError `option-invalid` for an operator set or batch that cannot be,
 * `graph-unsupported` for more than 2 GiB of weights, `graph-invalid` when layers do not fit.
 */
export function encodeOnnx(graph: Graph, options: ExportOptions = {}): Uint8Array {
  const bytes = weightBytes(graph);
  if (bytes > LARGEST_INSIDE) {
    throw new SecateurError(
      "graph-unsupported",
      `Expected a model of less than 2 GiB, which is what one ONNX file can hold, but the weights ` +
        `of ${graph.name} take ${bytes} bytes; write them into a file beside it.`,
    );
  }
  return encode(graph, options, new Weights());
}

/**
 * As encodeOnnx, with the weights in a file of the name `location` beside the model, of any size.
 * @throws SecateurError as encodeOnnx, but for the size.
 */
export function encodeOnnxBeside(
  graph: Graph,
  location: string,
  options: ExportOptions = {},
): { readonly model: Uint8Array; readonly data: DataFile } {
  const weights = new Weights(location);
  const model = encode(graph, options, weights);
  return { model, data: { location, pieces: weights.pieces } };
}
