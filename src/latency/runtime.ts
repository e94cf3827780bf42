/** What times graphs: runs them again and again and tells how long their parts took. */

import type { Graph } from "../graph/graph.ts";

/** Runtimes that layers can be timed in. */
export const RUNTIMES = ["secateur", "onnxruntime"] as const;
export type RuntimeName = typeof RUNTIMES[number];

/** A graph that is loaded and run again and again. */
export interface TimedGraph {
  /** One more pass. */
  pass(): Promise<void>;
  /** Milliseconds of every pass, in order; frees the graph. */
  finish(): Promise<readonly number[]>;
}

/** How to run: one of these per table. */
export interface RunConditions {
  /** Pictures per pass. */
  readonly batch: number;
  readonly threads: number;
}

export interface Runtime {
  readonly name: RuntimeName;
  /** Version of what computes; other versions take other times. */
  readonly version: string;
  /** Type that it computes in. */
  readonly dtype: string;
  readonly conditions: RunConditions;
  /** Milliseconds that timing a layer alone adds to it at most. */
  readonly clockTime: number;
  /** Times the unit of a layer's graph, without what stands around it. */
  openLayer(graph: Graph): Promise<TimedGraph>;
  /** Times whole passes, pictures in and logits out. */
  openWhole(graph: Graph): Promise<TimedGraph>;
}
