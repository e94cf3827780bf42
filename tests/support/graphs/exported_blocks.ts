/** Blocks of operators that exporters write and few families have, for property tests. */

import type { PadNode } from "../../../src/graph/graph.ts";
import { activate, type Block, layer } from "./layers.ts";

const FILLS: readonly PadNode["fill"][] = [undefined, "reflect", "edge"];

/** Padding of every kind, in front of a layer. */
const padded: Block = (builder, name, value, random) => {
  const grown = builder.pad(`${name}.pad`, value, 1, FILLS[random.integer(FILLS.length)]);
  const made = layer(builder, `${name}.layer`, grown, random, { out: 4, kernel: 3 });
  return builder.maxPool(`${name}.pool`, made, 3, 1);
};

/** Channels normalised one by one, in groups or all together. */
const grouped: Block = (builder, name, value, random) => {
  const options = { out: 6, kernel: 3, padding: 1, bias: true };
  const made = builder.convolution(`${name}.conv`, value, options);
  const groups = [6, 3, 2, 1][random.integer(4)];
  const norm = builder.groupNorm(`${name}.norm`, made, groups, 1e-3);
  return layer(builder, `${name}.after`, activate(builder, `${name}.act`, norm, random), random, {
    out: 4 + random.integer(3),
    kernel: 1,
  });
};

/** Gates for channels from the means of their neighbours (efficient channel attention). */
const attended: Block = (builder, name, value, random) => {
  const made = layer(builder, `${name}.layer`, value, random, { out: 5, kernel: 3 });
  const pooled = builder.globalAveragePool(`${name}.pool`, made);
  const bias = random.integer(2) === 0;
  const filtered = builder.channelFilter(`${name}.filter`, pooled, 3, bias);
  const gate = builder.activation(`${name}.gate`, filtered, "sigmoid");
  return builder.multiply(`${name}.product`, made, gate);
};

/** What all pixels have in common added to each of them (global context). */
const contextual: Block = (builder, name, value, random) => {
  const out = builder.shape(value)[0];
  const context = builder.globalAveragePool(`${name}.pool`, value);
  const options = { out, kernel: 1, bias: true };
  const common = builder.convolution(`${name}.context`, context, options);
  const sides = random.integer(2) === 0 ? [value, common] : [common, value];
  return builder.add(`${name}.add`, sides[0], sides[1]);
};

export const EXPORTED_BLOCKS: readonly Block[] = [padded, grouped, attended, contextual];
