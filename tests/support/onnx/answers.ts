/** What is made of an ONNX file, held to what onnxruntime makes of it. */

import { expect } from "vitest";
import { encodeOnnx } from "../../../src/formats/onnx/export/export.ts";
import { parseOnnx } from "../../../src/formats/onnx/read/read.ts";
import type { Graph, Node } from "../../../src/graph/graph.ts";
import { RandomStream } from "../../../src/random.ts";
import { randomImages } from "../interpreted.ts";
import { runNative } from "../native_graph.ts";
import { largestDifference, runOnnx, runOracle } from "./files.ts";

/**
 * The file's graph computes what the file does, in the oracle, in native code and in onnxruntime once
 * it is written again, and reads back as itself.
 */
export async function expectSameAnswers(bytes: Uint8Array, count = 2): Promise<void> {
  const { graph } = parseOnnx(bytes, "x.onnx");
  const images = randomImages(graph, count, new RandomStream(8, "answers"));
  const expected = await runOnnx(bytes, images, graph.input.shape);
  expect(largestDifference(runOracle(graph, images), expected)).toBeLessThan(1e-5);
  expect(largestDifference(await runNative(graph, images), expected)).toBeLessThan(1e-4);
  const written = encodeOnnx(graph);
  expect(largestDifference(await runOnnx(written, images, graph.input.shape), expected))
    .toBeLessThan(1e-5);
  const again = parseOnnx(written, "again").graph;
  expect(unnamed(again)).toEqual(unnamed(graph));
}

/** The layers of a graph with its values numbered: what one layer is written as has names between. */
function unnamed({ input, nodes }: Graph): Node[] {
  const numbers = new Map(
    [input.name, ...nodes.map(({ output }) => output)].map((name, i) => [name, `${i}`]),
  );
  return nodes.map((node) => ({
    ...node,
    inputs: node.inputs.map((name) => numbers.get(name)!),
    output: numbers.get(node.output)!,
  }));
}
