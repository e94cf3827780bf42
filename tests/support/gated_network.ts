/** A network that ordinary learning rates ruin: products of features, and nothing that normalises. */

import type { Graph } from "../../src/graph/graph.ts";
import { GraphBuilder } from "../../src/models/builder.ts";

/** Three layers of 8 channels, each the product of two convolutions, for pictures of [3, 8, 8]. */
export function gatedNetwork(seed = 1): Graph {
  const builder = new GraphBuilder("gated", [3, 8, 8], seed);
  const convolution = (name: string, value: string) =>
    builder.convolution(name, value, { out: 8, kernel: 3, padding: 1, bias: true });
  let value = builder.relu("relu", convolution("first", builder.input));
  for (const layer of [1, 2, 3]) {
    const content = convolution(`content${layer}`, value),
      gate = convolution(`gate${layer}`, value);
    value = builder.multiply(`product${layer}`, content, gate);
  }
  const pooled = builder.flatten("flatten", builder.globalAveragePool("pool", value));
  return builder.finish(builder.linear("linear", pooled, 4));
}
