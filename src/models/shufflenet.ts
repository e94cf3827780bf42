import type { Graph, Shape } from "../graph/graph.ts";
import { GraphBuilder } from "./builder.ts";
import { convolutionUnit, pooledClassifier, sequential } from "./layers.ts";

/** Channels of the three stages and of the last convolution (arXiv 1807.11164, table 5). */
const WIDTHS = {
  "0.5": [48, 96, 192, 1024],
  "1.0": [116, 232, 464, 1024],
  "1.5": [176, 352, 704, 1024],
  "2.0": [244, 488, 976, 2048],
} as const;

/** Units of each stage. */
const UNITS = [4, 8, 4];

const depthwise = (channels: number, stride: number) =>
  ({ out: channels, kernel: 3, stride, padding: 1, groups: channels }) as const;

const pointwise = (out: number) => ({ out, kernel: 1, activation: "relu" }) as const;

const indices = (length: number, of: (index: number) => number) =>
  Array.from({ length }, (_, i) => of(i));

/** The two halves take turns: channel c comes from position c / 2 of half c % 2. */
function shuffled(builder: GraphBuilder, name: string, halves: readonly [string, string]): string {
  const joined = builder.concat(`${name}.concat`, halves);
  const [channels] = builder.shape(joined);
  const from = indices(channels, (c) => (c % 2) * (channels / 2) + Math.floor(c / 2));
  return builder.channelMap(`${name}.shuffle`, joined, from);
}

function unit(
  builder: GraphBuilder,
  name: string,
  value: string,
  out: number,
  stride: number,
): string {
  const half = out / 2;
  let aside: string, main = value;
  if (stride === 1) {
    aside = builder.channelMap(`${name}.first`, value, indices(half, (c) => c));
    main = builder.channelMap(`${name}.second`, value, indices(half, (c) => half + c));
  } else {
    const [channels] = builder.shape(value);
    const branch = `${name}.branch1`;
    aside = convolutionUnit(builder, sequential(branch), value, depthwise(channels, stride));
    aside = convolutionUnit(builder, sequential(branch, 2), aside, pointwise(half));
  }
  const branch = `${name}.branch2`;
  main = convolutionUnit(builder, sequential(branch), main, pointwise(half));
  main = convolutionUnit(builder, sequential(branch, 3), main, depthwise(half, stride));
  main = convolutionUnit(builder, sequential(branch, 5), main, pointwise(half));
  return shuffled(builder, name, [aside, main]);
}

export interface ShuffleNetOptions {
  readonly width: keyof typeof WIDTHS;
  readonly classes: number;
  readonly shape: Shape;
  readonly seed?: number;
}

/** ShuffleNetV2 (Ma et al., arXiv 1807.11164), with torchvision's names. */
export function shuffleNetV2({ width, classes, shape, seed = 0 }: ShuffleNetOptions): Graph {
  const [...widths] = WIDTHS[width];
  const last = widths.pop()!;
  const builder = new GraphBuilder(`shufflenet_v2_x${width.replace(".", "_")}`, shape, seed);
  const stem = { out: 24, kernel: 3, stride: 2, padding: 1, activation: "relu" } as const;
  let value = convolutionUnit(builder, sequential("conv1"), builder.input, stem);
  value = builder.maxPool("maxpool", value, 3, 2, 1);
  widths.forEach((out, stage) => {
    for (let index = 0; index < UNITS[stage]; index++) {
      value = unit(builder, `stage${stage + 2}.${index}`, value, out, index === 0 ? 2 : 1);
    }
  });
  value = convolutionUnit(builder, sequential("conv5"), value, pointwise(last));
  return builder.finish(pooledClassifier(builder, "fc", value, classes));
}
