/** Import of reshapes and transposes that change the order of elements, once it shows what they do. */

import { axisOf, sliceRange } from "../fold/layout.ts";
import type { OnnxNode } from "../read/reader.ts";
import {
  arranged,
  arrangementOf,
  BATCH,
  CHANNELS,
  channelsOf,
  COLUMNS,
  dropped,
  isAlong,
  regrouped,
  ROWS,
  taken,
  transposed,
} from "./arrangement.ts";
import type { Arrangement, FeatureValue } from "./features.ts";
import type { Importer } from "./importer.ts";

/** Blocks of more pixels no file gathers. */
export const LARGEST_BLOCK = 2 ** 4;

/** No value has more channels. */
const MOST_CHANNELS = 2 ** 16;

const isIdentity = (from: readonly number[], count: number): boolean =>
  from.length === count && from.every((source, c) => source === c);

/** The layers of a value that is a picture again; they are emitted as parts of `node`. */
class Settling {
  readonly #importer: Importer;
  readonly #node: OnnxNode;
  readonly #arrangement: Arrangement;
  readonly #name: string;

  constructor(importer: Importer, node: OnnxNode, x: FeatureValue, arrangement: Arrangement) {
    this.#importer = importer;
    this.#node = node;
    this.#arrangement = arrangement;
    this.#name = x.name;
  }

  /** The value, or undefined where it is no picture. */
  settled(): FeatureValue | undefined {
    const { axes, start } = this.#arrangement;
    const [, ...graph] = this.#graph();
    if (axes.length !== 4 || graph.length !== 3) return undefined;
    if (!isAlong(axes[BATCH], BATCH, this.#importer.batch)) return undefined;
    if (start[ROWS] !== 0 || start[COLUMNS] !== 0) return undefined;
    this.#importer.spendCopies(graph[0]);
    return this.#shuffled([CHANNELS, ROWS, COLUMNS]) ?? this.#shuffled([COLUMNS, CHANNELS, ROWS]) ??
      this.#spread() ?? this.#gathered();
  }

  #graph(): number[] {
    return [this.#importer.batch, ...this.#importer.shapeOf(this.#name)];
  }

  /** Channels in another order, or some of them; the file has the axes in these places. */
  #shuffled([channels, rows, columns]: readonly number[]): FeatureValue | undefined {
    const { axes } = this.#arrangement;
    const [, , height, width] = this.#graph();
    const whole = isAlong(axes[rows], ROWS, height) && isAlong(axes[columns], COLUMNS, width);
    const from = whole ? channelsOf(axes[channels], this.#arrangement) : undefined;
    if (from === undefined) return undefined;
    const made = this.#mapped(from, "");
    if (channels === CHANNELS) return made;
    const [batch, count] = made.shape;
    return { ...made, shape: [batch, height, width, count], view: "channels_last" };
  }

  /** Channels spread over blocks of pixels. */
  #spread(): FeatureValue | undefined {
    const { axes } = this.#arrangement;
    const [, , height, width] = this.#graph();
    const split = (at: number, axis: number, extent: number) => {
      const first = extent === 1 ? 0 : 1;
      return isAlong(axes[at].slice(0, first), axis, extent) ? axes[at].slice(first) : undefined;
    };
    const rows = split(ROWS, ROWS, height), columns = split(COLUMNS, COLUMNS, width);
    const [row, ...moreRows] = rows ?? [], [column, ...moreColumns] = columns ?? [];
    const blocks = row?.extent === column?.extent && moreRows.length + moreColumns.length === 0;
    if (row === undefined || column === undefined || !blocks) return undefined;
    const from = channelsOf([...axes[CHANNELS], row, column], this.#arrangement);
    if (from === undefined || from.length !== this.#graph()[CHANNELS]) return undefined;
    const { name } = this.#mapped(from, "/channels");
    const layer = { op: "depth_to_space", inputs: [name], block: row.extent } as const;
    return this.#importer.emitPart(this.#node, "", layer);
  }

  /** Pixels of blocks gathered in channels. */
  #gathered(): FeatureValue | undefined {
    const { axes } = this.#arrangement;
    const [, count, height, width] = this.#graph();
    const block = height / (axes[ROWS][0]?.extent ?? 1);
    const whole = Number.isInteger(block) && block > 1 && block <= LARGEST_BLOCK &&
      isAlong(axes[ROWS], ROWS, height, block) && isAlong(axes[COLUMNS], COLUMNS, width, block);
    const parts = axes[CHANNELS];
    if (count * block ** 2 > MOST_CHANNELS) return undefined;
    const row = parts.findIndex(({ axis }) => axis === ROWS);
    const column = parts.findIndex(({ axis }) => axis === COLUMNS);
    if (!whole || row < 0 || column < 0) return undefined;
    if (!isAlong([parts[row]], ROWS, block) || !isAlong([parts[column]], COLUMNS, block)) {
      return undefined;
    }
    // Gathered with the blocks' pixels outermost, as slices one after another; then put in order.
    const places = parts.reduce<number[]>((found, { axis, extent, stride }) => {
      const step = axis === ROWS ? block * count : axis === COLUMNS ? count : stride;
      return found.flatMap((from) => Array.from({ length: extent }, (_, i) => from + i * step));
    }, [0]);
    if (places.length !== count * block ** 2) return undefined;
    return emitSpaceToDepth(this.#importer, this.#node, this.#name, block, places);
  }

  #mapped(from: readonly number[], suffix: string): FeatureValue {
    const [batch, channels, ...area] = this.#graph();
    if (isIdentity(from, channels)) {
      return { kind: "feature", name: this.#name, shape: [batch, channels, ...area] };
    }
    const layer = { op: "channel_map", inputs: [this.#name], from } as const;
    return this.#importer.emitPart(this.#node, suffix, layer);
  }
}

/**
 * Every pixel of a block as channels of its own; `places` says which of [block, block, channels] comes
 * first, second and so on.
 */
export function emitSpaceToDepth(
  importer: Importer,
  node: OnnxNode,
  name: string,
  block: number,
  places: readonly number[],
): FeatureValue {
  const [, height, width] = importer.shapeOf(name);
  const slices = Array.from(
    { length: block ** 2 },
    (_, cell) =>
      importer.emitPart(node, `/${cell}`, {
        op: "slice",
        inputs: [name],
        starts: [Math.floor(cell / block), cell % block],
        ends: [height, width],
        strides: [block, block],
      }).name,
  );
  const inOrder = isIdentity(places, places.length);
  const suffix = inOrder ? "" : "/joined";
  const joined = importer.emitPart(node, suffix, { op: "concat", inputs: slices });
  if (inOrder) return joined;
  return importer.emitPart(node, "", { op: "channel_map", inputs: [joined.name], from: places });
}

/** Makes a node's output of a value in an arrangement: a picture where it is one, else put off. */
function arrange(
  importer: Importer,
  node: OnnxNode,
  x: FeatureValue,
  arrangement: Arrangement,
): void {
  const settled = new Settling(importer, node, x, arrangement).settled();
  importer.alias(node, settled ?? arranged(x, arrangement));
}

/** The same elements under another shape; false where that cannot be followed. */
export function rearrangeReshape(
  importer: Importer,
  node: OnnxNode,
  x: FeatureValue,
  shape: readonly number[],
): boolean {
  const own = arrangementOf(importer, x);
  const arrangement = own && regrouped(own, shape);
  if (arrangement !== undefined) arrange(importer, node, x, arrangement);
  return arrangement !== undefined;
}

/** The axes in another order; false where that cannot be followed. */
export function rearrangeTranspose(
  importer: Importer,
  node: OnnxNode,
  x: FeatureValue,
  order: readonly number[],
): boolean {
  const own = arrangementOf(importer, x);
  const axes = order.map((axis) => axisOf(axis, x.shape.length));
  if (own === undefined || new Set(axes).size !== x.shape.length) return false;
  arrange(importer, node, x, transposed(own, axes));
  return true;
}

/** One index of an axis, which goes. */
export function rearrangeGather(
  importer: Importer,
  node: OnnxNode,
  x: FeatureValue,
  [at, index]: readonly [number, number],
): boolean {
  const own = arrangementOf(importer, x);
  const start = axisOf(index, x.shape[at]);
  const arrangement = own && taken(own, at, { start, count: 1, step: 1 });
  if (arrangement !== undefined) arrange(importer, node, x, dropped(arrangement, at));
  return arrangement !== undefined;
}

/** A range of every axis. */
export function rearrangeSlice(
  importer: Importer,
  node: OnnxNode,
  x: FeatureValue,
  ranges: readonly ReturnType<typeof sliceRange>[],
): boolean {
  const arrangement = ranges.reduce<Arrangement | undefined>(
    (found, range, at) =>
      found && (range.count === x.shape[at] && range.step === 1 ? found : taken(found, at, range)),
    arrangementOf(importer, x),
  );
  if (arrangement !== undefined) arrange(importer, node, x, arrangement);
  return arrangement !== undefined;
}
