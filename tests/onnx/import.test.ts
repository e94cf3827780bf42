/** ONNX files become graphs that compute what onnxruntime computes of the same files. */

import { describe, expect, it } from "vitest";
import type { SecateurError } from "../../src/errors.ts";
import { type Imported, type ImportOptions } from "../../src/formats/onnx/import/import.ts";
import { readOnnx } from "../../src/formats/onnx/read/read.ts";
import type { Node } from "../../src/graph/graph.ts";
import { RandomStream } from "../../src/random.ts";
import { randomImages } from "../support/interpreted.ts";
import { largestDifference, onnxFixture, runOnnx, runOracle } from "../support/onnx/files.ts";

function read(name: string, options: ImportOptions = {}): Promise<Imported> {
  return readOnnx(onnxFixture(`${name}.onnx`), options);
}

async function difference(name: string, options: ImportOptions = {}): Promise<number> {
  const { graph } = await read(name, options);
  const images = randomImages(graph, 2, new RandomStream(3, name));
  const expected = await runOnnx(onnxFixture(`${name}.onnx`), images, graph.input.shape);
  return largestDifference(runOracle(graph, images), expected);
}

/** Fixtures with the layers they must become. */
const IMPORTS: readonly (readonly [string, readonly Node["op"][]])[] = [
  ["conv_same_upper", ["convolution"]],
  ["conv_same_lower", ["convolution"]],
  ["conv_valid", ["convolution"]],
  ["conv_groups", ["convolution"]],
  ["conv_add_bias", ["convolution"]],
  ["conv_half_weights", ["convolution"]],
  ["conv_typed_data", ["convolution"]],
  ["gemm_plain", ["linear"]],
  ["gemm_scaled", ["linear"]],
  ["gemm_scalar_bias", ["linear"]],
  ["matmul_bias", ["linear"]],
  ["matmul_alone", ["linear"]],
  ["shared_weights", ["linear", "linear", "linear", "add"]],
  ["batch_norm_opset9", ["batch_norm"]],
  ["batch_norm_opset17", ["batch_norm"]],
  ["nothing_to_do", ["relu"]],
  ["sum_of_three", ["relu", "add", "add"]],
  ["max_pool_ceil", ["max_pool"]],
  ["average_pool_counted0", ["average_pool"]],
  ["average_pool_counted1", ["average_pool"]],
  ["average_pool_ceil", ["average_pool"]],
  ["reduce_mean_opset13", ["global_average_pool", "flatten"]],
  ["reduce_mean_opset18", ["global_average_pool", "flatten"]],
  ["pad_opset9", ["pad"]],
  ["pad_everything", ["channel_map", "slice", "pad"]],
  ["pad_axes", ["channel_map", "pad"]],
  ["slice_opset9", ["slice"]],
  ["slice_everything", ["channel_map", "slice"]],
  ["slices_in_a_row", ["slice"]],
  ["gather_channels", ["channel_map"]],
  ["reshape_batch", ["flatten"]],
  ["reshape_product", ["flatten"]],
  ["where_equal_range", ["channel_map"]],
  ["unsorted_fixed_batch", ["relu", "flatten", "linear"]],
  ["initializers_as_inputs", ["convolution", "relu"]],
  ["external", ["convolution", "relu"]],
];

describe("ONNX import", () => {
  it.each(IMPORTS)("%s computes what onnxruntime computes", async (name, layers) => {
    const { graph } = await read(name);
    expect(graph.nodes.map(({ op }) => op)).toEqual(layers);
    expect(await difference(name)).toBeLessThan(1e-5);
  });

  it("keeps names, and shares what is shared", async () => {
    const { graph } = await read("shared_weights");
    expect([...graph.parameters.keys()]).toEqual(["w", "w.2"]);
    const { parameters: [[, w], [, transposed]] } = { parameters: [...graph.parameters] };
    expect(transposed.data[1]).toBe(w.data[6]);
    expect(graph.nodes.map(({ name }) => name)).toEqual(["Gemm_a", "Gemm_b", "Gemm_c", "Add_y"]);
    expect([graph.input.name, graph.outputs[0], graph.name]).toEqual(["x", "y", "small"]);
  });

  it("reads momentum as the weight of the new statistic, and epsilon as people write it", async () => {
    const { graph } = await read("batch_norm_opset17");
    expect(graph.nodes[0]).toMatchObject({ momentum: 0.01, epsilon: 0.001 });
  });

  it("leaves a final softmax out and says so", async () => {
    const { graph, notes } = await read("softmax_end");
    expect(graph.nodes.map(({ op }) => op)).toEqual(["linear"]);
    expect(graph.outputs[0]).toBe("logits");
    expect(notes.form.activation).toEqual({ node: "Softmax_y", op: "Softmax", output: "y" });
  });

  it("notes what the file says beside its graph", async () => {
    const { notes } = await read("external");
    expect(notes).toMatchObject({ opset: 17, irVersion: 8, producer: "make.py", batch: "N" });
    expect([...notes.metadata]).toEqual([["labels", "a,b"]]);
    expect((await read("unsorted_fixed_batch")).notes.batch).toBe(2);
  });

  it("takes the size of pictures that a model leaves open", async () => {
    const { graph } = await read("open_size", { shape: [3, 5, 9] });
    expect(graph.input.shape).toEqual([3, 5, 9]);
    expect(await difference("open_size", { shape: [3, 5, 9] })).toBeLessThan(1e-5);
    await expect(read("open_size")).rejects.toMatchObject({ code: "graph-unsupported" });
  });

  it("lists every node it cannot import, and only those, at once", async () => {
    const refusal = await read("unsupported").catch((thrown: SecateurError) => thrown);
    expect(refusal).toMatchObject({ code: "graph-unsupported" });
    const { message } = refusal as SecateurError;
    expect(message).toContain("3 are not supported: ");
    for (const each of [`"gate" (Hardmax)`, `"scale" (Pow)`, `"last" (Sinh)`]) {
      expect(message).toContain(each);
    }
    expect(message).not.toContain("Erf");
    expect(message).not.toContain("Conv");
  });
});
