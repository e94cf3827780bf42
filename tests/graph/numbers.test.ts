// Numbers of layers that are none, or that divide by nothing: refused by the layer's name where the
// graph comes from, not at the end of a run when it is written.

import { create, toBinary } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { encodeModel, parseModel } from "../../src/formats/model_file.ts";
import { ModelProtoSchema } from "../../src/formats/onnx/proto/onnx_pb.ts";
import { parseOnnx } from "../../src/formats/onnx/read/read.ts";
import type { Graph, Node } from "../../src/graph/graph.ts";
import { shapesOf } from "../../src/graph/shapes.ts";
import { GraphBuilder } from "../../src/models/builder.ts";

/** One layer of each kind that has numbers. */
function numbered(): Graph {
  const builder = new GraphBuilder("numbered", [4, 3, 3], 1);
  let value = builder.batchNorm("batch", builder.input);
  value = builder.layerNorm("layer", value, 1e-3);
  value = builder.localResponseNorm("response", value, { size: 3, alpha: 1, beta: 0.5, bias: 1 });
  value = builder.activation("clip", value, "clip", { alpha: 0, beta: 6 });
  return builder.finish(builder.flatten("flatten", value));
}

const changed = (name: string, numbers: Readonly<Record<string, number>>): Graph => {
  const graph = numbered();
  const nodes = graph.nodes.map((node) => node.name === name ? { ...node, ...numbers } : node);
  return { ...graph, nodes: nodes as Node[] };
};

const REFUSED: readonly (readonly [layer: string, numbers: Record<string, number>])[] = [
  ["batch", { epsilon: NaN }],
  ["batch", { epsilon: -Infinity }],
  ["batch", { epsilon: 0 }],
  ["batch", { epsilon: -1e-5 }],
  ["batch", { momentum: NaN }],
  ["batch", { momentum: 1.5 }],
  ["layer", { epsilon: 0 }],
  ["layer", { epsilon: Infinity }],
  ["response", { alpha: NaN }],
  ["response", { beta: Infinity }],
  ["response", { size: 2.5 }],
  ["clip", { alpha: NaN }],
  ["clip", { beta: Infinity }],
];

/** Clip with the bounds that some exporters write for having none. */
function clippedModel(): Uint8Array {
  const shape = {
    dim: [1, 4].map((extent) => ({ value: { case: "dimValue" as const, value: BigInt(extent) } })),
  };
  const type = { value: { case: "tensorType" as const, value: { elemType: 1, shape } } };
  const bound = (name: string, value: number) => ({
    name,
    dataType: 1,
    rawData: new Uint8Array(Float32Array.of(value).buffer),
  });
  return toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, {
      irVersion: 8n,
      opsetImport: [{ version: 17n }],
      graph: {
        node: [{ opType: "Clip", name: "clip", input: ["x", "low", "high"], output: ["y"] }],
        initializer: [bound("low", -2), bound("high", Infinity)],
        input: [{ name: "x", type }],
        output: [{ name: "y", type }],
      },
    }),
  );
}

describe("numbers of layers", () => {
  it("are as they should be to start with", () => {
    expect(shapesOf(numbered()).get("flatten")).toEqual([36]);
  });

  it.each(REFUSED)("are refused: %s of %o", (layer, numbers) => {
    expect(() => shapesOf(changed(layer, numbers))).toThrow(
      new RegExp(`^${layer} \\(.* of numbered`),
    );
  });

  it("may be infinite where that means none", () => {
    const { graph } = parseOnnx(clippedModel(), "x.onnx");
    expect(graph.nodes).toMatchObject([{ op: "activation", kind: "clip", alpha: -2 }]);
    expect("beta" in graph.nodes[0]).toBe(false);
    expect(parseModel(encodeModel(graph, "x"), "x")?.nodes).toEqual(graph.nodes);
  });
});
