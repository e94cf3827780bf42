/** Damage to ONNX models that stay protocol buffers: shapes, attributes, operators, connections. */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { folds } from "../../../src/formats/onnx/fold/fold.ts";
import { IMPORTED_OPERATORS } from "../../../src/formats/onnx/import/operators/table.ts";
import {
  type AttributeProto,
  AttributeProtoSchema,
  type GraphProto,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProtoSchema,
  type ValueInfoProto,
} from "../../../src/formats/onnx/proto/onnx_pb.ts";
import type { RandomStream } from "../../../src/random.ts";
import { changeBytes, edge, pick, someInteger } from "./byte_changes.ts";
import { changeWire } from "./wire_changes.ts";

/** Operators that fold, those that import, and some that nothing here knows. */
const OPERATORS = [
  ...IMPORTED_OPERATORS,
  ...[
    ..."Abs And Ceil Constant ConstantOfShape Div Equal Expand Floor Greater Less Max Min".split(
      " ",
    ),
    ..."Neg Not Or Pow Range Size Sqrt Sub Where Tile Loop If Scan NonZero TopK".split(" "),
  ],
];

const FOLDED = OPERATORS.filter(folds);

const ATTRIBUTES: readonly (readonly [name: string, type: number])[] = [
  ["axis", 2],
  ["group", 2],
  ["keepdims", 2],
  ["ceil_mode", 2],
  ["allowzero", 2],
  ["transB", 2],
  ["to", 2],
  ["start", 2],
  ["end", 2],
  ["size", 2],
  ["count_include_pad", 2],
  ["value_int", 2],
  ["training_mode", 2],
  ["kernel_shape", 7],
  ["strides", 7],
  ["dilations", 7],
  ["pads", 7],
  ["output_padding", 7],
  ["output_shape", 7],
  ["perm", 7],
  ["axes", 7],
  ["split", 7],
  ["starts", 7],
  ["ends", 7],
  ["value_ints", 7],
  ["alpha", 1],
  ["beta", 1],
  ["bias", 1],
  ["epsilon", 1],
  ["momentum", 1],
  ["value_float", 1],
  ["value_floats", 6],
  ["auto_pad", 3],
  ["mode", 3],
  ["coordinate_transformation_mode", 3],
  ["value", 4],
];

const WORDS = [
  ...["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET", "linear", "nearest", "cubic", "reflect"],
  ...["half_pixel", "align_corners", "asymmetric", "tanh", "stretch", "", "\u{1f600}".repeat(99)],
];

const FLOATS = [0, -0, 1, -1, 0.5, 1e-45, 1e38, Infinity, -Infinity, NaN];

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

function someInts(random: RandomStream, most = 6): bigint[] {
  return Array.from({ length: random.integer(most) }, () => someInteger(random));
}

const BYTES_OF: Readonly<Record<number, number>> = { 1: 4, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 2: 1 };

/** A tensor whose data fits its shape, of integers most of the time. */
function someTensor(random: RandomStream, name: string): TensorProto {
  const dims = Array.from({ length: random.integer(4) }, () => BigInt(random.integer(5)));
  const count = Number(dims.reduce((product, extent) => product * extent, 1n));
  if (random.integer(2) === 0) {
    const values = BigInt64Array.from({ length: count }, () => {
      return BigInt.asIntN(64, someInteger(random));
    });
    const rawData = new Uint8Array(values.buffer);
    return create(TensorProtoSchema, { name, dims, dataType: 7, rawData });
  }
  const dataType = Number(pick(Object.keys(BYTES_OF), random));
  const rawData = new Uint8Array(count * BYTES_OF[dataType]).map(() => random.integer(256));
  return create(TensorProtoSchema, { name, dims, dataType, rawData });
}

function someAttribute(random: RandomStream): AttributeProto {
  const [name, type] = pick(ATTRIBUTES, random);
  return create(AttributeProtoSchema, {
    name,
    type,
    i: someInteger(random),
    f: pick(FLOATS, random),
    ints: someInts(random),
    floats: Array.from({ length: random.integer(4) }, () => pick(FLOATS, random)),
    s: text(pick(WORDS, random)),
    ...(type === 4 ? { t: someTensor(random, "") } : {}),
  });
}

/** Names of all values, and one that is none. */
function namesOf({ node, initializer, input }: GraphProto): string[] {
  const given = [...initializer, ...input].map(({ name }) => name);
  return [...given, ...node.flatMap(({ output }) => output), "absent", ""];
}

function changeAttribute(attribute: AttributeProto, random: RandomStream): void {
  const { ints } = attribute;
  switch (random.integer(9)) {
    case 0:
      attribute.type = random.integer(15);
      break;
    case 1:
      attribute.name = pick(ATTRIBUTES, random)[0];
      break;
    case 2:
      attribute.f = pick(FLOATS, random);
      break;
    case 3:
      attribute.s = text(pick(WORDS, random));
      break;
    case 4:
      attribute.ints = random.integer(2) === 0 ? someInts(random) : [...ints, ...ints];
      break;
    case 5:
      if (attribute.t !== undefined) changeTensor(attribute.t, random);
      break;
    default:
      attribute.i = someInteger(random);
      if (ints.length > 0) ints[random.integer(ints.length)] = someInteger(random);
  }
}

function changeTensor(tensor: TensorProto, random: RandomStream): void {
  const { dims } = tensor;
  switch (random.integer(10)) {
    case 0:
      tensor.dataType = random.integer(20);
      break;
    case 1:
      dims.push(pick([1n, 0n, edge(random)], random));
      break;
    case 2:
      dims.reverse();
      break;
    case 3:
      // Nothing, however large it is along the other axes.
      tensor.dims = dims.map(() => edge(random));
      tensor.dims[random.integer(Math.max(1, dims.length))] = 0n;
      tensor.rawData = new Uint8Array(0);
      tensor.floatData = [];
      break;
    case 4:
      tensor.rawData = changeBytes(tensor.rawData, random, tensor.rawData);
      break;
    case 5: {
      const { name } = tensor;
      Object.assign(tensor, someTensor(random, name));
      break;
    }
    case 6:
      tensor.dataLocation = random.integer(3);
      tensor.externalData.push(
        create(ModelProtoSchema, { metadataProps: [{ key: "location", value: "../x" }] })
          .metadataProps[0],
      );
      break;
    case 7: {
      // Shape arithmetic with other numbers.
      const view = new DataView(tensor.rawData.slice().buffer);
      if (tensor.dataType !== 7 || view.byteLength < 8) break;
      view.setBigInt64(8 * random.integer(view.byteLength >> 3), someInteger(random), true);
      tensor.rawData = new Uint8Array(view.buffer);
      break;
    }
    default:
      if (dims.length > 0) dims[random.integer(dims.length)] = someInteger(random);
  }
}

function changeNode(node: NodeProto, graph: GraphProto, random: RandomStream): void {
  const { input, output, attribute } = node;
  switch (random.integer(11)) {
    case 0:
    case 1:
      node.opType = pick(OPERATORS, random);
      break;
    case 2:
      attribute.push(someAttribute(random));
      break;
    case 3:
    case 4:
      if (attribute.length > 0) changeAttribute(pick(attribute, random), random);
      break;
    case 5:
      attribute.splice(random.integer(attribute.length + 1), 1);
      break;
    case 6:
      input.splice(
        random.integer(input.length + 1),
        random.integer(2),
        pick(namesOf(graph), random),
      );
      break;
    case 7:
      input.reverse();
      break;
    case 8:
      input.splice(random.integer(input.length + 1), 1);
      break;
    case 9:
      output.splice(
        random.integer(output.length + 1),
        random.integer(2),
        `new${random.integer(9)}`,
      );
      break;
    default:
      node.domain = pick(["", "ai.onnx", "com.microsoft"], random);
  }
}

/** A node that computes something, its inputs what there is, read in place of something else. */
function insertNode(graph: GraphProto, random: RandomStream): void {
  const names = namesOf(graph);
  const name = `inserted${graph.node.length}`;
  const constants = graph.initializer.map((tensor) => tensor.name);
  const opType = pick(random.integer(2) === 0 ? FOLDED : OPERATORS, random);
  const from = constants.length > 0 && random.integer(3) > 0 ? constants : names;
  const reader = graph.node.length > 0 ? pick(graph.node, random) : undefined;
  graph.node.unshift(create(NodeProtoSchema, {
    name,
    opType,
    input: Array.from({ length: random.integer(4) }, () => pick(from, random)),
    output: random.integer(8) === 0 ? [name, `${name}.2`] : [name],
    attribute: Array.from({ length: random.integer(3) }, () => someAttribute(random)),
  }));
  if (reader !== undefined && reader.input.length > 0) {
    reader.input[random.integer(reader.input.length)] = name;
  }
}

function changeInfo({ type }: ValueInfoProto, random: RandomStream): void {
  if (type?.value.case !== "tensorType") return;
  const tensor = type.value.value;
  const dim = tensor.shape?.dim ?? [];
  switch (random.integer(5)) {
    case 0:
      tensor.elemType = random.integer(18);
      break;
    case 1:
      dim.splice(random.integer(dim.length + 1), 1);
      break;
    case 2:
      if (dim.length > 0) pick(dim, random).value = { case: "dimParam", value: "size" };
      break;
    default:
      if (dim.length === 0) break;
      pick(dim, random).value = { case: "dimValue", value: BigInt.asIntN(64, someInteger(random)) };
  }
}

function changeGraph(graph: GraphProto, random: RandomStream): void {
  const { node, initializer } = graph;
  const duplicate = <T>(items: T[]) => {
    if (items.length > 0) items.splice(random.integer(items.length), 0, pick(items, random));
  };
  switch (random.integer(16)) {
    case 0:
      return duplicate(node);
    case 1:
      return void node.splice(random.integer(node.length + 1), 1);
    case 2:
      return void node.reverse();
    case 3:
      return duplicate(initializer);
    case 4:
      return void initializer.splice(random.integer(initializer.length + 1), 1);
    case 5:
      return void initializer.push(someTensor(random, `tensor${initializer.length}`));
    case 6:
      if (graph.input.length > 0) changeInfo(pick(graph.input, random), random);
      return;
    case 7:
      if (graph.output.length > 0) pick(graph.output, random).name = pick(namesOf(graph), random);
      return;
    case 8:
    case 9:
      return insertNode(graph, random);
    case 10:
    case 11:
    case 12:
      if (initializer.length > 0) changeTensor(pick(initializer, random), random);
      return;
    default:
      if (node.length > 0) changeNode(pick(node, random), graph, random);
  }
}

function changeModel(model: ModelProto, random: RandomStream): void {
  if (random.integer(12) === 0 && model.opsetImport.length > 0) {
    model.opsetImport[0].version = BigInt(8 + random.integer(22));
  }
  if (model.graph !== undefined) changeGraph(model.graph, random);
}

/** A damaged copy of an ONNX model that is whole. */
export function changeOnnx(bytes: Uint8Array, random: RandomStream, other: Uint8Array): Uint8Array {
  const kind = random.integer(8);
  if (kind === 0) return changeBytes(bytes, random, other);
  if (kind < 3) return changeWire(bytes, random, ModelProtoSchema);
  const model = fromBinary(ModelProtoSchema, bytes);
  for (let k = random.integer(4); k >= 0; k--) changeModel(model, random);
  const changed = toBinary(ModelProtoSchema, model);
  return kind === 3 ? changeBytes(changed, random, other) : changed;
}
