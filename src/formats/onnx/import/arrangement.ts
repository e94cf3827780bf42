/**
 * Values whose elements the file has in another order than the graph: reshaped, transposed, partly
 * taken. Every axis of the file's shape is a product of parts of the graph's axes; once they come
 * together as a picture again, it shows which layer moved them: a shuffle of channels, channels
 * spread over pixels, pixels gathered in channels.
 */

import { elementCount } from "../../../tensor.ts";
import { sliceRange } from "../fold/layout.ts";
import type { Arrangement, FeatureValue, Part } from "./features.ts";
import type { Importer } from "./importer.ts";

/** Axes of a batch of the graph's values. */
export const BATCH = 0, CHANNELS = 1, ROWS = 2, COLUMNS = 3;

/** The same elements under another shape, or undefined where that cuts parts unevenly. */
export function regrouped(
  { axes, start }: Arrangement,
  shape: readonly number[],
): Arrangement | undefined {
  const parts = axes.flat();
  const grouped: Part[][] = [];
  for (const extent of shape) {
    const own: Part[] = [];
    for (let left = extent; left > 1;) {
      const part = parts.shift();
      if (part === undefined) return undefined;
      if (left % part.extent === 0) {
        own.push(part);
        left /= part.extent;
      } else if (part.extent % left === 0) {
        const inner = part.extent / left;
        own.push({ ...part, extent: left, stride: part.stride * inner });
        parts.unshift({ ...part, extent: inner });
        left = 1;
      } else return undefined;
    }
    grouped.push(own);
  }
  return parts.length === 0 ? { axes: grouped.map(joined), start } : undefined;
}

/** Parts that go on where the one before them ends, as one. */
function joined(parts: readonly Part[]): Part[] {
  return parts.reduce<Part[]>((found, part) => {
    const last = found.at(-1);
    if (last?.axis !== part.axis || last.stride !== part.extent * part.stride) {
      return [...found, part];
    }
    const whole = { ...part, extent: last.extent * part.extent };
    return [...found.slice(0, -1), whole];
  }, []);
}

/** How a value is arranged, in whatever view. */
export function arrangementOf(importer: Importer, value: FeatureValue): Arrangement | undefined {
  if (value.arrangement !== undefined) return value.arrangement;
  const graph = [importer.batch, ...importer.shapeOf(value.name)];
  const whole = graph.map((extent, axis) => extent === 1 ? [] : [{ axis, extent, stride: 1 }]);
  const last = value.view === "channels_last" || value.view === "flat_last";
  const [batch, channels, ...area] = whole;
  const axes = last ? [batch, ...area, channels] : whole;
  return regrouped({ axes, start: graph.map(() => 0) }, value.shape);
}

/** Whether two values of one shape have their elements in the same order. */
export const sameArrangement = (a?: Arrangement, b?: Arrangement): boolean =>
  JSON.stringify(a) === JSON.stringify(b);

/** The shape that an arrangement has in the file. */
const shapeOf = ({ axes }: Arrangement): number[] =>
  axes.map((parts) => elementCount(parts.map(({ extent }) => extent)));

export function transposed({ axes, start }: Arrangement, order: readonly number[]): Arrangement {
  return { axes: order.map((axis) => axes[axis]), start };
}

/** Elements first, first + step and so on of an axis, or undefined where it has several parts. */
export function taken(
  { axes, start }: Arrangement,
  at: number,
  { start: first, count, step }: ReturnType<typeof sliceRange>,
): Arrangement | undefined {
  const [part, ...more] = axes[at];
  if (more.length > 0 || (part === undefined && first !== 0)) return undefined;
  if (part === undefined) return { axes, start };
  const moved = start.map((from, axis) => axis === part.axis ? from + first * part.stride : from);
  const own = count === 1 ? [] : [{ ...part, extent: count, stride: part.stride * step }];
  return { axes: axes.with(at, own), start: moved };
}

/** Without an axis of one element. */
export function dropped({ axes, start }: Arrangement, at: number): Arrangement {
  return { axes: axes.toSpliced(at, 1), start };
}

/** Channels in the order of parts that are all of channels; undefined where others are among them. */
export function channelsOf(
  parts: readonly Part[],
  { start }: Arrangement,
): readonly number[] | undefined {
  if (parts.some(({ axis }) => axis !== CHANNELS)) return undefined;
  return parts.reduce<number[]>(
    (found, { extent, stride }) =>
      found.flatMap((from) => Array.from({ length: extent }, (_, i) => from + i * stride)),
    [start[CHANNELS]],
  );
}

/** Whether parts are one axis of the graph, in steps of `stride`; of one cell where there is none. */
export function isAlong(parts: readonly Part[], axis: number, extent: number, stride = 1): boolean {
  if (extent === stride) return parts.length === 0;
  const [part, ...more] = parts;
  return more.length === 0 && part?.axis === axis && part.stride === stride &&
    part.extent * stride === extent;
}

/** A value of the same elements in this arrangement. */
export function arranged({ kind, name }: FeatureValue, arrangement: Arrangement): FeatureValue {
  return { kind, name, shape: shapeOf(arrangement), view: "arranged", arrangement };
}
