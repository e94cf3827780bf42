/**
 * Random small networks of all blocks there are, in any order, with several heads: the widest net
 * for wrong couplings. Pictures are tiny, so that thousands of networks take seconds.
 */

import type { Graph, Node } from "../../../src/graph/graph.ts";
import { GraphBuilder } from "../../../src/models/builder.ts";
import { RandomStream } from "../../../src/random.ts";
import { BLOCKS } from "./diverse.ts";
import { activate, layer } from "./layers.ts";
import { ODD_BLOCKS } from "./odd_blocks.ts";
import { unsettle } from "./random.ts";

/** Makes the layers that name a parameter on the left read the one on the right. */
function tie(graph: Graph, tied: ReadonlyMap<string, string>): Graph {
  const shared = (field: unknown) => typeof field === "string" ? tied.get(field) ?? field : field;
  const nodes = graph.nodes.map((node) =>
    Object.fromEntries(
      Object.entries(node).map(([key, field]) => [key, shared(field)]),
    ) as unknown as Node
  );
  const parameters = new Map([...graph.parameters].filter(([name]) => !tied.has(name)));
  return { ...graph, nodes, parameters };
}

/** Blocks of diverse.ts name the layers they tie, those of odd_blocks.ts the parameters. */
function tiedParameters(
  tied: ReadonlyMap<string, string>,
  { parameters }: Graph,
): Map<string, string> {
  return new Map(
    [...tied].flatMap(([left, right]): [string, string][] => {
      const [from, to] = parameters.has(`${left}.weight`)
        ? [`${left}.weight`, `${right}.weight`]
        : [left, right];
      return parameters.has(from) && parameters.has(to) ? [[from, to]] : [];
    }),
  );
}

/** Linear layers behind a value, of every cell of a channel or of its mean. */
function head(builder: GraphBuilder, name: string, value: string, random: RandomStream): string {
  if (random.integer(2) === 0) value = builder.globalAveragePool(`${name}.pool`, value);
  value = builder.flatten(`${name}.flatten`, value);
  if (random.integer(3) === 0) {
    value = builder.linear(`${name}.hidden`, value, 3 + random.integer(3));
    if (random.integer(2) === 0) value = builder.batchNorm(`${name}.norm`, value);
    value = activate(builder, `${name}.act`, value, random);
  }
  return builder.linear(`${name}.out`, value, 3);
}

/** All heads as one answer: side by side, added, or read by a last layer. */
function answer(builder: GraphBuilder, heads: readonly string[], random: RandomStream): string {
  if (heads.length === 1) return heads[0];
  const kind = random.integer(3);
  if (kind === 0) return heads.reduce((sum, each, k) => builder.add(`sum${k}`, sum, each));
  const joined = builder.concat("answers", heads);
  return kind === 1 ? joined : builder.linear("last", joined, 4);
}

/** A network of `blocks` random blocks on pictures of [3, 4 to 6, 4 to 6]. */
export function oddGraph(seed: number, blocks = 3): Graph {
  const random = new RandomStream(seed, "odd graph");
  const extent = () => 4 + random.integer(3);
  const builder = new GraphBuilder(`odd${seed}`, [3, extent(), extent()], seed);
  const all = [...BLOCKS, ...ODD_BLOCKS, ...ODD_BLOCKS];
  let value = layer(builder, "stem", builder.input, random, {
    out: 2 + random.integer(5),
    kernel: 3,
  });
  const tied = new Map<string, string>();
  const heads: string[] = [];
  for (let block = 0; block < blocks; block++) {
    value = all[random.integer(all.length)](builder, `block${block}`, value, random, tied);
    const [, height, width] = builder.shape(value);
    if (Math.min(height, width) < 2) break;
    if (random.integer(4) === 0) heads.push(head(builder, `head${block}`, value, random));
  }
  heads.push(head(builder, "head", value, random));
  const graph = builder.finish(answer(builder, heads, random));
  return unsettle(tie(graph, tiedParameters(tied, graph)), random);
}
