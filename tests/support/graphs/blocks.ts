/** A network that spreads channels over blocks of pixels, as sub-pixel upsampling does. */

import type { Graph } from "../../../src/graph/graph.ts";
import { GraphBuilder } from "../../../src/models/builder.ts";

/** Ends in `classes` logits; blocks of 2, or of 3 where the seed is odd. */
export function blockGraph(seed: number, classes: number): Graph {
  const builder = new GraphBuilder(`blocks ${seed}`, [3, 5, 4], seed);
  const block = 2 + seed % 2;
  const layer = (name: string, from: string, out: number) =>
    builder.activation(
      `${name}.silu`,
      builder.convolution(name, from, { out, kernel: 3, padding: 1, bias: true }),
      "silu",
    );
  const spread = builder.depthToSpace("spread", layer("a", builder.input, 4 * block ** 2), block);
  const value = builder.globalAveragePool("mean", layer("b", spread, 5));
  return builder.finish(builder.linear("out", builder.flatten("flatten", value), classes));
}
