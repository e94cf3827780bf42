/** Graphs of any outputs, pictures or features, run by the native engine. */

import type { Graph } from "../../src/graph/graph.ts";
import { shapesOf } from "../../src/graph/shapes.ts";
import type { Engine } from "../../src/native/addon.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import { toNhwc } from "./interpreted.ts";

/** Pictures as the engine has them, channels first. */
function channelsFirst(found: Float32Array, shape: readonly number[]): Float64Array {
  const [channels, height, width] = shape.length === 3 ? shape : [shape[0], 1, 1];
  const area = height * width;
  return Float64Array.from({ length: found.length }, (_, i) => {
    const n = Math.floor(i / (channels * area)), c = Math.floor(i / area) % channels;
    return found[(n * area + i % area) * channels + c];
  });
}

/** Every output of channels-first images in f32, channels first, image by image. */
export async function runNativeOutputs(
  graph: Graph,
  images: readonly Float64Array[],
  engine: Engine = "automatic",
): Promise<Map<string, Float64Array>> {
  const shapes = shapesOf(graph);
  const request = { kind: "forward", name: "forward", images: images.length } as const;
  using model = LoadedModel.open(graph, [request], { dtype: "f32", engine });
  const { feeds, outputs } = model.entry("forward");
  const results = await model.run("forward", {
    feeds: { [feeds.images!]: Float32Array.from(toNhwc(images, graph.input.shape)) },
    fetch: [...outputs.values()],
  });
  return new Map(
    [...outputs].map(([output, name]) => [
      output,
      channelsFirst(results[name] as Float32Array, shapes.get(output)!),
    ]),
  );
}

/** As runNativeOutputs, of the first output alone. */
export async function runNative(
  graph: Graph,
  images: readonly Float64Array[],
  engine: Engine = "automatic",
): Promise<Float64Array> {
  return (await runNativeOutputs(graph, images, engine)).get(graph.outputs[0])!;
}
