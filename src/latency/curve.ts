/**
 * The time of a unit over its widths. It is measured along two lines, all inputs with some outputs
 * and some inputs with all outputs, where the steps of vector instructions show, and on a coarse
 * lattice between, which says how far the product of the lines is from the truth.
 */

import { z } from "zod";

/** Milliseconds at the widths measured; widths ascend, and the last is the full one. */
export interface Curve {
  readonly inWidths: readonly number[];
  readonly outWidths: readonly number[];
  /** At full output. */
  readonly byIn: readonly number[];
  /** At full input. */
  readonly byOut: readonly number[];
  /** Below full in both: [input][output]. */
  readonly inner: {
    readonly inWidths: readonly number[];
    readonly outWidths: readonly number[];
    readonly milliseconds: readonly (readonly number[])[];
  };
}

/** Most widths measured along a line. */
const MOST_ON_LINE = 16;

/** Shares of the full width that the lattice lies at. */
const LATTICE = [0.125, 0.25, 0.5];

const milliseconds = z.number().positive();
const width = z.number().int().positive();
const ascending = z.array(width).refine(
  (widths) => widths.every((each, place) => place === 0 || each > widths[place - 1]),
  "widths in ascending order",
);

/** A curve from a file. */
export const CURVE = z.object({
  inWidths: ascending.min(1),
  outWidths: ascending.min(1),
  byIn: z.array(milliseconds),
  byOut: z.array(milliseconds),
  inner: z.object({
    inWidths: ascending,
    outWidths: ascending,
    milliseconds: z.array(z.array(milliseconds)),
  }),
}).refine(isWhole, "as many times as there are widths") satisfies z.ZodType<Curve>;

function isWhole({ inWidths, outWidths, byIn, byOut, inner }: Curve): boolean {
  const below = (widths: readonly number[], all: readonly number[]) =>
    widths.every((each) => each < all.at(-1)!);
  return byIn.length === inWidths.length && byOut.length === outWidths.length &&
    below(inner.inWidths, inWidths) && below(inner.outWidths, outWidths) &&
    inner.milliseconds.length === inner.inWidths.length &&
    inner.milliseconds.every((row) => row.length === inner.outWidths.length);
}

/**
 * Widths to measure of those from the least legal to the full one: multiples of `roundTo`, or, where
 * there are many, of as many times it as leave 16, each with the one below it, as runtimes like
 * round numbers better; the full one always.
 */
export function widthsToMeasure(full: number, roundTo: number): number[] {
  const step = Math.min(roundTo, full);
  let grain = step;
  while (full / grain > MOST_ON_LINE) grain += step;
  const widths = new Set([step]);
  for (let width = grain; width < full; width += grain) widths.add(width);
  widths.add(full);
  if (grain > step) {
    for (const width of [...widths]) {
      if (width > step) widths.add(Math.ceil(width / step - 1) * step);
    }
  }
  return [...widths].sort((a, b) => a - b);
}

/** Where the lattice lies among the widths of a line. */
export function latticeWidths(widths: readonly number[]): number[] {
  const full = widths.at(-1)!;
  const below = widths.slice(0, -1);
  if (below.length === 0) return [];
  const nearest = LATTICE.map((share) =>
    below.reduce((best, width) =>
      Math.abs(width - share * full) < Math.abs(best - share * full) ? width : best
    )
  );
  return [...new Set(nearest)];
}

/** Values of a line at every width from 0 to the full one: [width], piecewise linear. */
function everyWidth(widths: readonly number[], values: readonly number[]): Float64Array {
  const line = new Float64Array(widths.at(-1)! + 1);
  let above = 0;
  for (let width = 0; width < line.length; width++) {
    while (widths[above] < width) above++;
    const below = Math.max(0, above - 1);
    const span = widths[above] - widths[below];
    const share = span === 0 ? 1 : Math.max(0, (width - widths[below]) / span);
    line[width] = values[below] + share * (values[above] - values[below]);
  }
  return line;
}

/** A curve at any widths, in constant time. */
export type CurveAt = (inWidth: number, outWidth: number) => number;

/** Prepares a curve: milliseconds at (inWidth, outWidth); beyond the full width, at the full one. */
export function curveAt(curve: Curve): CurveAt {
  const { inWidths, outWidths, inner } = curve;
  const byIn = everyWidth(inWidths, curve.byIn), byOut = everyWidth(outWidths, curve.byOut);
  const fullIn = byIn.length - 1, fullOut = byOut.length - 1;
  const full = (curve.byIn.at(-1)! + curve.byOut.at(-1)!) / 2;
  // What the lattice has over the product of the lines, 1 where either is full.
  const knotsIn = [...inner.inWidths, fullIn], knotsOut = [...inner.outWidths, fullOut];
  const excess = knotsIn.map((inWidth, i) =>
    knotsOut.map((outWidth, o) => {
      const measured = inner.milliseconds[i]?.[o];
      return measured === undefined ? 1 : measured * full / (byIn[inWidth] * byOut[outWidth]);
    })
  );
  const placesIn = everyWidth(knotsIn, knotsIn.map((_, knot) => knot));
  const placesOut = everyWidth(knotsOut, knotsOut.map((_, knot) => knot));
  return (inWidth, outWidth) => {
    const i = Math.min(inWidth, fullIn), o = Math.min(outWidth, fullOut);
    const across = placesIn[i], along = placesOut[o];
    const left = Math.floor(across), low = Math.floor(along);
    const right = Math.min(left + 1, knotsIn.length - 1),
      high = Math.min(low + 1, knotsOut.length - 1);
    const x = across - left, y = along - low;
    const factor = (1 - x) * ((1 - y) * excess[left][low] + y * excess[left][high]) +
      x * ((1 - y) * excess[right][low] + y * excess[right][high]);
    return byIn[i] * byOut[o] / full * factor;
  };
}
