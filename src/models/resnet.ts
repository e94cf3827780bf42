import type { Graph, Shape } from "../graph/graph.ts";
import { GraphBuilder } from "./builder.ts";
import { convolutionUnit, pooledClassifier, sequential } from "./layers.ts";

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

/** Brings a block's input to `out` channels at 1 / stride of the resolution. */
type Crossing = (
  builder: GraphBuilder,
  name: string,
  value: string,
  to: { readonly out: number; readonly stride: number },
) => string;

const projection: Crossing = (builder, name, value, to) =>
  convolutionUnit(builder, sequential(name), value, { ...to, kernel: 1 });

const zeroPadding: Crossing = (builder, name, value, { out, stride }) => {
  const sampled = stride === 1 ? value : builder.subsample(`${name}.slice`, value, stride);
  return builder.channelMap(`${name}.pad`, sampled, centred(builder.shape(value)[0], out));
};

/** What a block computes beside its shortcut: `expansion` times `width` channels. */
interface Block {
  readonly expansion: number;
  readonly convolutions: number;
  main(builder: GraphBuilder, name: string, value: string, width: number, stride: number): string;
}

const numbered = (name: string, index: number) => ({
  convolution: `${name}.conv${index}`,
  norm: `${name}.bn${index}`,
  activation: `${name}.relu${index}`,
});

const BASIC: Block = {
  expansion: 1,
  convolutions: 2,
  main(builder, name, value, out, stride) {
    const options = { out, kernel: 3, padding: 1 };
    const inner = convolutionUnit(builder, numbered(name, 1), value, {
      ...options,
      stride,
      activation: "relu",
    });
    return convolutionUnit(builder, numbered(name, 2), inner, options);
  },
};

/** As torchvision's ("v1.5"): the stride is the 3 x 3 convolution's, not the first one's. */
const BOTTLENECK: Block = {
  expansion: 4,
  convolutions: 3,
  main(builder, name, value, width, stride) {
    const options = { out: width, activation: "relu" } as const;
    let inner = convolutionUnit(builder, numbered(name, 1), value, { ...options, kernel: 1 });
    const square = { ...options, kernel: 3, stride, padding: 1 };
    inner = convolutionUnit(builder, numbered(name, 2), inner, square);
    return convolutionUnit(builder, numbered(name, 3), inner, { out: 4 * width, kernel: 1 });
  },
};

interface Stage {
  readonly block: Block;
  readonly count: number;
  readonly width: number;
  /** Of the first block. */
  readonly stride: number;
  /** Layer name and way of the shortcuts that change width or resolution. */
  readonly shortcut: string;
  readonly crossing: Crossing;
}

function residualStage(
  builder: GraphBuilder,
  name: string,
  value: string,
  { block, count, width, stride, shortcut, crossing }: Stage,
): string {
  const out = block.expansion * width;
  for (let index = 0; index < count; index++) {
    const here = `${name}.${index}`;
    const step = index === 0 ? stride : 1;
    const main = block.main(builder, here, value, width, step);
    const crosses = step !== 1 || builder.shape(value)[0] !== out;
    const beside = crosses
      ? crossing(builder, `${here}.${shortcut}`, value, { out, stride: step })
      : value;
    const sum = builder.add(`${here}.add`, main, beside);
    value = builder.relu(`${here}.relu${block.convolutions}`, sum);
  }
  return value;
}

const STEM = { convolution: "conv1", norm: "bn1", activation: "relu1" };

/**
 * ResNet for small pictures with three stages of (depth - 2) / 6 basic blocks (arXiv 1512.03385,
 * section 4.2). Names follow the widely used PyTorch state dicts: conv1, bn1, layer1.0.conv1, ...,
 * linear.
 */
export function cifarResNet(options: CifarResNetOptions): Graph {
  const { depth, classes, shape, shortcut = "A", width = 16, seed = 0 } = options;
  const builder = new GraphBuilder(`resnet${depth}`, shape, seed);
  const stem = { out: width, kernel: 3, padding: 1, activation: "relu" } as const;
  let value = convolutionUnit(builder, STEM, builder.input, stem);
  for (let stage = 1; stage <= 3; stage++) {
    value = residualStage(builder, `layer${stage}`, value, {
      block: BASIC,
      count: (depth - 2) / 6,
      width: width * 2 ** (stage - 1),
      stride: stage === 1 ? 1 : 2,
      shortcut: "shortcut",
      crossing: shortcut === "A" ? zeroPadding : projection,
    });
  }
  value = builder.flatten("flatten", builder.globalAveragePool("pool", value));
  return builder.finish(builder.linear("linear", value, classes));
}

/** Blocks of each stage (arXiv 1512.03385, table 1). */
const LAYERS = {
  18: [BASIC, [2, 2, 2, 2]],
  34: [BASIC, [3, 4, 6, 3]],
  50: [BOTTLENECK, [3, 4, 6, 3]],
  101: [BOTTLENECK, [3, 4, 23, 3]],
} as const;

export interface ResNetOptions {
  readonly depth: keyof typeof LAYERS;
  readonly classes: number;
  readonly shape: Shape;
  readonly seed?: number;
}

/** ResNet for large pictures (arXiv 1512.03385, table 1), with torchvision's names. */
export function resNet({ depth, classes, shape, seed = 0 }: ResNetOptions): Graph {
  const [block, counts] = LAYERS[depth];
  const builder = new GraphBuilder(`resnet${depth}`, shape, seed);
  const stem = { out: 64, kernel: 7, stride: 2, padding: 3, activation: "relu" } as const;
  let value = convolutionUnit(builder, STEM, builder.input, stem);
  value = builder.maxPool("maxpool", value, 3, 2, 1);
  counts.forEach((count, index) => {
    value = residualStage(builder, `layer${index + 1}`, value, {
      block,
      count,
      width: 64 * 2 ** index,
      stride: index === 0 ? 1 : 2,
      shortcut: "downsample",
      crossing: projection,
    });
  });
  return builder.finish(pooledClassifier(builder, "fc", value, classes));
}
