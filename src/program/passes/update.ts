/** Optimizer instructions: one per parameter, at the end of a training step. */

import type { Draft, DraftInstruction } from "../draft.ts";

/** Stochastic gradient descent with Nesterov momentum; hyper: [learning rate, momentum]. */
export interface SgdOptions {
  readonly kind: "sgd";
  readonly weightDecay: number;
  /** Also decay batch norm and biases, as the original ResNet recipe does; default false. */
  readonly decayNormAndBias?: boolean;
}

/**
 * AdamW (Loshchilov & Hutter, arXiv 1711.05101); hyper: [learning rate, beta1, beta2, epsilon,
 * step from 1].
 */
export interface AdamWOptions {
  readonly kind: "adamw";
  readonly weightDecay: number;
  readonly decayNormAndBias?: boolean;
}

export type OptimizerOptions = SgdOptions | AdamWOptions;

/** Length of the hyper feed. */
const HYPER = { sgd: 2, adamw: 5 } as const;

/** State values of an optimizer that belong to a parameter; they start at zero. */
export function optimizerState(kind: OptimizerOptions["kind"], parameter: string): string[] {
  return kind === "sgd" ? [`velocity/${parameter}`] : [`first/${parameter}`, `second/${parameter}`];
}

/** Declares the feed that hyper-parameters are written to before each step. */
export function hyperFeed(draft: Draft, kind: OptimizerOptions["kind"]): string {
  return draft.value({
    name: `hyper/${kind}`,
    dtype: "f32",
    shape: [HYPER[kind]],
    images: 0,
    place: "feeds",
  });
}

/** Instructions that update each parameter from its gradient. */
export function update(
  draft: Draft,
  gradients: ReadonlyMap<string, string>,
  options: OptimizerOptions,
): DraftInstruction[] {
  const hyper = hyperFeed(draft, options.kind);
  return [...gradients].map(([parameter, gradient]) => {
    const { shape } = draft.get(parameter);
    // Convolution kernels are the parameters of more than one axis.
    const decays = shape.length > 1 || options.decayNormAndBias === true;
    const state = optimizerState(options.kind, parameter).map((name) =>
      draft.value({ name, dtype: "f32", shape, images: 0, place: "state" })
    );
    const moments: Record<string, string> = options.kind === "sgd"
      ? { velocity: state[0] }
      : { first: state[0], second: state[1] };
    return {
      op: options.kind,
      inputs: { weight: parameter, gradient, ...moments, hyper },
      outputs: { weight: parameter, ...moments },
      attributes: { weight_decay: decays ? options.weightDecay : 0 },
      layer: parameter,
    };
  });
}
