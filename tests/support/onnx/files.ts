/** ONNX models run by onnxruntime, the reference that imports and exports are checked against. */

import { Buffer } from "node:buffer";
import { fileURLToPath } from "node:url";
import { InferenceSession, Tensor } from "onnxruntime-node";
import type { Graph } from "../../../src/graph/graph.ts";
import { evaluateGraph } from "../../oracle/graph.ts";

/** A file of tests/fixtures/onnx. */
export function onnxFixture(name: string): string {
  return fileURLToPath(new URL(`../../fixtures/onnx/${name}`, import.meta.url));
}

/** The output of a model with one input for a batch of channels-first images. */
export async function runOnnx(
  model: Uint8Array | string,
  images: readonly Float64Array[],
  shape: readonly number[],
): Promise<Float32Array> {
  const options = { intraOpNumThreads: 1, logSeverityLevel: 3 } as const;
  const session = typeof model === "string"
    ? await InferenceSession.create(model, options)
    : await InferenceSession.create(model, options);
  try {
    const data = Float32Array.from(images.flatMap((image) => [...image]));
    const feeds = {
      [session.inputNames[0]]: new Tensor("float32", data, [images.length, ...shape]),
    };
    const results = await session.run(feeds);
    return results[session.outputNames[0]].data as Float32Array;
  } finally {
    await session.release();
  }
}

/** The output of a graph for the same images, in f64. */
export function runOracle(graph: Graph, images: readonly Float64Array[]): Float64Array {
  const outputs = images.map((image) => evaluateGraph(graph, image).get(graph.outputs[0])!);
  return Float64Array.from(outputs.flatMap((output) => [...output]));
}

/** Largest difference; infinite for different lengths. */
export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length || a.length === 0) return Infinity;
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i] - b[i]);
    largest = difference <= largest ? largest : difference; // NaN counts as a difference
  }
  return largest;
}

/** Whether two graphs have the same parameters, name by name and bit by bit. */
export function sameParameters(a: Graph, b: Graph): boolean {
  const bytes = (data: Float32Array) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return a.parameters.size === b.parameters.size &&
    [...a.parameters].every(([name, { shape, data }]) => {
      const other = b.parameters.get(name);
      return other !== undefined && other.shape.join() === shape.join() &&
        bytes(data).equals(bytes(other.data));
    });
}
