import type { ActivationKind } from "../graph.ts";
import { coupleChannelwise, type NodeOf, type Operator } from "./operator.ts";

/** The largest f32: no bound for numbers that are finite. */
const LARGEST = 3.4028234663852886e38;

/** alpha and beta where a node leaves them out, as in PyTorch; 0 where they do not matter. */
const DEFAULTS: Readonly<Record<ActivationKind, readonly [alpha: number, beta: number]>> = {
  sigmoid: [0, 0],
  silu: [0, 0],
  hard_sigmoid: [1 / 6, 0.5],
  hard_swish: [1 / 6, 0.5],
  gelu: [0, 0],
  gelu_tanh: [0, 0],
  leaky_relu: [0.01, 0],
  clip: [-LARGEST, LARGEST],
  tanh: [0, 0],
  elu: [1, 0],
};

/** alpha and beta of an activation, finite. */
export function activationParameters(node: NodeOf<"activation">): { alpha: number; beta: number } {
  const [alpha, beta] = DEFAULTS[node.kind];
  const finite = (value: number) => Math.min(LARGEST, Math.max(-LARGEST, value));
  return { alpha: finite(node.alpha ?? alpha), beta: finite(node.beta ?? beta) };
}

/** Element-wise activations other than ReLU. */
export const activation: Operator<NodeOf<"activation">> = {
  trainable: () => [],
  buffers: () => [],
  // Some turn zero into something else; and gates stand after activations anyway, as for ReLU.
  keepsZero: false,
  shape(node, [input]) {
    for (const parameter of [node.alpha, node.beta]) {
      if (parameter === undefined || Number.isFinite(parameter)) continue;
      throw new Error(`has a parameter of ${parameter}, which is not finite`);
    }
    return input;
  },
  macs: () => 0,
  channels(node, [input], _output, rules) {
    coupleChannelwise(node, node.inputs[0], input[0], rules);
  },
  cut: (node) => node,
};
