import type { Graph, Shape } from "../graph/graph.ts";
import { GraphBuilder } from "./builder.ts";
import { adaptiveAveragePool, convolutionUnit, sequential } from "./layers.ts";

/** Output channels by layer, "M" for a 2 x 2 maximum (Simonyan & Zisserman, arXiv 1409.1556). */
const LAYERS = {
  16: [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"],
  19: [
    ...[64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M"],
    ...[512, 512, 512, 512, "M", 512, 512, 512, 512, "M"],
  ],
} as const;

export interface VggOptions {
  readonly depth: keyof typeof LAYERS;
  readonly classes: number;
  readonly shape: Shape;
  readonly seed?: number;
  /** Divides the channels and hidden features of the paper; 1 is its model. */
  readonly narrower?: number;
}

/** The convolutions, named features.N as in torchvision's state dicts. */
function features(builder: GraphBuilder, depth: VggOptions["depth"], narrower = 1): string {
  let value = builder.input;
  let index = 0;
  for (const layer of LAYERS[depth]) {
    if (layer === "M") {
      value = builder.maxPool(`features.${index}`, value, 2, 2);
      index += 1;
      continue;
    }
    value = convolutionUnit(builder, sequential("features", index), value, {
      out: layer / narrower,
      kernel: 3,
      padding: 1,
      bias: true,
      activation: "relu",
    });
    index += 3;
  }
  return value;
}

/**
 * VGG with batch norm for small pictures: the convolutions of the paper, then one linear layer, as
 * pruning papers use it. Names: features.N as in torchvision's state dicts, classifier.
 */
export function cifarVgg({ depth, classes, shape, seed = 0, narrower }: VggOptions): Graph {
  const builder = new GraphBuilder(`vgg${depth}`, shape, seed);
  const value = builder.flatten("flatten", features(builder, depth, narrower));
  return builder.finish(builder.linear("classifier", value, classes));
}

/**
 * VGG with batch norm (arXiv 1409.1556), with torchvision's names; without the dropout of its
 * classifier. Throws "graph-unsupported" for pictures whose features do not average to 7 x 7 cells
 * in windows of one size: 32 to 95, 224 to 287, 448 to 511 pixels and so on do.
 */
export function vgg({ depth, classes, shape, seed = 0, narrower = 1 }: VggOptions): Graph {
  const builder = new GraphBuilder(`vgg${depth}_bn`, shape, seed);
  let value = features(builder, depth, narrower);
  value = builder.flatten("flatten", adaptiveAveragePool(builder, "avgpool", value, 7));
  for (const index of [0, 3]) {
    value = builder.linear(`classifier.${index}`, value, 4096 / narrower);
    value = builder.relu(`classifier.${index + 1}`, value);
  }
  return builder.finish(builder.linear("classifier.6", value, classes));
}
