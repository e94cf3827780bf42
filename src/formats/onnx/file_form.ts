/**
 * What a file's model has around the graph that is made of it: how its input lies and of what type it
 * is, what its logits go through. Kept so that what is written has the form of what was read.
 */

import type { Graph } from "../../graph/graph.ts";
import { SecateurError } from "../../errors.ts";
import { fromHalf, toHalf } from "../dtype.ts";
import type { Tail } from "./tail/tail.ts";
import type { FinalActivation } from "./final_activation.ts";

/** Nothing, for a file of f32 pictures [batch, channels, height, width] that ends in logits. */
export interface FileForm {
  readonly activation?: FinalActivation;
  /** Pictures come in as [batch, height, width, channels]. */
  readonly inputLast?: boolean;
  /** The answer, a picture, goes out so. */
  readonly outputLast?: boolean;
  /** Element types that are not f32; u8 pictures hold the pixels' numbers from 0 to 255. */
  readonly input?: "f16" | "u8";
  readonly output?: "f16";
  /** Weights and all values between are f16. */
  readonly half?: boolean;
  /**
   * What lies behind the graph, or the names of its several outputs; then there is no activation and no
   * layout of one output.
   */
  readonly tail?: Tail;
}

/**
 * The graph with its weights rounded to f16, as a file of f16 weights has them.
 * @throws SecateurError `graph-unsupported` for numbers beyond those of f16.
 */
export function withHalfWeights(graph: Graph): Graph {
  const parameters = new Map([...graph.parameters].map(([name, { shape, data }]) => {
    const rounded = data.map((value) => fromHalf(toHalf(value)));
    if (rounded.every(Number.isFinite)) return [name, { shape, data: rounded }] as const;
    throw new SecateurError(
      "graph-unsupported",
      `Expected weights that f16 holds, up to 65504, as the file of ${graph.name} has them, but ` +
        `${name} has larger ones; give the model in f32.`,
    );
  }));
  return { ...graph, parameters };
}
