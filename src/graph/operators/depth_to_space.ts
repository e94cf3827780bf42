import { expectPicture, type NodeOf, type Operator } from "./operator.ts";

/** Blocks are bounded as a picture's extents are. */
const LARGEST_BLOCK = 2 ** 8;

/** Channels spread over the pixels of a block; those of one block go together. */
export const depthToSpace: Operator<NodeOf<"depth_to_space">> = {
  trainable: () => [],
  buffers: () => [],
  // It moves numbers and changes none.
  keepsZero: true,
  shape({ block }, [input]) {
    const [channels, height, width] = expectPicture(input);
    const sensible = Number.isInteger(block) && block >= 1 && block <= LARGEST_BLOCK;
    if (!sensible || channels % block ** 2 !== 0) {
      throw new Error(`spreads ${channels} channels over blocks of ${block} x ${block} pixels`);
    }
    return [channels / block ** 2, height * block, width * block];
  },
  macs: () => 0,
  channels({ block, inputs: [value], output }, [[channels]], _output, rules) {
    for (let c = 0; c < channels; c++) rules.couple(value, c, output, Math.floor(c / block ** 2));
  },
  cut: (node) => node,
};
