/** Compiling without a backend: packed weights as large as plain ones. */

import type { Graph } from "../../src/graph/graph.ts";
import { compile, type Compiled, type EntryRequest } from "../../src/program/compile.ts";
import { OPERATIONS } from "../../src/program/operations.ts";
import type { Precision } from "../../src/program/precision.ts";

const INTS: readonly string[] = OPERATIONS.pack_convolution.ints;

/** Bytes of the plain f32 weight. */
export function plainPackedBytes(ints: readonly number[]): number {
  const of = (name: string) => ints[INTS.indexOf(name)];
  return 4 * of("out_channels") * (of("in_channels") / of("groups")) * of("kernel_height") *
    of("kernel_width");
}

/** Compiles for tests that only look at the program or interpret it. */
export function compilePlain(
  graph: Graph,
  requests: readonly EntryRequest[],
  options: { readonly precision?: Precision; readonly slice?: number } = {},
): Compiled {
  return compile(graph, requests, { precision: "f32", packedBytes: plainPackedBytes, ...options });
}
