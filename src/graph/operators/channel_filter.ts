import { elementCount } from "../../tensor.ts";
import { coupleChannelwise, expectParameter, type NodeOf, type Operator } from "./operator.ts";

/** Whether places are in order and no two channels share one. */
const inOrder = (positions: readonly number[], extent: number): boolean =>
  positions.every((place, k) =>
    Number.isInteger(place) && place < extent && place > (k === 0 ? -1 : positions[k - 1])
  );

/** The channel at each place, or -1. */
export function channelsInPlace(
  { positions, extent }: Pick<NodeOf<"channel_filter">, "positions" | "extent">,
): number[] {
  const places = new Array<number>(extent).fill(-1);
  positions.forEach((place, channel) => places[place] = channel);
  return places;
}

/**
 * A filter along channels, as in efficient channel attention (Wang et al., arXiv 1910.03151). A channel
 * that goes leaves a zero at its place, which is what its mask does.
 */
export const channelFilter: Operator<NodeOf<"channel_filter">> = {
  trainable: (node) => node.bias === undefined ? [node.weight] : [node.weight, node.bias],
  buffers: () => [],
  keepsZero: false,

  shape(node, [input], parameters) {
    const { positions, extent, padding } = node;
    if (elementCount(input) !== input[0] || positions.length !== input[0]) {
      throw new Error(
        `filters ${positions.length} channels of one cell but receives [${input.join(", ")}]`,
      );
    }
    if (!inOrder(positions, extent)) throw new Error(`has no place of ${extent} for each channel`);
    expectParameter(parameters, node.weight, [1, 1, padding[0] + padding[1] + 1]);
    if (node.bias !== undefined) expectParameter(parameters, node.bias, [1]);
    return input;
  },

  /** As of a convolution: every tap at every channel. */
  macs: ({ padding }, _inputs, [channels]) => channels * (padding[0] + padding[1] + 1),

  channels(node, [[channels]], _output, rules) {
    coupleChannelwise(node, node.inputs[0], channels, rules);
    rules.mixes(node.inputs[0]);
  },

  cut: (node, _inputs, kept) => ({
    ...node,
    positions: kept(node.inputs[0]).map((channel) => node.positions[channel]),
  }),
};
