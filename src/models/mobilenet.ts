import type { Graph, Shape } from "../graph/graph.ts";
import { GraphBuilder } from "./builder.ts";
import { invertedResidual } from "./inverted_residual.ts";
import { activate, convolutionUnit, pooledClassifier, sequential } from "./layers.ts";

export interface MobileNetOptions {
  readonly classes: number;
  readonly shape: Shape;
  readonly seed?: number;
}

/** Expansion, channels, blocks, stride of the first (arXiv 1801.04381, table 2). */
const V2_STAGES = [
  [1, 16, 1, 1],
  [6, 24, 2, 2],
  [6, 32, 3, 2],
  [6, 64, 4, 2],
  [6, 96, 3, 1],
  [6, 160, 3, 2],
  [6, 320, 1, 1],
] as const;

/**
 * MobileNetV2 (Sandler et al., arXiv 1801.04381), with torchvision's names; without the dropout
 * before its classifier.
 */
export function mobileNetV2({ classes, shape, seed = 0 }: MobileNetOptions): Graph {
  const builder = new GraphBuilder("mobilenet_v2", shape, seed);
  const activation = "relu6";
  const stem = { out: 32, kernel: 3, stride: 2, padding: 1, activation } as const;
  let value = convolutionUnit(builder, sequential("features.0"), builder.input, stem);
  let index = 1;
  for (const [expansion, out, blocks, first] of V2_STAGES) {
    for (let block = 0; block < blocks; block++) {
      const name = `features.${index++}.conv`;
      value = invertedResidual(builder, name, value, {
        expanded: expansion * builder.shape(value)[0],
        out,
        kernel: 3,
        stride: block === 0 ? first : 1,
        activation,
        // Not a part of its own here, so that its two layers count as two.
        projection: (part) => sequential(name, part),
      });
    }
  }
  const last = { out: 1280, kernel: 1, activation } as const;
  value = convolutionUnit(builder, sequential(`features.${index}`), value, last);
  return builder.finish(pooledClassifier(builder, "classifier.1", value, classes));
}

type V3Activation = "relu" | "hard_swish";

/** Kernel, expanded channels, channels out, squeeze and excitation, activation, stride. */
type V3Block = readonly [number, number, number, boolean, V3Activation, number];

/** Blocks and width of the last hidden layer (arXiv 1905.02244, tables 1 and 2). */
const V3: Readonly<Record<"large" | "small", { blocks: readonly V3Block[]; hidden: number }>> = {
  large: {
    blocks: [
      [3, 16, 16, false, "relu", 1],
      [3, 64, 24, false, "relu", 2],
      [3, 72, 24, false, "relu", 1],
      [5, 72, 40, true, "relu", 2],
      [5, 120, 40, true, "relu", 1],
      [5, 120, 40, true, "relu", 1],
      [3, 240, 80, false, "hard_swish", 2],
      [3, 200, 80, false, "hard_swish", 1],
      [3, 184, 80, false, "hard_swish", 1],
      [3, 184, 80, false, "hard_swish", 1],
      [3, 480, 112, true, "hard_swish", 1],
      [3, 672, 112, true, "hard_swish", 1],
      [5, 672, 160, true, "hard_swish", 2],
      [5, 960, 160, true, "hard_swish", 1],
      [5, 960, 160, true, "hard_swish", 1],
    ],
    hidden: 1280,
  },
  small: {
    blocks: [
      [3, 16, 16, true, "relu", 2],
      [3, 72, 24, false, "relu", 2],
      [3, 88, 24, false, "relu", 1],
      [5, 96, 40, true, "hard_swish", 2],
      [5, 240, 40, true, "hard_swish", 1],
      [5, 240, 40, true, "hard_swish", 1],
      [5, 120, 48, true, "hard_swish", 1],
      [5, 144, 48, true, "hard_swish", 1],
      [5, 288, 96, true, "hard_swish", 2],
      [5, 576, 96, true, "hard_swish", 1],
      [5, 576, 96, true, "hard_swish", 1],
    ],
    hidden: 1024,
  },
};

/** The nearest multiple of 8, at least 8 and not more than a tenth below. */
function multipleOf8(channels: number): number {
  const nearest = Math.max(8, Math.floor((channels + 4) / 8) * 8);
  return nearest < 0.9 * channels ? nearest + 8 : nearest;
}

export interface MobileNetV3Options extends MobileNetOptions {
  readonly size: keyof typeof V3;
}

/**
 * MobileNetV3 (Howard et al., arXiv 1905.02244), with torchvision's names, batch-norm constants and
 * squeezed widths; without the dropout in its classifier.
 */
export function mobileNetV3({ size, classes, shape, seed = 0 }: MobileNetV3Options): Graph {
  const { blocks, hidden } = V3[size];
  const builder = new GraphBuilder(`mobilenet_v3_${size}`, shape, seed);
  const norm = { epsilon: 1e-3, momentum: 0.01 };
  const outer = { activation: "hard_swish", norm } as const;
  const stem = { ...outer, out: 16, kernel: 3, stride: 2, padding: 1 };
  let value = convolutionUnit(builder, sequential("features.0"), builder.input, stem);
  blocks.forEach(([kernel, expanded, out, excited, activation, stride], index) => {
    const squeeze = multipleOf8(Math.floor(expanded / 4));
    value = invertedResidual(builder, `features.${index + 1}.block`, value, {
      ...{ expanded, out, kernel, stride, activation, norm },
      ...(excited ? { excitation: { squeeze, activation: "relu", gate: "hard_sigmoid" } } : {}),
    });
  });
  const last = { ...outer, out: 6 * builder.shape(value)[0], kernel: 1 };
  value = convolutionUnit(builder, sequential(`features.${blocks.length + 1}`), value, last);
  value = pooledClassifier(builder, "classifier.0", value, hidden);
  value = activate(builder, "classifier.1", value, "hard_swish");
  return builder.finish(builder.linear("classifier.3", value, classes));
}
