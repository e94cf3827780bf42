/** What ends a training step: gradients clipped, parameters updated, their average moved along. */

import type { Draft, DraftInstruction } from "../draft.ts";

interface UpdateOptions {
  readonly weightDecay: number;
  /** Also decay batch norm and biases, as the original ResNet recipe does; default false. */
  readonly decayNormAndBias?: boolean;
  /**
   * Largest Euclidean length of all gradients of a step together; longer ones are shortened to it
   * (Pascanu et al., arXiv 1211.5063). Left out, none are.
   */
  readonly clip?: number;
}

/** Stochastic gradient descent with Nesterov momentum; hyper: [learning rate, momentum]. */
export interface SgdOptions extends UpdateOptions {
  readonly kind: "sgd";
}

/**
 * AdamW (Loshchilov & Hutter, arXiv 1711.05101); hyper: [learning rate, beta1, beta2, epsilon,
 * step from 1].
 */
export interface AdamWOptions extends UpdateOptions {
  readonly kind: "adamw";
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

/** A scalar of one entry. */
function scalar(draft: Draft, name: string, dtype: "f32" | "f64"): string {
  return draft.value({ name, dtype, shape: [1], images: 0, place: "activations" });
}

/** Instructions that measure all gradients together and say what they count times to be short enough. */
function clip(
  draft: Draft,
  entry: string,
  gradients: Iterable<string>,
  norm: number,
): { instructions: DraftInstruction[]; scale: string } {
  const instructions: DraftInstruction[] = [];
  let squares: string | undefined;
  for (const gradient of gradients) {
    const total = scalar(draft, `${entry}:squares/${instructions.length}`, "f64");
    instructions.push({
      op: "sum_squares",
      inputs: { gradient, ...(squares === undefined ? {} : { squares }) },
      outputs: { total },
      attributes: {},
      layer: "clip",
    });
    squares = total;
  }
  const scale = scalar(draft, `${entry}:clip`, "f32");
  instructions.push({
    op: "clip_scale",
    inputs: { squares: squares! },
    outputs: { scale },
    attributes: { norm },
    layer: "clip",
  });
  return { instructions, scale };
}

/** Where the moving average of a parameter is kept. */
export const averageOf = (parameter: string): string => `average/${parameter}`;

/** Declares the feed with the share of the way that averages move towards the weights each step. */
export function paceFeed(draft: Draft): string {
  return draft.value({ name: "pace", dtype: "f32", shape: [1], images: 0, place: "feeds" });
}

/**
 * Instructions that move each parameter's average towards it, running statistics' too (Polyak &
 * Juditsky, SIAM J. Control Optim. 30(4), 1992).
 */
export function average(draft: Draft, parameters: Iterable<string>): DraftInstruction[] {
  const pace = paceFeed(draft);
  return [...parameters].map((weight) => {
    const { shape } = draft.get(weight);
    const name = averageOf(weight);
    const kept = draft.value({ name, dtype: "f32", shape, images: 0, place: "state" });
    return {
      op: "average",
      inputs: { weight, average: kept, pace },
      outputs: { average: kept },
      attributes: {},
      layer: weight,
    };
  });
}

/** Instructions that update each parameter from its gradient. `entry` names what is measured. */
export function update(
  draft: Draft,
  entry: string,
  gradients: ReadonlyMap<string, string>,
  options: OptimizerOptions,
): DraftInstruction[] {
  const hyper = hyperFeed(draft, options.kind);
  const clipped = options.clip === undefined || gradients.size === 0
    ? undefined
    : clip(draft, entry, gradients.values(), options.clip);
  const scale = clipped && { scale: clipped.scale };
  const updates = [...gradients].map(([parameter, gradient]): DraftInstruction => {
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
      inputs: { weight: parameter, gradient, ...moments, hyper, ...scale },
      outputs: { weight: parameter, ...moments },
      attributes: { weight_decay: decays ? options.weightDecay : 0 },
      layer: parameter,
    };
  });
  return [...clipped?.instructions ?? [], ...updates];
}
