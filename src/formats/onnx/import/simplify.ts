/**
 * What is left to do once all layers are there: pairs of layers that are one (how exporters write
 * slices and channel maps), and what nothing reads.
 */

import type { Node, Pair, Shape } from "../../../graph/graph.ts";
import type { NodeOf } from "../../../graph/operators/operator.ts";
import { operatorOf } from "../../../graph/operators/table.ts";
import type { Tensor } from "../../../tensor.ts";

/** The second of two slices in a row, as a slice of what the first reads. */
function composedSlice(
  first: NodeOf<"slice">,
  second: NodeOf<"slice">,
  extents: readonly number[],
): NodeOf<"slice"> {
  const along = (axis: 0 | 1): [number, number, number] => {
    const [from, to, step] = [first.starts[axis], first.ends[axis], first.strides[axis]];
    const [start, end, stride] = [second.starts[axis], second.ends[axis], second.strides[axis]];
    if (start === 0 && stride === 1 && end === extents[axis]) return [from, to, step];
    const count = Math.ceil((end - start) / stride);
    return [
      from + start * step,
      Math.min(to, from + (start + count * stride) * step),
      step * stride,
    ];
  };
  const rows = along(0), columns = along(1);
  const pair = (i: 0 | 1 | 2): Pair => [rows[i], columns[i]];
  return { ...second, inputs: first.inputs, starts: pair(0), ends: pair(1), strides: pair(2) };
}

/** Two layers as one that does both, or undefined. */
function composed(first: Node, second: Node, between: Shape): Node | undefined {
  if (first.op === "channel_map" && second.op === "channel_map") {
    const from = second.from.map((c) => c < 0 ? -1 : first.from[c]);
    return { ...second, inputs: first.inputs, from };
  }
  if (first.op === "slice" && second.op === "slice") {
    return composedSlice(first, second, between.slice(1));
  }
  return undefined;
}

/**
 * Composes neighbours where the value between them is read by no one else; `shapeOf` gives its
 * per-image shape. The second layer's name and output stay.
 */
export function composeNeighbours(
  nodes: readonly Node[],
  outputs: readonly string[],
  shapeOf: (value: string) => Shape,
): Node[] {
  const readers = new Map(outputs.map((output) => [output, 1]));
  for (const name of nodes.flatMap(({ inputs }) => inputs)) {
    readers.set(name, (readers.get(name) ?? 0) + 1);
  }
  const written = new Map<string, Node>();
  const gone = new Set<Node>();
  for (const node of nodes) {
    const [input] = node.inputs;
    const first = written.get(input);
    const both = first !== undefined && readers.get(input) === 1
      ? composed(first, node, shapeOf(input))
      : undefined;
    if (both !== undefined) gone.add(first!);
    written.set(node.output, both ?? node);
  }
  return [...written.values()].filter((node) => !gone.has(node));
}

/** The layers that the outputs need. */
export function neededLayers(nodes: readonly Node[], outputs: readonly string[]): Node[] {
  const needed = new Set(outputs);
  return [...nodes].reverse().filter((node) => {
    if (!needed.has(node.output)) return false;
    for (const input of node.inputs) needed.add(input);
    return true;
  }).reverse();
}

/** The parameters that some layer reads. */
export function neededParameters(
  nodes: readonly Node[],
  parameters: ReadonlyMap<string, Tensor>,
): ReadonlyMap<string, Tensor> {
  const needed = new Set(nodes.flatMap((node) => {
    const operator = operatorOf(node);
    return [...operator.trainable(node), ...operator.buffers(node)];
  }));
  return new Map([...parameters].filter(([name]) => needed.has(name)));
}
