/** A model's final softmax: left out of graphs, whose answers are logits, and kept for export. */

import { z } from "zod";
import { SecateurError } from "../errors.ts";
import type { Graph } from "../graph/graph.ts";

/** A softmax that a model's answer went through when it was imported. */
export interface FinalSoftmax {
  /** The layer's name. */
  readonly node: string;
  /** What the model calls its answer. */
  readonly output: string;
}

/** Under which it is kept in the metadata of secateur's own files. */
export const SOFTMAX_KEY = "secateur.softmax";

const name = z.string().min(1).max(256);
const stored = z.strictObject({ node: name, output: name });

/** Metadata that keeps a final softmax; none without one. */
export function softmaxMetadata(softmax: FinalSoftmax | undefined): Record<string, string> {
  return softmax === undefined ? {} : { [SOFTMAX_KEY]: JSON.stringify(softmax) };
}

/**
 * The softmax in a model's metadata, if it has one.
 * @throws SecateurError `format-corrupt`; `source` names the file.
 */
export function storedSoftmax(text: string | undefined, source: string): FinalSoftmax | undefined {
  if (text === undefined) return undefined;
  try {
    return stored.parse(JSON.parse(text));
  } catch (cause) {
    throw new SecateurError(
      "format-corrupt",
      `${source}: expected the names of the final softmax in its metadata, but found something ` +
        `else; write the model again.`,
      { cause },
    );
  }
}

/** The graph whose answer goes through its softmax again, under the names it had. */
export function withSoftmax(graph: Graph, softmax: FinalSoftmax | undefined): Graph {
  if (softmax === undefined) return graph;
  const taken = new Set([
    graph.input.name,
    ...graph.nodes.flatMap(({ name, output }) => [name, output]),
  ]);
  const free = (wanted: string): string => {
    let name = wanted;
    for (let k = 2; taken.has(name); k++) name = `${wanted}.${k}`;
    return name;
  };
  const output = free(softmax.output);
  const node = {
    op: "softmax",
    name: free(softmax.node),
    inputs: [graph.output],
    output,
  } as const;
  return { ...graph, nodes: [...graph.nodes, node], output };
}
