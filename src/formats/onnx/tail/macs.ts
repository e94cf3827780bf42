/** What a tail costs: its operators are not known here, but onnxruntime knows the shapes they make. */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { Graph } from "../../../graph/graph.ts";
import { elementCount } from "../../../tensor.ts";
import { encodeOnnx } from "../export/export.ts";
import type { FileForm } from "../file_form.ts";
import { ModelProtoSchema, type NodeProto, ValueInfoProtoSchema } from "../proto/onnx_pb.ts";
import { fileInput, runModel, type RuntimeOutput } from "../runtime.ts";

/** Where each operator has the value whose elements count, and how many products each takes. */
type Products = (
  node: NodeProto,
  shapeOf: (name: string) => readonly number[] | undefined,
) => number;

const size = (shape: readonly number[] | undefined): number =>
  shape === undefined ? 0 : elementCount(shape);

/** Elements of a convolution's weight for one channel of its first axis. */
function perChannel(shape: readonly number[] | undefined): number {
  return shape === undefined ? 0 : elementCount(shape.slice(1));
}

const OPERATORS: ReadonlyMap<string, Products> = new Map<string, Products>([
  ["Conv", ({ input, output }, of) => size(of(output[0])) * perChannel(of(input[1]))],
  ["ConvTranspose", ({ input }, of) => size(of(input[0])) * perChannel(of(input[1]))],
  ["MatMul", ({ input, output }, of) => size(of(output[0])) * (of(input[0])?.at(-1) ?? 0)],
  ["Gemm", ({ input, output, attribute }, of) => {
    const turned = attribute.find(({ name }) => name === "transA")?.i === 1n;
    return size(of(output[0])) * (of(input[0])?.at(turned ? 0 : 1) ?? 0);
  }],
]);

/**
 * Multiply-accumulates of one image in a tail's convolutions, matrix products and linear layers. Throws
 * what runModel throws where there are any.
 */
export async function tailMacs(graph: Graph, form: FileForm): Promise<number> {
  const weighted = (form.tail?.nodes ?? []).filter(({ opType }) => OPERATORS.has(opType));
  if (weighted.length === 0) return 0;
  const model = fromBinary(ModelProtoSchema, encodeOnnx(graph, { form }));
  const file = model.graph!;
  const nodes = file.node.slice(-form.tail!.nodes.length)
    .filter(({ opType }) => OPERATORS.has(opType));
  const constant = new Map(file.initializer.map(({ name, dims }) => [name, dims.map(Number)]));
  const known = new Set([...constant.keys(), ...file.input.map(({ name }) => name)]);
  const shown = new Set(file.output.map(({ name }) => name));
  for (const { input, output } of nodes) {
    for (const name of [...input, output[0]]) {
      if (name === "" || known.has(name) || shown.has(name)) continue;
      shown.add(name);
      file.output.push(create(ValueInfoProtoSchema, { name }));
    }
  }
  const images = typeof form.tail!.batch === "number" ? form.tail!.batch : 1;
  const pictures = new Float32Array(images * elementCount(graph.input.shape));
  const results: ReadonlyMap<string, RuntimeOutput> = await runModel(
    toBinary(ModelProtoSchema, model),
    fileInput(pictures, graph.input.shape, form),
  );
  const shapeOf = (name: string) => constant.get(name) ?? results.get(name)?.dims;
  const products = nodes.map((node) => OPERATORS.get(node.opType)!(node, shapeOf));
  return products.reduce((sum, each) => sum + each, 0) / images;
}
