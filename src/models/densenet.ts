import type { Graph, Shape } from "../graph/graph.ts";
import { GraphBuilder } from "./builder.ts";
import { convolutionUnit, pooledClassifier } from "./layers.ts";

export interface DenseNetOptions {
  readonly classes: number;
  readonly shape: Shape;
  readonly seed?: number;
}

/** Names of the layers before and in a convolution that is normalised first. */
interface Names {
  readonly norm: string;
  readonly relu: string;
  readonly convolution: string;
}

/** Batch norm, ReLU, convolution that keeps height and width. */
function normalisedFirst(
  builder: GraphBuilder,
  names: Names,
  value: string,
  out: number,
  kernel: number,
): string {
  const active = builder.relu(names.relu, builder.batchNorm(names.norm, value));
  const padding = (kernel - 1) / 2;
  return builder.convolution(names.convolution, active, { out, kernel, padding });
}

const GROWTH = 32;
const LAYERS = [6, 12, 24, 16];

/** A 1 x 1 convolution to four times the growth, then a 3 x 3 one to the growth. */
function bottleneckLayer(builder: GraphBuilder, name: string, value: string): string {
  const names = (index: number) => ({
    norm: `${name}.norm${index}`,
    relu: `${name}.relu${index}`,
    convolution: `${name}.conv${index}`,
  });
  const inner = normalisedFirst(builder, names(1), value, 4 * GROWTH, 1);
  return builder.concat(name, [value, normalisedFirst(builder, names(2), inner, GROWTH, 3)]);
}

/** DenseNet-121 (Huang et al., arXiv 1608.06993), with torchvision's names. */
export function denseNet121({ classes, shape, seed = 0 }: DenseNetOptions): Graph {
  const builder = new GraphBuilder("densenet121", shape, seed);
  const stem = { out: 64, kernel: 7, stride: 2, padding: 3, activation: "relu" } as const;
  const first = {
    convolution: "features.conv0",
    norm: "features.norm0",
    activation: "features.relu0",
  };
  let value = convolutionUnit(builder, first, builder.input, stem);
  value = builder.maxPool("features.pool0", value, 3, 2, 1);
  LAYERS.forEach((count, index) => {
    const block = `features.denseblock${index + 1}`;
    for (let layer = 1; layer <= count; layer++) {
      value = bottleneckLayer(builder, `${block}.denselayer${layer}`, value);
    }
    if (index === LAYERS.length - 1) return;
    const transition = `features.transition${index + 1}`;
    const names = {
      norm: `${transition}.norm`,
      relu: `${transition}.relu`,
      convolution: `${transition}.conv`,
    };
    value = normalisedFirst(builder, names, value, builder.shape(value)[0] / 2, 1);
    value = builder.averagePool(`${transition}.pool`, value, 2, 2);
  });
  value = builder.relu("relu", builder.batchNorm("features.norm5", value));
  return builder.finish(pooledClassifier(builder, "classifier", value, classes));
}

const CIFAR_GROWTH = 12;

/**
 * DenseNet-40 for small pictures (arXiv 1608.06993, section 3): three blocks of twelve 3 x 3
 * convolutions of 12 channels, no bottlenecks, transitions that keep their width. Names as in the
 * PyTorch implementation of HRank (arXiv 2002.10179): conv1, dense1.0.bn1, dense1.0.conv1,
 * trans1.bn1, trans1.conv1, ..., bn, fc. Without dropout.
 */
export function cifarDenseNet40({ classes, shape, seed = 0 }: DenseNetOptions): Graph {
  const builder = new GraphBuilder("densenet40", shape, seed);
  const names = (name: string) => ({
    norm: `${name}.bn1`,
    relu: `${name}.relu`,
    convolution: `${name}.conv1`,
  });
  const stem = { out: 2 * CIFAR_GROWTH, kernel: 3, padding: 1 };
  let value = builder.convolution("conv1", builder.input, stem);
  for (let block = 1; block <= 3; block++) {
    for (let layer = 0; layer < 12; layer++) {
      const name = `dense${block}.${layer}`;
      const grown = normalisedFirst(builder, names(name), value, CIFAR_GROWTH, 3);
      value = builder.concat(name, [value, grown]);
    }
    if (block === 3) break;
    const name = `trans${block}`;
    value = normalisedFirst(builder, names(name), value, builder.shape(value)[0], 1);
    value = builder.averagePool(`${name}.pool`, value, 2, 2);
  }
  value = builder.relu("relu", builder.batchNorm("bn", value));
  return builder.finish(pooledClassifier(builder, "fc", value, classes));
}
