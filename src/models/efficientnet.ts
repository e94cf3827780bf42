import type { Graph, Shape } from "../graph/graph.ts";
import { GraphBuilder } from "./builder.ts";
import { invertedResidual } from "./inverted_residual.ts";
import { convolutionUnit, pooledClassifier, sequential } from "./layers.ts";

/** Expansion, kernel, stride of the first block, channels, blocks (arXiv 1905.11946, table 1). */
const STAGES = [
  [1, 3, 1, 16, 1],
  [6, 3, 2, 24, 2],
  [6, 5, 2, 40, 2],
  [6, 3, 2, 80, 3],
  [6, 5, 1, 112, 3],
  [6, 5, 2, 192, 4],
  [6, 3, 1, 320, 1],
] as const;

export interface EfficientNetOptions {
  readonly classes: number;
  readonly shape: Shape;
  readonly seed?: number;
}

/**
 * EfficientNet-B0 (Tan & Le, arXiv 1905.11946), with torchvision's names; without the stochastic
 * depth of its blocks and the dropout before its classifier.
 */
export function efficientNetB0({ classes, shape, seed = 0 }: EfficientNetOptions): Graph {
  const builder = new GraphBuilder("efficientnet_b0", shape, seed);
  const activation = "silu";
  const stem = { out: 32, kernel: 3, stride: 2, padding: 1, activation } as const;
  let value = convolutionUnit(builder, sequential("features.0"), builder.input, stem);
  STAGES.forEach(([expansion, kernel, first, out, blocks], stage) => {
    for (let block = 0; block < blocks; block++) {
      const [channels] = builder.shape(value);
      const excitation = {
        squeeze: Math.floor(channels / 4),
        activation,
        gate: "sigmoid",
      } as const;
      value = invertedResidual(builder, `features.${stage + 1}.${block}.block`, value, {
        expanded: expansion * channels,
        out,
        kernel,
        stride: block === 0 ? first : 1,
        activation,
        excitation,
      });
    }
  });
  const last = { out: 1280, kernel: 1, activation } as const;
  value = convolutionUnit(builder, sequential(`features.${STAGES.length + 1}`), value, last);
  return builder.finish(pooledClassifier(builder, "classifier.1", value, classes));
}
