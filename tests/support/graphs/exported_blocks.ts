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

export const EXPORTED_BLOCKS: readonly Block[] = [padded, grouped];
