import type { Graph, Shape } from "../graph/graph.ts";
import { GraphBuilder } from "./builder.ts";
import { convolutionUnit, pooledClassifier } from "./layers.ts";

/** Channels of the four branches: 1x1; 1x1, 3x3; 1x1, 3x3; pooled (arXiv 1409.4842, table 1). */
type Widths = readonly [number, number, number, number, number, number];

/** Modules between the pooling layers, by the stage that names them. */
const MODULES: Readonly<Record<number, Readonly<Record<string, Widths>>>> = {
  3: { a: [64, 96, 128, 16, 32, 32], b: [128, 128, 192, 32, 96, 64] },
  4: {
    a: [192, 96, 208, 16, 48, 64],
    b: [160, 112, 224, 24, 64, 64],
    c: [128, 128, 256, 24, 64, 64],
    d: [112, 144, 288, 32, 64, 64],
    e: [256, 160, 320, 32, 128, 128],
  },
  5: { a: [256, 160, 320, 32, 128, 128], b: [384, 192, 384, 48, 128, 128] },
};

interface Geometry {
  readonly out: number;
  readonly kernel: number;
  readonly stride?: number;
}

function unit(builder: GraphBuilder, name: string, value: string, geometry: Geometry): string {
  const names = { convolution: `${name}.conv`, norm: `${name}.bn`, activation: `${name}.relu` };
  return convolutionUnit(builder, names, value, {
    ...geometry,
    padding: (geometry.kernel - 1) / 2,
    activation: "relu",
    norm: { epsilon: 1e-3 },
  });
}

function inception(builder: GraphBuilder, name: string, value: string, widths: Widths): string {
  const [single, reduce2, out2, reduce3, out3, pooled] = widths;
  const make = (part: string, from: string, out: number, kernel: number) =>
    unit(builder, `${name}.${part}`, from, { out, kernel });
  const branch1 = make("branch1", value, single, 1);
  const branch2 = make("branch2.1", make("branch2.0", value, reduce2, 1), out2, 3);
  // The paper has 5 x 5 here; torchvision's weights are 3 x 3.
  const branch3 = make("branch3.1", make("branch3.0", value, reduce3, 1), out3, 3);
  const branch4 = make(
    "branch4.1",
    builder.maxPool(`${name}.branch4.0`, value, 3, 1, 1),
    pooled,
    1,
  );
  return builder.concat(name, [branch1, branch2, branch3, branch4]);
}

export interface GoogLeNetOptions {
  readonly classes: number;
  readonly shape: Shape;
  readonly seed?: number;
}

/**
 * GoogLeNet with batch norm (Szegedy et al., arXiv 1409.4842), with torchvision's names; without the
 * auxiliary classifiers and the dropout before the last. Torchvision's pretrained model turns
 * pictures normalised for ImageNet into ones of mean 0.5 and deviation 0.5 (`transform_input`); here
 * pictures are normalised once, so that its weights take mean and deviation 0.5 of every colour.
 */
export function googLeNet({ classes, shape, seed = 0 }: GoogLeNetOptions): Graph {
  const builder = new GraphBuilder("googlenet", shape, seed);
  let value = unit(builder, "conv1", builder.input, { out: 64, kernel: 7, stride: 2 });
  value = builder.maxPool("maxpool1", value, 3, 2, 0, true);
  value = unit(builder, "conv2", value, { out: 64, kernel: 1 });
  value = unit(builder, "conv3", value, { out: 192, kernel: 3 });
  value = builder.maxPool("maxpool2", value, 3, 2, 0, true);
  for (const [stage, modules] of Object.entries(MODULES)) {
    for (const [letter, widths] of Object.entries(modules)) {
      value = inception(builder, `inception${stage}${letter}`, value, widths);
    }
    if (stage === "3") value = builder.maxPool("maxpool3", value, 3, 2, 0, true);
    if (stage === "4") value = builder.maxPool("maxpool4", value, 2, 2, 0, true);
  }
  return builder.finish(pooledClassifier(builder, "fc", value, classes));
}
