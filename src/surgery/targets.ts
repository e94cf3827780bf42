/**
 * What compensated layers should put out: what they did in the original network, or, where a layer's
 * output ends in a sum beside another value, what makes the sum the original's (He et al., arXiv
 * 1707.06168, section 3.3): so a residual branch makes up for what its stream has lost before.
 */

import type { BatchNormNode, ConvolutionNode, Graph, LinearNode, Node } from "../graph/graph.ts";
import type { Tensor } from "../tensor.ts";

export type Layer = ConvolutionNode | LinearNode;

/** A sum that a layer's output ends in, directly or through its batch norm. */
export interface Sum {
  readonly output: string;
  /** The other value of the sum. */
  readonly other: string;
  readonly norm?: BatchNormNode;
}

/** The only reader of a value, if it has one alone. */
function soleReader(graph: Graph, value: string): Node | undefined {
  const readers = graph.nodes.filter(({ inputs }) => inputs.includes(value));
  return readers.length === 1 ? readers[0] : undefined;
}

/** Whether a value is computed from any of these layers. */
function dependsOn(graph: Graph, value: string, layers: ReadonlySet<string>): boolean {
  const writers = new Map(graph.nodes.map((node) => [node.output, node]));
  const seen = new Set<string>(), open = [value];
  while (open.length > 0) {
    const node = writers.get(open.pop()!);
    if (node === undefined || seen.has(node.name)) continue;
    if (layers.has(node.name)) return true;
    seen.add(node.name);
    open.push(...node.inputs);
  }
  return false;
}

/** The sum behind a layer whose other value none of the `pending` layers makes; undefined if none. */
export function sumBehind(
  graph: Graph,
  layer: Layer,
  pending: ReadonlySet<string>,
): Sum | undefined {
  const first = soleReader(graph, layer.output);
  const norm = first?.op === "batch_norm" ? first : undefined;
  const own = norm?.output ?? layer.output;
  const sum = norm ? soleReader(graph, norm.output) : first;
  if (sum?.op !== "add") return undefined;
  const other = sum.inputs.find((value) => value !== own);
  if (other === undefined || dependsOn(graph, other, pending)) return undefined;
  return { output: sum.output, other, ...(norm ? { norm } : {}) };
}

/** 1 / what the batch norm multiplies by, [channels]; 0 where it lets nothing through. */
function unstretched(norm: BatchNormNode, parameters: ReadonlyMap<string, Tensor>): Float32Array {
  const scale = parameters.get(norm.scale)!.data, variance = parameters.get(norm.variance)!.data;
  return Float32Array.from(scale, (factor, c) => {
    const stretch = factor / Math.sqrt(variance[c] + norm.epsilon);
    return Math.abs(stretch) > 1e-6 ? 1 / stretch : 0;
  });
}

/**
 * A layer's target from the original's sum, once `stretch` times the other value is added to it:
 * (sum - other - offset) / stretch of the norm + its mean. Sums are [cells, channels].
 */
export function targetFrom(
  sum: Sum,
  channels: number,
  parameters: ReadonlyMap<string, Tensor>,
): { readonly stretch: Float32Array; readonly feed: (values: Float32Array) => Float32Array } {
  const { norm } = sum;
  if (norm === undefined) {
    return { stretch: new Float32Array(channels).fill(-1), feed: (values) => values };
  }
  const inverse = unstretched(norm, parameters);
  const offset = parameters.get(norm.offset)!.data, mean = parameters.get(norm.mean)!.data;
  return {
    stretch: inverse.map((factor) => -factor),
    feed: (values) => {
      const target = new Float32Array(values.length);
      for (let first = 0; first < values.length; first += channels) {
        for (let c = 0; c < channels; c++) {
          target[first + c] = (values[first + c] - offset[c]) * inverse[c] + mean[c];
        }
      }
      return target;
    },
  };
}
