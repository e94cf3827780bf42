/**
 * The node tests of the ONNX project: one operator each, with inputs and expected outputs. Each is
 * tried in two ways: folded, all its inputs constant; and as a layer of a graph, its data computed,
 * in the f64 oracle and in native code.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { create, fromBinary } from "@bufbuild/protobuf";
import { SecateurError } from "../../../src/errors.ts";
import { emptyArray, type HostArray, Refusal } from "../../../src/formats/onnx/read/array.ts";
import { Attributes } from "../../../src/formats/onnx/read/attributes.ts";
import { fold, folds } from "../../../src/formats/onnx/fold/fold.ts";
import { allocator } from "../../../src/formats/onnx/fold/folding.ts";
import { importModel } from "../../../src/formats/onnx/import/import.ts";
import { IMPORTED_OPERATORS } from "../../../src/formats/onnx/import/operators/table.ts";
import {
  GraphProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  TensorProtoSchema,
} from "../../../src/formats/onnx/proto/onnx_pb.ts";
import { modelOf } from "../../../src/formats/onnx/read/reader.ts";
import { arrayOf } from "../../../src/formats/onnx/read/tensor.ts";
import type { Graph } from "../../../src/graph/graph.ts";
import { elementCount } from "../../../src/tensor.ts";
import { runNativeOutputs } from "../native_graph.ts";
import { runOracle } from "./files.ts";

/** What one test came to. */
export interface NodeTestResult {
  readonly name: string;
  readonly op: string;
  /** Ways in which it ran. */
  readonly ran: readonly ("folded" | "layer")[];
  /** Why it did not run as a layer, and did not fold. */
  readonly skipped?: string;
  /** Ways in which it ran and gave something else. */
  readonly wrong: readonly string[];
}

/** The tolerance of ONNX's own runner. */
const RELATIVE = 1e-3;
const ABSOLUTE = 1e-7;

interface NodeTest {
  readonly name: string;
  readonly model: ModelProto;
  readonly inputs: readonly HostArray[];
  readonly outputs: readonly HostArray[];
}

function agrees(actual: ArrayLike<number>, expected: ArrayLike<number>): boolean {
  if (actual.length !== expected.length) return false;
  return Array.prototype.every.call(expected, (value: number, i: number) => {
    return Object.is(actual[i], value) ||
      Math.abs(actual[i] - value) <= ABSOLUTE + RELATIVE * Math.abs(value);
  });
}

function readTest(folder: string, name: string): NodeTest {
  const model = fromBinary(ModelProtoSchema, readFileSync(join(folder, name, "model.onnx")));
  const data = join(folder, name, "test_data_set_0");
  const arrays = (kind: string) => {
    const found: HostArray[] = [];
    for (let i = 0; existsSync(join(data, `${kind}_${i}.pb`)); i++) {
      const tensor = fromBinary(TensorProtoSchema, readFileSync(join(data, `${kind}_${i}.pb`)));
      found.push(arrayOf(tensor, name));
    }
    return found;
  };
  return { name, model, inputs: arrays("input"), outputs: arrays("output") };
}

function opsetOf(model: ModelProto): number {
  return Number(model.opsetImport.find(({ domain }) => domain === "")!.version);
}

/** The test's inputs by the names that its node reads. */
function namedInputs({ model, inputs }: NodeTest): Map<string, HostArray> {
  return new Map(model.graph!.input.map(({ name }, index) => [name, inputs[index]]));
}

function runFolded(test: NodeTest): HostArray[] {
  const [node] = test.model.graph!.node;
  const given = namedInputs(test);
  return fold({
    node: {
      name: node.name,
      op: node.opType,
      inputs: node.input,
      outputs: node.output,
      attributes: new Attributes(node.attribute),
      proto: node,
    },
    inputs: node.input.map((name) => given.get(name)!),
    opset: opsetOf(test.model),
    ...allocator(2 ** 20),
    decode: (tensor) => arrayOf(tensor, test.name),
  });
}

/** Operators to which the axes mean nothing, so that any tensor can be viewed as pictures. */
const ELEMENTWISE = new Set([
  ...["Add", "Dropout", "Identity", "Mul", "Relu", "Sum"],
  ...["Clip", "Elu", "Gelu", "HardSigmoid", "LeakyRelu", "Sigmoid", "Tanh"],
]);
/** Those whose inputs are all data. */
const SUMS = new Set(["Add", "Mul", "Sum"]);

function viewed(op: string, { shape, data, dtype }: HostArray): HostArray {
  if (!ELEMENTWISE.has(op)) return { shape, data, dtype };
  const view = shape.length === 1
    ? [1, ...shape, 1, 1]
    : shape.length === 3
    ? [...shape, 1]
    : shape;
  return { shape: view, data, dtype };
}

/** Values of one batch side by side along the channels. */
function stacked(arrays: readonly HostArray[]): HostArray {
  const [{ dtype, shape: [images, channels, ...area] }] = arrays;
  const out = emptyArray(dtype, [images, channels * arrays.length, ...area]);
  const size = channels * elementCount(area);
  arrays.forEach(({ data }, part) => {
    for (let n = 0; n < images; n++) {
      const image = data.subarray(n * size, (n + 1) * size);
      out.data.set(image, (n * arrays.length + part) * size);
    }
  });
  return out;
}

/** A model whose one input holds the data of all of a sum's, taken apart again. */
function sumModel(model: ModelProto, channels: number): ModelProto {
  const graph = model.graph!;
  const names = graph.input.map(({ name }) => name);
  const vector = (name: string, values: readonly number[]) => ({
    name: "value_ints",
    type: 7,
    ints: values.map(BigInt),
    output: name,
  });
  const constants = [
    vector("axis", [1]),
    ...names.flatMap((name, part) => [
      vector(`${name}/from`, [part * channels]),
      vector(`${name}/to`, [(part + 1) * channels]),
    ]),
  ];
  const nodes = [
    ...constants.map(({ output, ...attribute }) => ({
      opType: "Constant",
      output: [output],
      attribute: [attribute],
    })),
    ...names.map((name) => ({
      opType: "Slice",
      input: ["stacked", `${name}/from`, `${name}/to`, "axis"],
      output: [name],
    })),
  ];
  const made = create(GraphProtoSchema, { node: nodes });
  const [input] = graph.input;
  return {
    ...model,
    graph: {
      ...graph,
      node: [...made.node, ...graph.node],
      input: [{ ...input, name: "stacked" }],
    },
  };
}

/** Those that leave no layer behind. */
const NOTHING = new Set(["Dropout", "Identity", "Sum"]);

/** The same model with a convolution behind it that copies channels. */
function copied(model: ModelProto): ModelProto {
  const graph = model.graph!;
  const [output] = graph.output;
  const made = create(GraphProtoSchema, {
    node: [{ opType: "Conv", input: [output.name, "copy"], output: ["copied"] }],
  });
  return {
    ...model,
    graph: {
      ...graph,
      node: [...graph.node, ...made.node],
      input: [...graph.input, ...create(GraphProtoSchema, { input: [{ name: "copy" }] }).input],
      output: [{ ...output, name: "copied" }, ...graph.output.slice(1)],
    },
  };
}

function identity(channels: number): HostArray {
  const weights = emptyArray("f32", [channels, channels, 1, 1]);
  for (let c = 0; c < channels; c++) weights.data[c * channels + c] = 1;
  return weights;
}

interface Layer {
  readonly graph: Graph;
  readonly data: HostArray;
}

/** The test as a graph of its data input; the others are constants. Throws what import throws. */
function layerOf(test: NodeTest): Layer {
  const { opType } = test.model.graph!.node[0];
  const arrays = test.inputs.map((array) => viewed(opType, array));
  const sums = SUMS.has(opType) && arrays.length > 1 &&
    arrays.every(({ shape }) => shape.join() === arrays[0].shape.join());
  const data = sums ? stacked(arrays) : arrays[0];
  if (data === undefined) throw new Refusal("has no inputs");
  const taken = sums ? sumModel(test.model, arrays[0].shape[1]) : test.model;
  const nothing = NOTHING.has(opType) && !sums;
  const model = nothing ? copied(taken) : taken;
  const [input, ...others] = model.graph!.input;
  const type = input.type!.value;
  if (type.case === "tensorType") {
    const dim = data.shape.map((extent) => ({
      value: { case: "dimValue" as const, value: BigInt(extent) },
    }));
    type.value.shape = create(GraphProtoSchema, {
      input: [{ type: { value: { case: "tensorType", value: { shape: { dim } } } } }],
    }).input.map(({ type }) => type!.value)
      .flatMap((value) => value.case === "tensorType" ? value.value.shape! : [])[0];
  }
  const constants = new Map(others.map(({ name }, index) => [name, arrays[index + 1]]));
  if (nothing) constants.set("copy", identity(data.shape[1]));
  const { graph, notes: { behind } } = importModel(modelOf(model, test.name), { constants });
  if (behind !== undefined) throw new Refusal("has nodes behind what is read of it");
  return { graph, data };
}

/** The images of a batch. */
function imagesOf({ shape, data }: HostArray): Float64Array[] {
  const size = data.length / shape[0];
  return Array.from(
    { length: shape[0] },
    (_, n) => Float64Array.from(data.subarray(n * size, (n + 1) * size)),
  );
}

/** A refusal as a reason, without the names that differ from test to test. */
function reasonOf(thrown: unknown): string {
  if (thrown instanceof Refusal) return thrown.message;
  if (!(thrown instanceof SecateurError)) throw thrown;
  const clause = thrown.message.match(/supported: .*?\((.*)\); export/)?.[1];
  return clause ?? thrown.message.replace(/^[^:]*: /, "");
}

async function runTest(test: NodeTest): Promise<NodeTestResult> {
  const { name, outputs } = test;
  const op = test.model.graph!.node[0].opType;
  const ran: ("folded" | "layer")[] = [];
  const wrong: string[] = [];
  let skipped: string | undefined;
  if (folds(op)) {
    try {
      const folded = runFolded(test);
      ran.push("folded");
      const same = outputs.every(({ shape, data }, index) =>
        folded[index].shape.join() === shape.join() && agrees(folded[index].data, data)
      );
      if (!same) wrong.push("folded");
    } catch (thrown) {
      skipped = reasonOf(thrown);
    }
  }
  if (IMPORTED_OPERATORS.includes(op)) {
    try {
      const { graph, data } = layerOf(test);
      ran.push("layer");
      const images = imagesOf(data);
      if (!agrees(runOracle(graph, images), outputs[0].data)) wrong.push("oracle");
      const native = await runNativeOutputs(graph, images);
      const same = graph.outputs.every((output, index) =>
        agrees(native.get(output)!, outputs[index].data)
      );
      if (!same) wrong.push("native");
    } catch (thrown) {
      skipped ??= reasonOf(thrown);
    }
  } else {
    skipped ??= `the operator ${op}`;
  }
  return { name, op, ran, wrong, ...(ran.length > 0 ? {} : { skipped: skipped! }) };
}

/** Runs all node tests of a folder. */
export async function runNodeTests(folder: string): Promise<NodeTestResult[]> {
  const results: NodeTestResult[] = [];
  for (const name of readdirSync(folder).filter((each) => each.startsWith("test_")).sort()) {
    try {
      results.push(await runTest(readTest(folder, name)));
    } catch (thrown) {
      // Tests of strings or sequences cannot even be read.
      results.push({ name, op: "?", ran: [], wrong: [], skipped: reasonOf(thrown) });
    }
  }
  return results;
}
