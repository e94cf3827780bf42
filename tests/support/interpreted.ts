/** Runs compiled programs in the f64 oracle, with pictures given channels-first. */

import type { Graph } from "../../src/graph/graph.ts";
import type { Compiled, EntryRequest } from "../../src/program/compile.ts";
import type { Program } from "../../src/program/program.ts";
import type { RandomStream } from "../../src/random.ts";
import { interpret } from "../oracle/instructions.ts";
import { compilePlain } from "./compiled.ts";

/** One picture or several as [images][channels][height][width], turned into NHWC. */
export function toNhwc(images: readonly Float64Array[], shape: readonly number[]): Float64Array {
  const [channels, height, width] = shape.length === 3 ? shape : [shape[0], 1, 1];
  const area = height * width;
  const out = new Float64Array(images.length * channels * area);
  images.forEach((image, n) => {
    for (let c = 0; c < channels; c++) {
      for (let p = 0; p < area; p++) out[(n * area + p) * channels + c] = image[c * area + p];
    }
  });
  return out;
}

/** Random pictures for a graph. */
export function randomImages(graph: Graph, count: number, random: RandomStream): Float64Array[] {
  const size = graph.input.shape.reduce((product, extent) => product * extent, 1);
  return Array.from(
    { length: count },
    () => Float64Array.from({ length: size }, () => random.normal()),
  );
}

/** A compiled graph in the f64 oracle, holding its constants and parameters. */
export class Interpreted {
  readonly graph: Graph;
  readonly compiled: Compiled;
  readonly values: Map<string, Float64Array> = new Map();

  constructor(
    graph: Graph,
    requests: readonly EntryRequest[],
    options: { readonly slice?: number } = {},
  ) {
    this.graph = graph;
    this.compiled = compilePlain(graph, requests, options);
    for (const [name, data] of this.compiled.constants) {
      this.values.set(name, Float64Array.from(data));
    }
    for (const [name, { data }] of graph.parameters) {
      this.values.set(name, Float64Array.from(data));
    }
  }

  entry(name: string) {
    return this.compiled.entries.get(name)!;
  }

  value(name: string | undefined): Float64Array {
    const data = this.values.get(name!);
    if (data === undefined) throw new Error(`no value ${name}`);
    return data;
  }

  write(name: string | undefined, data: ArrayLike<number>): void {
    this.values.set(name!, Float64Array.from(data));
  }

  /** Writes pictures and, where the entry has them, labels. */
  feed(entry: string, images: readonly Float64Array[], labels: readonly number[] = []): void {
    const { feeds } = this.entry(entry);
    if (feeds.images !== undefined) {
      this.write(feeds.images, toNhwc(images, this.graph.input.shape));
    }
    if (feeds.labels !== undefined) this.write(feeds.labels, labels);
  }

  /** Runs an entry, preparing first. */
  run(entry: string): void {
    interpret(this.compiled.program, this.compiled.prepare, this.values);
    interpret(this.compiled.program, entry, this.values);
  }

  /** Runs an entry's instructions up to and including the loss. */
  runToLoss(entry: string): void {
    const { program } = this.compiled;
    const { first, name, ...rest } = program.entries.find((each) => each.name === entry)!;
    const loss = program.instructions.findIndex(({ op }, at) =>
      at >= first && op === "softmax_cross_entropy"
    );
    const cut: Program = {
      ...program,
      entries: [{ ...rest, name, first, count: loss + 1 - first }],
    };
    interpret(cut, name, this.values);
  }
}
