/** Random small networks that hold every way channels couple, for property tests. */

import type { Graph } from "../../../src/graph/graph.ts";
import { GraphBuilder } from "../../../src/models/builder.ts";
import { RandomStream } from "../../../src/random.ts";
import type { Tensor } from "../../../src/tensor.ts";

/** Batch norms get random statistics, scales near one and real offsets, so nothing is neutral. */
export function unsettle(graph: Graph, random: RandomStream): Graph {
  const parameters = new Map<string, Tensor>();
  for (const [name, tensor] of graph.parameters) {
    const draw = (make: () => number): Tensor => ({
      shape: tensor.shape,
      data: Float32Array.from(tensor.data, make),
    });
    const norm = graph.nodes.find((node) => node.op === "batch_norm" && name.startsWith(node.name));
    if (name.endsWith("running_mean")) parameters.set(name, draw(() => 0.3 * random.normal()));
    else if (name.endsWith("running_var")) {
      parameters.set(name, draw(() => 0.5 + 1.5 * random.uniform()));
    } else if (name.endsWith("bias")) parameters.set(name, draw(() => 0.3 * random.normal()));
    else if (norm !== undefined) parameters.set(name, draw(() => 0.7 + 0.6 * random.uniform()));
    else parameters.set(name, tensor);
  }
  return { ...graph, parameters };
}

export interface LayerOptions {
  readonly out: number;
  readonly kernel: number;
  readonly stride?: number;
  readonly groups?: number;
  readonly dilation?: number;
}

/** A convolution that keeps the picture's size at stride 1, with batch norm; biased or not. */
export function normalisedLayer(
  builder: GraphBuilder,
  name: string,
  value: string,
  options: LayerOptions,
): string {
  const { kernel, dilation = 1 } = options;
  const padding = dilation * (kernel - 1) / 2;
  const bias = options.out % 2 === 0;
  const result = builder.convolution(`${name}.conv`, value, { ...options, padding, bias });
  return builder.batchNorm(`${name}.bn`, result);
}

/** One layer with batch norm and activation. */
function layer(
  builder: GraphBuilder,
  name: string,
  value: string,
  options: LayerOptions,
  activate = true,
): string {
  const result = normalisedLayer(builder, name, value, options);
  return activate ? builder.relu(`${name}.relu`, result) : result;
}

/** A residual block whose shortcut is the identity, a projection or option A. */
function residual(builder: GraphBuilder, name: string, value: string, random: RandomStream) {
  const channels = builder.shape(value)[0];
  const kind = random.integer(3);
  const out = kind === 0 ? channels : channels + 2 * (1 + random.integer(2));
  const stride = kind !== 0 && builder.shape(value)[1] >= 4 ? 2 : 1;
  let main = layer(builder, `${name}.a`, value, { out: 3 + random.integer(4), kernel: 3, stride });
  main = layer(builder, `${name}.b`, main, { out, kernel: 3 }, false);
  let shortcut = value;
  if (kind === 1) {
    shortcut = layer(builder, `${name}.down`, value, { out, kernel: 1, stride }, false);
  } else if (kind === 2) {
    if (stride === 2) shortcut = builder.subsample(`${name}.slice`, value, 2);
    const before = (out - channels) / 2;
    const from = Array.from({ length: out }, (_, channel) => {
      const source = channel - before;
      return source >= 0 && source < channels ? source : -1;
    });
    shortcut = builder.channelMap(`${name}.pad`, shortcut, from);
  }
  return builder.relu(`${name}.relu`, builder.add(`${name}.add`, main, shortcut));
}

/** A network of `blocks` random blocks on [3, 8, 8] pictures with 4 classes. */
export function randomGraph(seed: number, blocks = 4): Graph {
  const random = new RandomStream(seed, "random graph");
  const builder = new GraphBuilder(`random${seed}`, [3, 8, 8], seed);
  let value = layer(builder, "stem", builder.input, { out: 4 + 2 * random.integer(3), kernel: 3 });
  for (let block = 0; block < blocks; block++) {
    const channels = builder.shape(value)[0];
    const name = `block${block}`;
    switch (random.integer(6)) {
      case 0:
        value = layer(builder, name, value, {
          out: 4 + random.integer(5),
          kernel: 3,
          dilation: 1 + random.integer(2),
        });
        break;
      case 1:
        value = layer(builder, `${name}.depthwise`, value, {
          out: channels,
          kernel: 3,
          groups: channels,
        });
        value = layer(builder, `${name}.point`, value, { out: 4 + random.integer(5), kernel: 1 });
        break;
      case 2: {
        value = layer(builder, `${name}.even`, value, { out: 6, kernel: 1 });
        value = layer(builder, `${name}.grouped`, value, { out: 8, kernel: 3, groups: 2 });
        break;
      }
      case 3:
        if (builder.shape(value)[1] >= 4) value = builder.maxPool(`${name}.pool`, value, 2, 2);
        else value = layer(builder, name, value, { out: 5, kernel: 1 });
        break;
      default:
        value = residual(builder, name, value, random);
    }
  }
  if (random.integer(2) === 0) value = builder.globalAveragePool("pool", value);
  value = builder.flatten("flatten", value);
  return unsettle(builder.finish(builder.linear("classifier", value, 4)), random);
}
