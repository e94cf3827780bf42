/** The network and the pictures that the benchmarks share with their peers. */

import { costOf } from "../../src/graph/cost.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { createModel } from "../../src/models/models.ts";
import { cpuFeatures } from "../../src/native/session.ts";
import { RandomStream } from "../../src/random.ts";
import { elementCount } from "../../src/tensor.ts";
import type { BenchmarkOptions } from "../contestant.ts";

export const CLASSES = 10;

/** A CIFAR ResNet and what its peers need in order to build the same. */
export interface Network {
  readonly graph: Graph;
  readonly depth: number;
  readonly title: string;
  /** Multiply-accumulates of one image. */
  readonly macs: number;
}

/** ResNet-56, or ResNet-8 to try things out. */
export function networkOf({ quick }: Pick<BenchmarkOptions, "quick">): Network {
  const depth = quick ? 8 : 56;
  const graph = createModel(`resnet${depth}`, { classes: CLASSES });
  return { graph, depth, title: `ResNet-${depth}`, macs: costOf(graph).macs };
}

/** A type of activations to measure. */
export interface Precision {
  readonly dtype: "f32" | "bf16";
  /** Whether the processor multiplies bf16 matrices: then peers may use bf16, and targets hold. */
  readonly amx: boolean;
}

/** f32 always; bf16 where its arithmetic or its half-sized traffic can pay. */
export function precisions(): Precision[] {
  const { amxBf16: amx, avx512 } = cpuFeatures();
  return [{ dtype: "f32", amx }, ...(avx512 ? [{ dtype: "bf16" as const, amx }] : [])];
}

/** Noise that stands for normalised pictures: [images, height, width, channels]. */
export function noisePictures(graph: Graph, images: number): Float32Array {
  const random = new RandomStream(0, "bench pictures");
  const noise = Float32Array.from({ length: 8191 }, () => random.normal());
  const length = images * elementCount(graph.input.shape);
  return Float32Array.from({ length }, (_, i) => noise[i % noise.length]);
}

/** Labels of all classes in turn: [images]. */
export function labelsInTurn(images: number): Int32Array {
  return Int32Array.from({ length: images }, (_, i) => i % CLASSES);
}
