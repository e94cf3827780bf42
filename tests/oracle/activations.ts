/** Activations and their slopes, in f64. */

import type { ActivationKind } from "../../src/graph/graph.ts";

/** The error function by its series without cancellation, 2 / sqrt(pi) e^(-x^2) sum ... */
function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x);
  let sum = 0, term = x;
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
    sum += term;
    term *= 2 * x * x / (2 * n + 1);
  }
  return 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * sum;
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const clip = (x: number, low: number, high: number) => Math.min(high, Math.max(low, x));
const bell = (x: number) => Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
const below = (x: number) => (1 + erf(x / Math.SQRT2)) / 2;
const GELU_TANH = Math.sqrt(2 / Math.PI);
const bent = (x: number) => Math.tanh(GELU_TANH * (x + 0.044715 * x ** 3));

type Function = (x: number, alpha: number, beta: number) => number;

/** f(x) of every kind. */
export const ACTIVATIONS: Readonly<Record<ActivationKind, Function>> = {
  sigmoid,
  silu: (x) => x * sigmoid(x),
  hard_sigmoid: (x, alpha, beta) => clip(alpha * x + beta, 0, 1),
  hard_swish: (x, alpha, beta) => x * clip(alpha * x + beta, 0, 1),
  gelu: (x) => x * below(x),
  gelu_tanh: (x) => x * (1 + bent(x)) / 2,
  leaky_relu: (x, alpha) => x < 0 ? alpha * x : x,
  clip,
  tanh: (x) => Math.tanh(x),
  elu: (x, alpha) => x > 0 ? x : alpha * (Math.exp(x) - 1),
};

const inside = (x: number, low: number, high: number) => x > low && x < high ? 1 : 0;

/** f'(x) of every kind; at kinks the slope of the flat or the lower side. */
export const SLOPES: Readonly<Record<ActivationKind, Function>> = {
  sigmoid: (x) => sigmoid(x) * (1 - sigmoid(x)),
  silu: (x) => sigmoid(x) * (1 + x * (1 - sigmoid(x))),
  hard_sigmoid: (x, alpha, beta) => alpha * inside(alpha * x + beta, 0, 1),
  hard_swish: (x, alpha, beta) =>
    clip(alpha * x + beta, 0, 1) + x * alpha * inside(alpha * x + beta, 0, 1),
  gelu: (x) => below(x) + x * bell(x),
  gelu_tanh: (x) =>
    (1 + bent(x)) / 2 + x * (1 - bent(x) ** 2) / 2 * GELU_TANH * (1 + 3 * 0.044715 * x ** 2),
  leaky_relu: (x, alpha) => x > 0 ? 1 : alpha,
  clip: inside,
  tanh: (x) => 1 - Math.tanh(x) ** 2,
  elu: (x, alpha) => x > 0 ? 1 : alpha * Math.exp(x),
};
