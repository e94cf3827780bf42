import type { Graph, Shape } from "../graph/graph.ts";
import { GraphBuilder } from "./builder.ts";

/** Output channels by layer, "M" for a 2 x 2 maximum (Simonyan & Zisserman, arXiv 1409.1556). */
const LAYERS = {
  16: [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"],
  19: [
    ...[64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M"],
    ...[512, 512, 512, 512, "M", 512, 512, 512, 512, "M"],
  ],
} as const;

export type VggDepth = keyof typeof LAYERS;

export interface CifarVggOptions {
  readonly depth: VggDepth;
  readonly classes: number;
  readonly shape: Shape;
  readonly seed?: number;
}

/**
 * VGG with batch norm for small pictures: the convolutions of the paper, then one linear layer, as
 * pruning papers use it. Names: features.N as in torchvision's state dicts, classifier.
 */
export function cifarVgg({ depth, classes, shape, seed = 0 }: CifarVggOptions): Graph {
  const builder = new GraphBuilder(`vgg${depth}`, shape, seed);
  let value = builder.input;
  let index = 0;
  for (const layer of LAYERS[depth]) {
    if (layer === "M") {
      value = builder.maxPool(`features.${index}`, value, 2, 2);
      index += 1;
      continue;
    }
    const options = { out: layer, kernel: 3, padding: 1, bias: true };
    value = builder.convolution(`features.${index}`, value, options);
    value = builder.batchNorm(`features.${index + 1}`, value);
    value = builder.relu(`features.${index + 2}`, value);
    index += 3;
  }
  return builder.finish(builder.linear("classifier", builder.flatten("flatten", value), classes));
}
