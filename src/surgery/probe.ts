/**
 * Weights that give life to channels which do nothing, so that cutting them can be seen. A channel
 * whose filters are zero, or that nobody reads, leaves the outputs as they are when it goes; with
 * other numbers in what belongs to it alone, the same cut has something to take away.
 */

import type { Removal } from "../graph/cut.ts";
import type { Graph } from "../graph/graph.ts";
import type { ParameterSlice } from "../graph/operators/operator.ts";
import { RandomStream } from "../random.ts";
import { elementCount, type Tensor } from "../tensor.ts";

const SEED = 0;

/** Random numbers in place of every parameter: activations stay near one (He, arXiv 1502.01852). */
export function randomWeights(graph: Graph): ReadonlyMap<string, Tensor> {
  const nearOne = new Set(
    graph.nodes.flatMap((node) => node.op === "batch_norm" ? [node.variance, node.scale] : []),
  );
  return new Map([...graph.parameters].map(([name, { shape }]) => {
    const random = new RandomStream(SEED, `check ${name}`);
    const data = new Float32Array(elementCount(shape));
    if (nearOne.has(name)) {
      for (let i = 0; i < data.length; i++) data[i] = 0.75 + random.uniform() / 2;
    } else {
      random.fillNormal(data, shape.length > 1 ? Math.sqrt(2 / elementCount(shape.slice(1))) : 0.3);
    }
    return [name, { shape, data }];
  }));
}

/** Sets a slice of `to` to that of `from` times `gain`; both have the same shape. */
function copySlice(to: Tensor, from: Tensor, { axis, index }: ParameterSlice, gain: number): void {
  const inner = elementCount(to.shape.slice(axis + 1));
  const extent = to.shape[axis];
  const outer = elementCount(to.shape.slice(0, axis));
  for (let o = 0; o < outer; o++) {
    const first = (o * extent + index) * inner;
    for (let i = first; i < first + inner; i++) to.data[i] = gain * from.data[i];
  }
}

/**
 * The graph with random numbers in everything that the removed channels own: their filters, their
 * batch norm, and what their consumers make of them, `gain` times as large as in `weights`. What stays
 * is as it was, so cutting the same channels gives the very same model.
 */
export function revived(
  graph: Graph,
  removals: readonly Removal[],
  weights: ReadonlyMap<string, Tensor>,
  gain: number,
): Graph {
  const parameters = new Map(graph.parameters);
  for (const { group, removed } of removals) {
    for (const player of removed) {
      for (const slice of group.players[player].slices) {
        const name = slice.parameter;
        const original = graph.parameters.get(name)!;
        if (parameters.get(name) === original) {
          parameters.set(name, { shape: original.shape, data: original.data.slice() });
        }
        const own = original.shape.length > 1 ? gain : 1;
        copySlice(parameters.get(name)!, weights.get(name)!, slice, own);
      }
    }
  }
  return { ...graph, parameters };
}

/** Random pictures, normal as normalised ones are, [images][height][width][channels]. */
export function randomPictures(graph: Graph, images: number): Float32Array {
  const pictures = new Float32Array(images * elementCount(graph.input.shape));
  new RandomStream(SEED, "check pictures").fillNormal(pictures, 1);
  return pictures;
}
