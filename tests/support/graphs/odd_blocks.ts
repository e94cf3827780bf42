/** Blocks that join, split, repeat and share channels as few networks do, for property tests. */

import { ACTIVATION_KINDS } from "../../../src/graph/graph.ts";
import type { GraphBuilder } from "../../../src/models/builder.ts";
import { activate, type Block, layer } from "./layers.ts";

const range = (first: number, count: number) =>
  Array.from({ length: count }, (_, index) => first + index);

const channelsOf = (builder: GraphBuilder, value: string): number => builder.shape(value)[0];

/** Parts of the channels go ways of their own and come together in another order. */
const splitAndJoined: Block = (builder, name, value, random) => {
  const channels = channelsOf(builder, value);
  const first = 1 + random.integer(channels - 1);
  const parts = [range(0, first), range(first, channels - first)].map((from, part) => {
    const taken = builder.channelMap(`${name}.part${part}`, value, from);
    const kind = random.integer(3);
    if (kind === 0) return taken;
    if (kind === 1) return builder.batchNorm(`${name}.norm${part}`, taken);
    const out = 1 + random.integer(4);
    return layer(builder, `${name}.${part}`, taken, random, { out, kernel: 3 });
  });
  if (random.integer(2) === 0) parts.reverse();
  return builder.concat(`${name}.concat`, parts);
};

/** Some channels several times, some not at all. */
const repeated: Block = (builder, name, value, random) => {
  const channels = channelsOf(builder, value);
  const from = Array.from({ length: 2 + random.integer(6) }, () => random.integer(channels));
  const mapped = builder.channelMap(`${name}.map`, value, from);
  return activate(builder, `${name}.act`, builder.batchNorm(`${name}.norm`, mapped), random);
};

/** Channels with zeros between them, alone or added to those of a layer. */
const holed: Block = (builder, name, value, random) => {
  const channels = channelsOf(builder, value);
  const from = Array.from(
    { length: 3 + random.integer(5) },
    () => random.integer(3) === 0 ? -1 : random.integer(channels),
  );
  const mapped = builder.channelMap(`${name}.map`, value, from);
  const out = { out: from.length, kernel: 3 };
  if (random.integer(2) === 0) return layer(builder, `${name}.after`, mapped, random, out);
  const other = layer(builder, `${name}.beside`, value, random, out);
  return builder.add(`${name}.add`, other, mapped);
};

/** A value joined with itself: added, concatenated, or on both sides of a layer. */
const withItself: Block = (builder, name, value, random) => {
  const kind = random.integer(3);
  if (kind === 0) return activate(builder, `${name}.act`, builder.add(name, value, value), random);
  const out = 1 + random.integer(3);
  const values = kind === 1
    ? [value, value]
    : [value, layer(builder, `${name}.between`, value, random, { out, kernel: 1 }), value];
  const joined = builder.concat(`${name}.concat`, values);
  return layer(builder, `${name}.after`, joined, random, { out: 4 + random.integer(3), kernel: 1 });
};

/** Several outputs for every channel of a depthwise layer, perhaps transposed. */
const multiplied: Block = (builder, name, value, random) => {
  const groups = channelsOf(builder, value), out = 2 * groups;
  if (random.integer(2) === 0) {
    return layer(builder, name, value, random, { out, kernel: 3, groups });
  }
  const bias = random.integer(2) === 0;
  const options = { out, groups, kernel: 2, stride: 1, padding: 0, bias };
  const up = builder.transposedConvolution(`${name}.up`, value, options);
  return builder.maxPool(`${name}.pool`, builder.batchNorm(`${name}.norm`, up), 2, 1);
};

/** One output that is no depthwise layer's: of all channels, or of every group of several. */
const oneOutput: Block = (builder, name, value, random) => {
  if (random.integer(2) === 0) {
    const six = layer(builder, `${name}.six`, value, random, { out: 6, kernel: 1 });
    return layer(builder, `${name}.three`, six, random, { out: 3, kernel: 3, groups: 3 });
  }
  const one = layer(builder, `${name}.one`, value, random, { out: 1, kernel: 3 });
  if (random.integer(2) === 0) return builder.concat(`${name}.concat`, [value, one]);
  return layer(builder, `${name}.out`, one, random, { out: 3 + random.integer(3), kernel: 1 });
};

/** Grouped layers with a shuffle between them, or one behind a concatenation of two others. */
const groupedTwice: Block = (builder, name, value, random) => {
  if (random.integer(2) === 0) {
    const parts = [2, 4].map((out) =>
      layer(builder, `${name}.of${out}`, value, random, { out, kernel: 1 })
    );
    const joined = builder.concat(`${name}.concat`, parts);
    return layer(builder, `${name}.grouped`, joined, random, { out: 6, kernel: 3, groups: 3 });
  }
  let grouped = layer(builder, `${name}.start`, value, random, { out: 6, kernel: 1 });
  grouped = layer(builder, `${name}.first`, grouped, random, { out: 6, kernel: 1, groups: 2 });
  const shuffle = [0, 2, 4, 1, 3, 5].map((_, c) => (c % 3) * 2 + Math.floor(c / 3));
  const shuffled = builder.channelMap(`${name}.shuffle`, grouped, shuffle);
  return layer(builder, `${name}.second`, shuffled, random, { out: 6, kernel: 3, groups: 3 });
};

/** A transposed convolution in groups, read by another layer in groups. */
const groupedUp: Block = (builder, name, value, random) => {
  const even = layer(builder, `${name}.even`, value, random, { out: 6, kernel: 1 });
  const options = { out: 4, groups: 2, kernel: 2, stride: 2, padding: 0, bias: true };
  const up = builder.transposedConvolution(`${name}.up`, even, options);
  const pooled = builder.averagePool(`${name}.pool`, up, 2, 2);
  return layer(builder, `${name}.after`, pooled, random, { out: 4, kernel: 1, groups: 2 });
};

/** One kernel for a dense layer of two channels and one of four in two groups. */
const sharedInGroups: Block = (builder, name, value, random, tied) => {
  const two = layer(builder, `${name}.two`, value, random, { out: 2, kernel: 1 });
  const dense = layer(builder, `${name}.dense`, two, random, { out: 4, kernel: 3 });
  tied.set(`${name}.grouped.conv.weight`, `${name}.dense.conv.weight`);
  return layer(builder, `${name}.grouped`, dense, random, { out: 4, kernel: 3, groups: 2 });
};

/** Two layers with batch norm's parameters in common, one of them with its bias as well. */
const sharedNorm: Block = (builder, name, value, random, tied) => {
  const out = 4;
  const [a, b] = ["a", "b"].map((branch, k) =>
    layer(builder, `${name}.${branch}`, value, random, { out, kernel: 2 * k + 1 })
  );
  for (const part of ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "conv.bias"]) {
    tied.set(`${name}.b.${part}`, `${name}.a.${part}`);
  }
  return random.integer(2) === 0
    ? builder.concat(`${name}.concat`, [a, b])
    : builder.multiply(`${name}.product`, a, b);
};

/** The same layer on two sizes of a picture, whose answers come together. */
const pyramid: Block = (builder, name, value, random, tied) => {
  const options = { out: 3 + random.integer(3), kernel: 3 };
  const small = builder.averagePool(`${name}.pool`, value, 2, 1);
  const [a, b] = [value, small].map((level, k) =>
    layer(builder, `${name}.${k}`, level, random, options, false)
  );
  tied.set(`${name}.1.conv.weight`, `${name}.0.conv.weight`);
  const whole = builder.maxPool(`${name}.whole`, a, 2, 1);
  return random.integer(2) === 0
    ? builder.add(`${name}.add`, whole, b)
    : builder.concat(`${name}.concat`, [whole, b]);
};

/** A gate for every channel from the channels of another layer, times two values. */
const gatedTwice: Block = (builder, name, value, random) => {
  const out = channelsOf(builder, value);
  const other = layer(builder, `${name}.other`, value, random, { out, kernel: 3 });
  const pooled = builder.globalAveragePool(`${name}.pool`, other);
  const kind = ACTIVATION_KINDS[random.integer(3)];
  const gate = builder.activation(`${name}.gate`, pooled, kind);
  const product = builder.multiply(`${name}.product`, gate, value);
  return builder.multiply(`${name}.again`, product, other);
};

/** A residual stream that is itself part of a concatenation. */
const nested: Block = (builder, name, value, random) => {
  const out = channelsOf(builder, value);
  const sum = builder.add(
    `${name}.add`,
    value,
    layer(builder, `${name}.a`, value, random, { out, kernel: 3 }),
  );
  const beside = layer(builder, `${name}.b`, sum, random, { out: 2, kernel: 1 });
  const joined = builder.concat(`${name}.concat`, [beside, sum]);
  const last = layer(builder, `${name}.c`, joined, random, { out: out + 2, kernel: 1 });
  return activate(builder, `${name}.act`, builder.add(`${name}.sum`, joined, last), random);
};

export const ODD_BLOCKS: readonly Block[] = [
  ...[splitAndJoined, repeated, holed, withItself, multiplied, oneOutput, groupedTwice],
  ...[groupedUp, sharedInGroups, sharedNorm, pyramid, gatedTwice, nested],
];
