import type { Graph, Shape } from "../graph/graph.ts";
import { GraphBuilder } from "./builder.ts";

/**
 * How a CIFAR ResNet's shortcut crosses a change of width (He et al., arXiv 1512.03385, 3.3):
 * A subsamples and pads with zero channels, B projects with a 1 x 1 convolution.
 */
export type Shortcut = "A" | "B";

export interface CifarResNetOptions {
  /** Depth, 6n + 2. */
  readonly depth: number;
  readonly classes: number;
  readonly shape: Shape;
  readonly shortcut?: Shortcut;
  /** Channels of the first stage, 16 in the paper; the others double it. */
  readonly width?: number;
  readonly seed?: number;
}

/** Zero channels on both sides of the source's, as in the reference implementation. */
function centred(source: number, target: number): number[] {
  const before = Math.floor((target - source) / 2);
  return Array.from({ length: target }, (_, channel) => {
    const from = channel - before;
    return from >= 0 && from < source ? from : -1;
  });
}

function shortcutOf(
  builder: GraphBuilder,
  name: string,
  value: string,
  out: number,
  stride: number,
  kind: Shortcut,
): string {
  const source = builder.shape(value)[0];
  if (stride === 1 && source === out) return value;
  if (kind === "B") {
    const projected = builder.convolution(`${name}.0`, value, { out, kernel: 1, stride });
    return builder.batchNorm(`${name}.1`, projected);
  }
  const subsampled = stride === 1 ? value : builder.subsample(`${name}.slice`, value, stride);
  return builder.channelMap(`${name}.pad`, subsampled, centred(source, out));
}

function basicBlock(
  builder: GraphBuilder,
  name: string,
  value: string,
  out: number,
  stride: number,
  kind: Shortcut,
): string {
  let main = builder.convolution(`${name}.conv1`, value, { out, kernel: 3, stride, padding: 1 });
  main = builder.relu(`${name}.relu1`, builder.batchNorm(`${name}.bn1`, main));
  main = builder.convolution(`${name}.conv2`, main, { out, kernel: 3, padding: 1 });
  main = builder.batchNorm(`${name}.bn2`, main);
  const shortcut = shortcutOf(builder, `${name}.shortcut`, value, out, stride, kind);
  return builder.relu(`${name}.relu2`, builder.add(`${name}.add`, main, shortcut));
}

/**
 * ResNet for small pictures with three stages of (depth - 2) / 6 basic blocks (arXiv 1512.03385,
 * section 4.2). Names follow the widely used PyTorch state dicts: conv1, bn1, layer1.0.conv1, ...,
 * linear.
 */
export function cifarResNet(options: CifarResNetOptions): Graph {
  const { depth, classes, shape, shortcut = "A", width = 16, seed = 0 } = options;
  const blocks = (depth - 2) / 6;
  const builder = new GraphBuilder(`resnet${depth}`, shape, seed);
  let value = builder.convolution("conv1", builder.input, { out: width, kernel: 3, padding: 1 });
  value = builder.relu("relu1", builder.batchNorm("bn1", value));
  for (let stage = 1; stage <= 3; stage++) {
    for (let block = 0; block < blocks; block++) {
      const stride = stage > 1 && block === 0 ? 2 : 1;
      const out = width * 2 ** (stage - 1);
      value = basicBlock(builder, `layer${stage}.${block}`, value, out, stride, shortcut);
    }
  }
  value = builder.flatten("flatten", builder.globalAveragePool("pool", value));
  return builder.finish(builder.linear("linear", value, classes));
}
