/** Graphs of any output, picture or features, run by the native engine. */

import type { Graph } from "../../src/graph/graph.ts";
import { shapesOf } from "../../src/graph/shapes.ts";
import type { Engine } from "../../src/native/addon.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import { toNhwc } from "./interpreted.ts";

/** The graph ending in features, as the engine wants it; its own output can be fetched. */
function classifierOf(graph: Graph, shape: readonly number[]): Graph {
  if (shape.length === 3) {
    return {
      ...graph,
      output: "end",
      nodes: [
        ...graph.nodes,
        { op: "global_average_pool", name: "pool", inputs: [graph.output], output: "pooled" },
        { op: "flatten", name: "end", inputs: ["pooled"], output: "end" },
      ],
    };
  }
  const features = shape[0];
  const identity = new Float32Array(features * features);
  for (let i = 0; i < features; i++) identity[i * features + i] = 1;
  return {
    ...graph,
    output: "end",
    nodes: [
      ...graph.nodes,
      { op: "linear", name: "end", inputs: [graph.output], output: "end", weight: "identity" },
    ],
    parameters: new Map([
      ...graph.parameters,
      ["identity", { shape: [features, features], data: identity }],
    ]),
  };
}

/** What the native engine makes of channels-first images in f32, channels first, image by image. */
export async function runNative(
  graph: Graph,
  images: readonly Float64Array[],
  engine: Engine = "automatic",
): Promise<Float64Array> {
  const shape = shapesOf(graph).get(graph.output)!;
  const picture = shape.length === 3;
  const fetch = picture ? [graph.output] : [];
  const request = { kind: "forward", name: "forward", images: images.length, fetch } as const;
  using model = LoadedModel.open(classifierOf(graph, shape), [request], {
    dtype: "f32",
    engine,
  });
  const { feeds, logits, values } = model.entry("forward");
  const wanted = picture ? values.get(graph.output)! : logits!;
  const results = await model.run("forward", {
    feeds: { [feeds.images!]: Float32Array.from(toNhwc(images, graph.input.shape)) },
    fetch: [wanted],
  });
  const found = results[wanted] as Float32Array;
  if (!picture) return Float64Array.from(found);
  const [channels, height, width] = shape;
  const area = height * width;
  return Float64Array.from({ length: found.length }, (_, i) => {
    const n = Math.floor(i / (channels * area)), c = Math.floor(i / area) % channels;
    return found[(n * area + i % area) * channels + c];
  });
}
