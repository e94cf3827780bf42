/** Blocks of operators that exporters write and few families have, for property tests. */

import type { PadNode } from "../../../src/graph/graph.ts";
import { type Block, layer } from "./layers.ts";

const FILLS: readonly PadNode["fill"][] = [undefined, "reflect", "edge"];

/** Padding of every kind, in front of a layer. */
const padded: Block = (builder, name, value, random) => {
  const grown = builder.pad(`${name}.pad`, value, 1, FILLS[random.integer(FILLS.length)]);
  const made = layer(builder, `${name}.layer`, grown, random, { out: 4, kernel: 3 });
  return builder.maxPool(`${name}.pool`, made, 3, 1);
};

export const EXPORTED_BLOCKS: readonly Block[] = [padded];
