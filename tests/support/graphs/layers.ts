/** Layers of random networks that are made of blocks. */

import { ACTIVATION_KINDS } from "../../../src/graph/graph.ts";
import type { GraphBuilder } from "../../../src/models/builder.ts";
import type { RandomStream } from "../../../src/random.ts";
import { type LayerOptions, normalisedLayer } from "./random.ts";

/** ReLU half of the time, else any other activation. */
export function activate(
  builder: GraphBuilder,
  name: string,
  value: string,
  random: RandomStream,
): string {
  if (random.integer(2) === 0) return builder.relu(name, value);
  if (random.integer(8) === 0) return builder.prelu(name, value);
  const kind = ACTIVATION_KINDS[random.integer(ACTIVATION_KINDS.length)];
  const parameters = kind === "clip" ? { alpha: -0.7, beta: 1.5 } : {};
  return builder.activation(name, value, kind, parameters);
}

/** One layer with batch norm and activation. */
export function layer(
  builder: GraphBuilder,
  name: string,
  value: string,
  random: RandomStream,
  options: LayerOptions,
  activated = true,
): string {
  const result = normalisedLayer(builder, name, value, options);
  return activated ? activate(builder, `${name}.act`, result, random) : result;
}

/** Makes one block of a network behind a value. */
export type Block = (
  builder: GraphBuilder,
  name: string,
  value: string,
  random: RandomStream,
  tied: Map<string, string>,
) => string;
