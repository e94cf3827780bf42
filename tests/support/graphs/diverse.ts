/**
 * Random small networks of every operator and every way channels couple, for property tests:
 * random.ts with concatenations, splits, shuffles, products, all activations, upsampling,
 * normalisation of channels and shared weights.
 */

import type { Graph } from "../../../src/graph/graph.ts";
import { GraphBuilder } from "../../../src/models/builder.ts";
import { RandomStream } from "../../../src/random.ts";
import { EXPORTED_BLOCKS } from "./exported_blocks.ts";
import { activate, type Block, layer } from "./layers.ts";
import { unsettle } from "./random.ts";

/** Makes layers named on the left use the weights of those on the right. */
function tie(graph: Graph, tied: ReadonlyMap<string, string>): Graph {
  const nodes = graph.nodes.map((node) => {
    const other = node.op === "convolution" ? tied.get(node.name) : undefined;
    return other === undefined ? node : { ...node, weight: `${other}.weight` };
  });
  const parameters = new Map(graph.parameters);
  for (const name of tied.keys()) parameters.delete(`${name}.weight`);
  return { ...graph, nodes: nodes as Graph["nodes"], parameters };
}

/** A residual block whose shortcut is the identity, a projection or option A. */
function residual(builder: GraphBuilder, name: string, value: string, random: RandomStream) {
  const channels = builder.shape(value)[0];
  const kind = random.integer(3);
  const out = kind === 0 ? channels : channels + 2 * (1 + random.integer(2));
  const stride = kind !== 0 && builder.shape(value)[1] >= 4 ? 2 : 1;
  let main = layer(builder, `${name}.a`, value, random, {
    out: 3 + random.integer(4),
    kernel: 3,
    stride,
  });
  main = layer(builder, `${name}.b`, main, random, { out, kernel: 3 }, false);
  let shortcut = value;
  if (kind === 1) {
    shortcut = layer(builder, `${name}.down`, value, random, { out, kernel: 1, stride }, false);
  } else if (kind === 2) {
    if (stride === 2) shortcut = builder.subsample(`${name}.slice`, value, 2);
    const before = (out - channels) / 2;
    const from = Array.from({ length: out }, (_, channel) => {
      const source = channel - before;
      return source >= 0 && source < channels ? source : -1;
    });
    shortcut = builder.channelMap(`${name}.pad`, shortcut, from);
  }
  return activate(builder, `${name}.act`, builder.add(`${name}.add`, main, shortcut), random);
}

/** Layers that each read everything before them (DenseNet), normalised after the concatenation. */
function dense(builder: GraphBuilder, name: string, value: string, random: RandomStream) {
  for (let growth = 0; growth < 1 + random.integer(2); growth++) {
    const grown = layer(builder, `${name}.${growth}`, value, random, {
      out: 2 + random.integer(3),
      kernel: 3,
    }, random.integer(2) === 0);
    const joined = random.integer(2) === 0 ? [value, grown] : [grown, value];
    value = builder.concat(`${name}.${growth}.concat`, joined);
    value = builder.batchNorm(`${name}.${growth}.norm`, value);
    value = activate(builder, `${name}.${growth}.out`, value, random);
  }
  return value;
}

/** Branches side by side (Inception), one of them perhaps a pool. */
function branches(builder: GraphBuilder, name: string, value: string, random: RandomStream) {
  const outputs = Array.from(
    { length: 2 + random.integer(2) },
    (_, branch) =>
      layer(builder, `${name}.${branch}`, value, random, {
        out: 2 + random.integer(3),
        kernel: branch % 2 === 0 ? 1 : 3,
      }),
  );
  return builder.concat(`${name}.concat`, outputs);
}

/** Half of the channels go through layers, then all are shuffled (ShuffleNet V2). */
function shuffled(builder: GraphBuilder, name: string, value: string, random: RandomStream) {
  const channels = builder.shape(value)[0], half = channels >> 1;
  const range = (first: number, count: number) =>
    Array.from({ length: count }, (_, index) => first + index);
  const kept = builder.channelMap(`${name}.kept`, value, range(0, half));
  let other = builder.channelMap(`${name}.other`, value, range(half, channels - half));
  if (random.integer(2) === 0) {
    const out = builder.shape(other)[0];
    const options = { out, kernel: 3, groups: out };
    other = layer(builder, `${name}.depthwise`, other, random, options, false);
  }
  other = layer(builder, `${name}.point`, other, random, { out: half, kernel: 1 });
  const joined = builder.concat(`${name}.concat`, [kept, other]);
  const order = Array.from(random.permutation(builder.shape(joined)[0]));
  return builder.channelMap(`${name}.shuffle`, joined, order);
}

/** Squeeze and excitation (Hu et al., arXiv 1709.01507), or a product of two layers. */
function excited(builder: GraphBuilder, name: string, value: string, random: RandomStream) {
  const out = builder.shape(value)[0];
  if (random.integer(3) === 0) {
    const a = layer(builder, `${name}.a`, value, random, { out: 5, kernel: 3 });
    const b = layer(builder, `${name}.b`, value, random, { out: 5, kernel: 1 });
    return builder.multiply(`${name}.product`, a, b);
  }
  let gate = builder.globalAveragePool(`${name}.pool`, value);
  gate = builder.convolution(`${name}.squeeze`, gate, { out: 3, kernel: 1, bias: true });
  gate = activate(builder, `${name}.middle`, gate, random);
  gate = builder.convolution(`${name}.excite`, gate, { out, kernel: 1, bias: true });
  const kind = random.integer(2) === 0 ? "sigmoid" : "hard_sigmoid";
  gate = builder.activation(`${name}.gate`, gate, kind);
  const [a, b] = random.integer(2) === 0 ? [value, gate] : [gate, value];
  return builder.multiply(`${name}.product`, a, b);
}

/** A depthwise and a pointwise layer. */
function separable(builder: GraphBuilder, name: string, value: string, random: RandomStream) {
  const groups = builder.shape(value)[0];
  const depthwise = layer(builder, `${name}.depthwise`, value, random, {
    out: groups,
    kernel: 3,
    groups,
  });
  const out = 4 + random.integer(5);
  return layer(builder, `${name}.point`, depthwise, random, { out, kernel: 1 });
}

function grouped(builder: GraphBuilder, name: string, value: string, random: RandomStream) {
  const even = layer(builder, `${name}.even`, value, random, { out: 6, kernel: 1 });
  return layer(builder, `${name}.grouped`, even, random, { out: 8, kernel: 3, groups: 2 });
}

function plain(builder: GraphBuilder, name: string, value: string, random: RandomStream) {
  return layer(builder, name, value, random, {
    out: 4 + random.integer(5),
    kernel: 3,
    dilation: 1 + random.integer(2),
  });
}

function pooled(builder: GraphBuilder, name: string, value: string, random: RandomStream) {
  if (builder.shape(value)[1] >= 4) return builder.maxPool(`${name}.pool`, value, 2, 2);
  return layer(builder, name, value, random, { out: 5, kernel: 1 });
}

/** Twice the size, by a transposed convolution or by resizing, where pictures are small. */
function upsampled(builder: GraphBuilder, name: string, value: string, random: RandomStream) {
  const [channels, height] = builder.shape(value);
  if (height > 6) value = builder.maxPool(`${name}.pool`, value, 2, 2);
  const kind = random.integer(4);
  if (kind > 1) {
    const mode = kind === 2 ? "nearest" : "linear";
    const resized = builder.resize(`${name}.resize`, value, 2, mode);
    return plain(builder, `${name}.smooth`, resized, random);
  }
  const options = { kernel: 3, stride: 2, padding: 1, outputPadding: random.integer(2) };
  const bias = random.integer(2) === 0;
  const depthwise = { ...options, out: channels, groups: channels, bias };
  const dense = { ...options, out: 4, groups: channels % 2 === 0 ? 2 : 1, bias };
  const up = builder.transposedConvolution(`${name}.up`, value, kind === 0 ? depthwise : dense);
  return activate(builder, `${name}.act`, builder.batchNorm(`${name}.norm`, up), random);
}

/** Something that looks at all channels at once. */
function normalised(builder: GraphBuilder, name: string, value: string, random: RandomStream) {
  const kind = random.integer(3);
  if (kind === 0) value = builder.layerNorm(`${name}.norm`, value, 1e-3);
  else if (kind === 1) {
    const options = { size: 3 + 2 * random.integer(2), alpha: 0.3, beta: 0.75, bias: 1 };
    value = builder.localResponseNorm(`${name}.norm`, value, options);
  } else {
    const shares = builder.softmax(`${name}.softmax`, value);
    value = builder.multiply(`${name}.product`, value, shares);
  }
  return plain(builder, `${name}.after`, value, random);
}

/** The same kernel twice in a row. */
function recurrent(
  builder: GraphBuilder,
  name: string,
  value: string,
  random: RandomStream,
  tied: Map<string, string>,
) {
  const options = { out: builder.shape(value)[0], kernel: 3 };
  const once = layer(builder, `${name}.once`, value, random, options);
  tied.set(`${name}.twice.conv`, `${name}.once.conv`);
  return layer(builder, `${name}.twice`, once, random, options);
}

export const BLOCKS: readonly Block[] = [
  ...[plain, separable, grouped, pooled, residual, residual],
  ...[dense, branches, shuffled, excited, upsampled, normalised, recurrent],
  ...EXPORTED_BLOCKS,
];

/** A network of `blocks` random blocks on [3, 8, 8] pictures with 4 classes. */
export function diverseGraph(seed: number, blocks = 4): Graph {
  const random = new RandomStream(seed, "diverse graph");
  const builder = new GraphBuilder(`diverse${seed}`, [3, 8, 8], seed);
  const out = 4 + 2 * random.integer(3);
  let value = layer(builder, "stem", builder.input, random, { out, kernel: 3 });
  const tied = new Map<string, string>();
  for (let block = 0; block < blocks; block++) {
    value = BLOCKS[random.integer(BLOCKS.length)](builder, `block${block}`, value, random, tied);
  }
  if (random.integer(2) === 0) value = builder.globalAveragePool("pool", value);
  value = builder.flatten("flatten", value);
  const graph = builder.finish(builder.linear("classifier", value, 4));
  return unsettle(tie(graph, tied), random);
}
