/**
 * Which activation an expression is. Exporters write the same function in many ways (GELU by Erf,
 * by Tanh, halved before or after), so functions are compared by their values, not by their nodes.
 */

import type { ActivationKind } from "../../../graph/graph.ts";
import { shortest } from "../read/attributes.ts";

const POSITIVE = [
  ...[0.03, 0.11, 0.25, 0.4, 0.5, 0.77, 1, 1.3, 1.7, 2, 2.4, 2.9, 3, 3.1, 3.7, 4.6, 5.9, 6, 6.1, 8],
  ...[13, 40, 300, 10_000],
];

/** Where expressions are evaluated: around the bends of the activations there are, and far out. */
export const POINTS: Float64Array = Float64Array.from([
  ...POSITIVE.map((x) => -x).reverse(),
  0,
  ...POSITIVE,
]);

/** Largest difference between a function and what f32 constants make of it, for |x| up to 1. */
const TOLERANCE = 2e-6;

export type Activation =
  | { readonly op: "relu" }
  | {
    readonly op: "activation";
    readonly kind: ActivationKind;
    readonly alpha?: number;
    readonly beta?: number;
  };

/** Error function to 1.5e-7 (Abramowitz and Stegun, 7.1.26). */
export function errorFunction(x: number): number {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const series = t * (0.254829592 +
    t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - series * Math.exp(-x * x));
}

export const logistic = (x: number): number => 1 / (1 + Math.exp(-x));
export const clipped = (x: number, low: number, high: number): number =>
  Math.min(high, Math.max(low, x));
export const gelu = (x: number): number => x / 2 * (1 + errorFunction(x * Math.SQRT1_2));
export const geluByTanh = (x: number): number =>
  x / 2 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

type Candidate = readonly [Activation, (x: number) => number];

const hardSigmoid = (alpha: number, beta: number) => (x: number) => clipped(alpha * x + beta, 0, 1);

/** As it is read from a file, so that writing and reading give the same. */
const SIXTH = shortest(Math.fround(1 / 6));

const FIXED: readonly Candidate[] = [
  [{ op: "relu" }, (x) => Math.max(0, x)],
  [{ op: "activation", kind: "sigmoid" }, logistic],
  [{ op: "activation", kind: "tanh" }, Math.tanh],
  [{ op: "activation", kind: "silu" }, (x) => x * logistic(x)],
  [{ op: "activation", kind: "gelu" }, gelu],
  [{ op: "activation", kind: "gelu_tanh" }, geluByTanh],
  [{ op: "activation", kind: "hard_swish" }, (x) => x * hardSigmoid(1 / 6, 0.5)(x)],
  [{ op: "activation", kind: "hard_sigmoid", alpha: SIXTH, beta: 0.5 }, hardSigmoid(1 / 6, 0.5)],
];

/** Activations with parameters, read off the samples; none that does nothing. */
function fitted(at: (x: number) => number): Candidate[] {
  const f32 = (value: number) => shortest(Math.fround(value));
  const line = (f: (x: number) => number): [number, number] => {
    const step = POSITIVE[0];
    return [f32((f(step) - f(-step)) / (2 * step)), f32((f(step) + f(-step)) / 2)];
  };
  const far = POSITIVE.at(-1)!;
  const low = f32(at(-far)), high = f32(at(far)), leak = f32(-at(-1));
  const [alpha, beta] = line(at);
  const [steepness, middle] = line((x) => at(x) / x);
  const bounded: Candidate[] = low === -far && high === far ? [] : [
    [
      {
        op: "activation",
        kind: "clip",
        ...(low === -far ? {} : { alpha: low }),
        ...(high === far ? {} : { beta: high }),
      },
      (x) => clipped(x, low, high),
    ],
  ];
  const leaking: Candidate[] = leak === 1 ? [] : [
    [
      { op: "activation", kind: "leaky_relu", alpha: leak },
      (x) => x < 0 ? leak * x : x,
    ],
  ];
  const gates: Candidate[] = [
    [{ op: "activation", kind: "hard_sigmoid", alpha, beta }, hardSigmoid(alpha, beta)],
    [
      { op: "activation", kind: "hard_swish", alpha: steepness, beta: middle },
      (x) => x * hardSigmoid(steepness, middle)(x),
    ],
  ];
  return [
    ...bounded,
    ...leaking,
    ...(steepness === 0 ? [] : gates),
  ];
}

/** The activation that has these values at POINTS, if there is one. */
export function recognised(samples: Float64Array): Activation | undefined {
  const at = (x: number) => samples[POINTS.indexOf(x)];
  const found = [...FIXED, ...fitted(at)].find(([, compute]) =>
    POINTS.every((x, i) =>
      Math.abs(compute(x) - samples[i]) <= TOLERANCE * Math.max(1, Math.abs(x))
    )
  );
  return found?.[0];
}
