/** A network with maps that are one number a pixel: spatial attention, and sums with such a map. */

import type { Graph } from "../../../src/graph/graph.ts";
import { GraphBuilder } from "../../../src/models/builder.ts";

/** Ends in `classes` logits; even seeds have the map on the right, odd ones on the left. */
export function mapGraph(seed: number, classes: number): Graph {
  const builder = new GraphBuilder(`maps ${seed}`, [3, 7, 6], seed);
  const sides = <T>(a: T, b: T): [T, T] => seed % 2 === 0 ? [a, b] : [b, a];
  const layer = (name: string, from: string, out: number, kernel: number) =>
    builder.convolution(name, from, { out, kernel, padding: (kernel - 1) / 2, bias: true });
  let value = builder.relu("a.relu", layer("a", builder.input, 6, 3));
  const map = builder.activation("map.sigmoid", layer("map", value, 1, 5), "sigmoid");
  value = builder.multiply("attended", ...sides(value, map));
  value = builder.relu("b.relu", layer("b", value, 5, 3));
  value = builder.add("raised", ...sides(value, layer("height", value, 1, 1)));
  // Smooth, as where all of b is zero the sum is zero too, and a rectifier has its bend there.
  value = builder.relu(
    "c.relu",
    layer("c", builder.activation("raised.silu", value, "silu"), 6, 3),
  );
  const pooled = builder.flatten("flatten", builder.globalAveragePool("mean", value));
  return builder.finish(builder.linear("out", pooled, classes));
}
