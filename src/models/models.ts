import { SecateurError } from "../errors.ts";
import type { Graph, Shape } from "../graph/graph.ts";
import { cifarResNet } from "./resnet.ts";
import { cifarVgg } from "./vgg.ts";

export interface ModelOptions {
  readonly classes: number;
  /** [channels, height, width]; default [3, 32, 32]. */
  readonly shape?: Shape;
  readonly seed?: number;
}

type Build = (options: Required<ModelOptions>) => Graph;

const MODELS: Readonly<Record<string, Build>> = {
  // The embedded default: small enough to train and prune in minutes on two cores.
  resnet8: (options) => cifarResNet({ ...options, depth: 8 }),
  resnet20: (options) => cifarResNet({ ...options, depth: 20 }),
  resnet32: (options) => cifarResNet({ ...options, depth: 32 }),
  resnet44: (options) => cifarResNet({ ...options, depth: 44 }),
  resnet56: (options) => cifarResNet({ ...options, depth: 56 }),
  resnet110: (options) => cifarResNet({ ...options, depth: 110 }),
  "resnet20-b": (options) => cifarResNet({ ...options, depth: 20, shortcut: "B" }),
  "resnet56-b": (options) => cifarResNet({ ...options, depth: 56, shortcut: "B" }),
  vgg16: (options) => cifarVgg({ ...options, depth: 16 }),
  vgg19: (options) => cifarVgg({ ...options, depth: 19 }),
};

/** Names that `createModel` knows, for help and messages. */
export const MODEL_NAMES: readonly string[] = Object.keys(MODELS);

/** A model by name with freshly initialised weights. Throws "option-invalid" for unknown names. */
export function createModel(name: string, options: ModelOptions): Graph {
  const build = MODELS[name];
  if (build === undefined) {
    throw new SecateurError(
      "option-invalid",
      `There is no model named ${name}; choose one of ${MODEL_NAMES.join(", ")}.`,
    );
  }
  return build({ shape: [3, 32, 32], seed: 0, ...options });
}
