/** A graph's outputs as files have them: channels first, images outermost. */

import type { LoadedModel } from "./loaded_model.ts";
import type { TypedArray } from "./session.ts";

/** [images][height * width][channels] as [images][channels][height * width]. */
function channelsFirst(values: Float32Array, pixels: number, channels: number): Float32Array {
  if (pixels === 1 || channels === 1) return values;
  const out = new Float32Array(values.length), size = pixels * channels;
  for (let at = 0; at < values.length; at += size) {
    for (let p = 0; p < pixels; p++) {
      for (let c = 0; c < channels; c++) out[at + c * pixels + p] = values[at + p * channels + c];
    }
  }
  return out;
}

/**
 * Runs a forward entry; its outputs by the graph's names, channels first, flattened pictures as they
 * flatten. Throws what `LoadedModel.run` throws.
 */
export async function runOutputs(
  model: LoadedModel,
  name: string,
  feeds: Readonly<Record<string, TypedArray>>,
): Promise<Map<string, Float32Array>> {
  const { outputs } = model.entry(name);
  const shapes = new Map(model.session.program.values.map((value) => [value.name, value.shape]));
  const results = await model.run(name, { feeds, fetch: [...new Set(outputs.values())] });
  return new Map([...outputs].map(([output, value]) => {
    const shape = shapes.get(value)!;
    const channels = shape.at(-1)!;
    const pixels = shape.length === 1 ? 1 : shape[0] * shape[1];
    return [output, channelsFirst(results[value] as Float32Array, pixels, channels)];
  }));
}
