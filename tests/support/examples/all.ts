/** All examples of instructions, and how near to the oracle their results must be. */

import type { TypedArray } from "../../../src/native/session.ts";
import { PRECISIONS } from "../../../src/program/precision.ts";
import type { NamedExample } from "./arguments.ts";
import { allConvolutionExamples } from "./convolution.ts";
import { type Argument, runOracle } from "./one_instruction.ts";
import { allOperatorExamples } from "./operators.ts";
import { allOtherExamples } from "./other.ts";
import { allPictureExamples } from "./pictures.ts";
import { allSinglePictureExamples } from "./single_picture.ts";

export const EXAMPLES: readonly NamedExample[] = [
  ...PRECISIONS.flatMap((precision) => allConvolutionExamples(precision)),
  ...(["f32", "bf16"] as const).flatMap((dtype) => [
    ...allPictureExamples(dtype),
    ...allOtherExamples(dtype),
    ...allOperatorExamples(dtype),
    ...allSinglePictureExamples(dtype),
  ]),
];

/** Largest error, as a share of the largest expected magnitude. */
export const TOLERANCE = { f32: 1e-5, bf16: 5e-3, f64: 1e-12, i32: 0, bytes: 0 };

function difference(found: TypedArray, expected: Float64Array): number {
  if (found.length !== expected.length) return Infinity;
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-30);
  let error = 0;
  found.forEach((value, i) => {
    const distance = Math.abs(value - expected[i]);
    error = Number.isNaN(distance) ? Infinity : Math.max(error, distance);
  });
  return error / largest;
}

/** The oracle's answers, which all executors share. */
const answers = new Map<NamedExample, Record<string, Float64Array>>();

/**
 * What is wrong with a result, or nothing. Results in f32 may be off by `atLeast`, where that is more
 * than is asked of f32.
 */
export function problems(
  example: NamedExample,
  results: Record<string, TypedArray>,
  atLeast = 0,
): string[] {
  const expected = answers.get(example) ?? runOracle(example);
  answers.set(example, expected);
  return Object.entries(example.outputs).flatMap(([name, { dtype }]: [string, Argument]) => {
    const error = difference(results[name], expected[name]);
    const allowed = dtype === "f32" ? Math.max(TOLERANCE.f32, atLeast) : TOLERANCE[dtype];
    return error <= allowed ? [] : [`${example.name}: ${name} is off by ${error}`];
  });
}

export function sameBytes(a: TypedArray, b: TypedArray): boolean {
  const bytes = (of: TypedArray) => new Uint8Array(of.buffer, of.byteOffset, of.byteLength);
  const [left, right] = [bytes(a), bytes(b)];
  return left.length === right.length && left.every((byte, i) => byte === right[i]);
}
