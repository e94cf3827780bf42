import {
  channelwise,
  expectPicture,
  expectSanePadding,
  type NodeOf,
  type Operator,
} from "./operator.ts";

/** Padding of height and width with zeros or with what is near. */
export const pad = channelwise<NodeOf<"pad">>(({ padding, fill }, input) => {
  const [channels, height, width] = expectPicture(input);
  expectSanePadding([channels, height, width], padding);
  const [rows, columns] = [0, 1].map((side) => Math.max(padding[side], padding[side + 2]));
  if (fill === "reflect" && (rows >= height || columns >= width)) {
    throw new Error(`mirrors ${rows} x ${columns} cells of a picture of only ${height} x ${width}`);
  }
  return [channels, height + padding[0] + padding[2], width + padding[1] + padding[3]];
});

/** Where each cell along an axis of `extent` cells comes from, when padding is no zeros. */
export function paddedFrom(
  { padding, fill }: NodeOf<"pad">,
  axis: 0 | 1,
  extent: number,
): Int32Array {
  const last = extent - 1;
  return Int32Array.from({ length: padding[axis] + extent + padding[axis + 2] }, (_, i) => {
    const at = i - padding[axis];
    return fill === "reflect"
      ? last - Math.abs(last - Math.abs(at))
      : Math.min(last, Math.max(0, at));
  });
}

/** Strided slice of height and width. */
export const slice = channelwise<NodeOf<"slice">>(({ starts, ends, strides }, input) => {
  const [channels, height, width] = expectPicture(input);
  const extent = (axis: 0 | 1, available: number) => {
    const inside = starts[axis] >= 0 && starts[axis] < ends[axis] && ends[axis] <= available;
    if (!inside || strides[axis] < 1) {
      throw new Error(
        `takes ${starts[axis]} to ${ends[axis]} by ${strides[axis]} of only ${available}`,
      );
    }
    return Math.ceil((ends[axis] - starts[axis]) / strides[axis]);
  };
  return [channels, extent(0, height), extent(1, width)];
});

/**
 * Rearranges channels, with zeros where nothing comes in. A map that has such zeros does not couple
 * source and target: a source that goes leaves a zero behind, which is what its mask did. One that
 * has none couples them, so that slices and shuffles lose channels together with their source.
 */
export const channelMap: Operator<NodeOf<"channel_map">> = {
  trainable: () => [],
  buffers: () => [],
  keepsZero: false,
  shape(node, [input]) {
    const outside = node.from.find((c) => !Number.isInteger(c) || c < -1 || c >= input[0]);
    if (outside !== undefined) {
      throw new Error(`takes channel ${outside} of a value of ${input[0]} channels`);
    }
    return [node.from.length, ...input.slice(1)];
  },
  macs: () => 0,
  channels(node, _inputs, _output, rules) {
    const [value] = node.inputs;
    if (node.from.includes(-1)) rules.mixes(value);
    else node.from.forEach((source, c) => rules.couple(value, source, node.output, c));
  },
  cut(node, _inputs, kept) {
    const position = new Map(kept(node.inputs[0]).map((channel, index) => [channel, index]));
    const from = kept(node.output).map((channel) => position.get(node.from[channel]) ?? -1);
    return { ...node, from };
  },
};
