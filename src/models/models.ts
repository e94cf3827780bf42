import { SecateurError } from "../errors.ts";
import { quoted } from "../formats/bytes.ts";
import type { Graph, Shape } from "../graph/graph.ts";
import { cifarDenseNet40, denseNet121 } from "./densenet.ts";
import { efficientNetB0 } from "./efficientnet.ts";
import { googLeNet } from "./googlenet.ts";
import { mobileNetV2, mobileNetV3 } from "./mobilenet.ts";
import { cifarResNet, resNet } from "./resnet.ts";
import { shuffleNetV2 } from "./shufflenet.ts";
import { cifarVgg, vgg } from "./vgg.ts";

export interface ModelOptions {
  readonly classes: number;
  /** [channels, height, width]; default that of the pictures the model was published for. */
  readonly shape?: Shape;
  readonly seed?: number;
}

type Build = (options: Required<ModelOptions>) => Graph;

/** For CIFAR's pictures; names of parameters are those of common PyTorch implementations. */
const SMALL_PICTURES: Readonly<Record<string, Build>> = {
  // The embedded default: small enough to train and prune in minutes on two cores.
  resnet8: (options) => cifarResNet({ ...options, depth: 8 }),
  resnet20: (options) => cifarResNet({ ...options, depth: 20 }),
  resnet32: (options) => cifarResNet({ ...options, depth: 32 }),
  resnet44: (options) => cifarResNet({ ...options, depth: 44 }),
  resnet56: (options) => cifarResNet({ ...options, depth: 56 }),
  resnet110: (options) => cifarResNet({ ...options, depth: 110 }),
  "resnet20-b": (options) => cifarResNet({ ...options, depth: 20, shortcut: "B" }),
  "resnet56-b": (options) => cifarResNet({ ...options, depth: 56, shortcut: "B" }),
  "vgg16-cifar": (options) => cifarVgg({ ...options, depth: 16 }),
  "vgg19-cifar": (options) => cifarVgg({ ...options, depth: 19 }),
  densenet40: cifarDenseNet40,
};

/** For ImageNet's pictures, under torchvision's names and with its names of parameters. */
const LARGE_PICTURES: Readonly<Record<string, Build>> = {
  resnet18: (options) => resNet({ ...options, depth: 18 }),
  resnet34: (options) => resNet({ ...options, depth: 34 }),
  resnet50: (options) => resNet({ ...options, depth: 50 }),
  resnet101: (options) => resNet({ ...options, depth: 101 }),
  vgg16_bn: (options) => vgg({ ...options, depth: 16 }),
  vgg19_bn: (options) => vgg({ ...options, depth: 19 }),
  densenet121: denseNet121,
  googlenet: googLeNet,
  mobilenet_v2: mobileNetV2,
  mobilenet_v3_small: (options) => mobileNetV3({ ...options, size: "small" }),
  mobilenet_v3_large: (options) => mobileNetV3({ ...options, size: "large" }),
  efficientnet_b0: efficientNetB0,
  shufflenet_v2_x0_5: (options) => shuffleNetV2({ ...options, width: "0.5" }),
  shufflenet_v2_x1_0: (options) => shuffleNetV2({ ...options, width: "1.0" }),
  shufflenet_v2_x1_5: (options) => shuffleNetV2({ ...options, width: "1.5" }),
  shufflenet_v2_x2_0: (options) => shuffleNetV2({ ...options, width: "2.0" }),
};

/** Names that `createModel` knows, for help and messages. */
export const MODEL_NAMES: readonly string[] = [
  ...Object.keys(SMALL_PICTURES),
  ...Object.keys(LARGE_PICTURES),
];

/**
 * A model by name with freshly initialised weights, which are made when first read. Throws
 * "option-invalid" for unknown names, "graph-unsupported" for pictures of a size it cannot take.
 */
export function createModel(name: string, options: ModelOptions): Graph {
  const small = Object.hasOwn(SMALL_PICTURES, name) ? SMALL_PICTURES[name] : undefined;
  const large = Object.hasOwn(LARGE_PICTURES, name) ? LARGE_PICTURES[name] : undefined;
  const build = small ?? large;
  if (build === undefined) {
    throw new SecateurError(
      "option-invalid",
      `There is no model named ${quoted(name)}; choose one of ${MODEL_NAMES.join(", ")}.`,
    );
  }
  const shape = small === undefined ? [3, 224, 224] : [3, 32, 32];
  return build({ shape, seed: 0, ...options });
}
