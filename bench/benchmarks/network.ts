/** The networks and the pictures that the benchmarks share with their peers. */

import { costOf } from "../../src/graph/cost.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { createModel, type ModelOptions } from "../../src/models/models.ts";
import { cpuFeatures } from "../../src/native/session.ts";
import type { Precision as Dtype } from "../../src/program/precision.ts";
import { RandomStream } from "../../src/random.ts";
import { elementCount, type Tensor } from "../../src/tensor.ts";
import type { BenchmarkOptions } from "../contestant.ts";

/** A ResNet and what its peers need in order to build the same. */
export interface Network {
  readonly graph: Graph;
  readonly title: string;
  /** Multiply-accumulates of one image. */
  readonly macs: number;
  readonly peer: { readonly network: string; readonly side: number; readonly classes: number };
}

/** Normal noise over and over; its length is prime, so that no row of a tensor repeats another. */
const NOISE: Float32Array = (() => {
  const random = new RandomStream(0, "bench noise");
  return Float32Array.from({ length: 65521 }, () => random.normal());
})();

function noise(length: number, deviation = 1): Float32Array {
  const data = new Float32Array(length);
  for (let i = 0; i < length; i++) data[i] = deviation * NOISE[i % NOISE.length];
  return data;
}

/**
 * Weights of the usual size (He et al., arXiv 1502.01852) out of the noise above: to draw the
 * millions of a large network one by one would take longer than to measure it.
 */
function weightOf(drawn: Tensor): Tensor {
  const { shape } = drawn;
  if (shape.length === 1) return drawn;
  const deviation = Math.sqrt(2 / elementCount(shape.slice(1)));
  return { shape, data: noise(elementCount(shape), deviation) };
}

function network(name: string, title: string, options: ModelOptions): Network {
  const drawn = createModel(name, options);
  const parameters = new Map([...drawn.parameters].map(([name, one]) => [name, weightOf(one)]));
  const graph = { ...drawn, parameters };
  const side = graph.input.shape[1];
  return {
    graph,
    title,
    macs: costOf(graph).macs,
    peer: { network: name, side, classes: options.classes },
  };
}

/** Each network once, for its weights take their time. */
function once(
  make: (quick: boolean) => Network,
): (options: Pick<BenchmarkOptions, "quick">) => Network {
  const made = new Map<boolean, Network>();
  return ({ quick }) => {
    if (!made.has(quick)) made.set(quick, make(quick));
    return made.get(quick)!;
  };
}

export const CLASSES = 10;

/** ResNet-56 for 32 x 32 pictures, or ResNet-8 to try things out. */
export const networkOf = once((quick) => {
  const depth = quick ? 8 : 56;
  return network(`resnet${depth}`, `ResNet-${depth}`, { classes: CLASSES });
});

/** ResNet-50 for 224 x 224 pictures, or for 32 x 32 to try things out. */
export const largeNetworkOf = once((quick) => {
  const classes = quick ? CLASSES : 1000;
  const shape = quick ? [3, 32, 32] : [3, 224, 224];
  return network("resnet50", "ResNet-50", { classes, shape });
});

export type { Dtype };

export interface Precision {
  readonly dtype: Dtype;
  /** Whether the processor multiplies bf16 faster than f32: peers then try all their ways in bf16. */
  readonly fast: boolean;
  /** Whether it computes in bf16 at all: peers then try one way of each kind. */
  readonly bf16: boolean;
}

/** f32 always, exact and fast; bf16 where its arithmetic or its half-sized traffic can pay. */
export function precisions({ device }: Pick<BenchmarkOptions, "device"> = {}): Precision[] {
  const { amxBf16, bf16Dot, avx512, avx512Bf16: bf16 } = cpuFeatures();
  const dtypes: Dtype[] = ["f32", "f32-fast", ...(avx512 || device ? ["bf16" as const] : [])];
  return dtypes.map((dtype) => ({ dtype, fast: amxBf16 || bf16Dot, bf16 }));
}

/** Least ratios to PyTorch that are asked of a work, by precision. */
export type Targets = Readonly<Partial<Record<Dtype, number>>>;

/** A network at a batch size in a precision, against the same one in PyTorch. */
export interface Workload {
  readonly network: Network;
  readonly images: number;
  readonly precision: Precision;
  readonly least: number | undefined;
  /** Whether one run takes seconds. */
  readonly large: boolean;
}

/**
 * ResNet-56 at batches of 128 and 256, and ResNet-50 at 32, in every precision. To try things out,
 * ResNet-50 in one alone: its weights take seconds to load.
 */
export function workloads(
  options: Pick<BenchmarkOptions, "quick" | "device">,
  targets: { readonly small: Targets; readonly large: Targets },
): Workload[] {
  const { quick } = options;
  const all = precisions(options);
  const work = (large: boolean, images: number, precision: Precision): Workload => ({
    network: large ? largeNetworkOf(options) : networkOf(options),
    images,
    precision,
    least: (large ? targets.large : targets.small)[precision.dtype],
    large,
  });
  return [
    ...(quick ? [4] : [128, 256]).flatMap((images) =>
      all.map((precision) => work(false, images, precision))
    ),
    ...(quick ? all.slice(-1) : all).map((precision) => work(true, quick ? 2 : 32, precision)),
  ];
}

/** Noise that stands for normalised pictures: [images, height, width, channels]. */
export function noisePictures(graph: Graph, images: number): Float32Array {
  return noise(images * elementCount(graph.input.shape));
}

/** Labels of CIFAR's classes in turn: [images]. */
export function labelsInTurn(images: number): Int32Array {
  return Int32Array.from({ length: images }, (_, i) => i % CLASSES);
}
