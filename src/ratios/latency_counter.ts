/** What a model takes at given widths, from the costs of its layers, kept up to date width by width. */

import type { ChannelGroup } from "../graph/channels.ts";
import type { CostedLayer, LayerCosts } from "../latency/costs.ts";
import { channelCounts, neighboursOf, type WidthCounter } from "./counter.ts";

/** Milliseconds of a pass, overhead included. A change of a group asks only for layers it touches. */
export class LatencyCounter implements WidthCounter {
  readonly neighbours: readonly (readonly number[])[];
  readonly #costs: LayerCosts;
  /** Channels of the values that layers read and write. */
  readonly #widths: Map<string, number>;
  readonly #counts: readonly ReadonlyMap<string, Int32Array>[];
  readonly #kept: number[];
  readonly #touched: readonly (readonly number[])[];
  readonly #own: Float64Array;

  constructor(groups: readonly ChannelGroup[], costs: LayerCosts) {
    const { layers } = costs;
    this.#costs = costs;
    this.#widths = new Map(
      layers.flatMap(({ input, output, inWidth, outWidth }) => [
        [input, inWidth] as const,
        [output, outWidth] as const,
      ]),
    );
    this.#counts = groups.map(channelCounts);
    this.#kept = groups.map(({ players }) => players.length);
    const touches = ({ input, output }: CostedLayer, counts: ReadonlyMap<string, Int32Array>) =>
      counts.has(input) || counts.has(output);
    this.#touched = this.#counts.map((counts) =>
      layers.flatMap((layer, index) => touches(layer, counts) ? [index] : [])
    );
    const byLayer = layers.map(() => [] as number[]);
    this.#touched.forEach((own, group) => own.forEach((layer) => byLayer[layer].push(group)));
    this.neighbours = neighboursOf(groups.length, byLayer);
    this.#own = Float64Array.from(layers, (layer, index) => this.#costAt(layer, index));
  }

  /** Summed anew, so that the same widths always take the same time, however they were come by. */
  get total(): number {
    return this.#own.reduce((sum, cost) => sum + cost, this.#costs.overhead);
  }

  /** Milliseconds of the layers that a group's channels pass through. */
  timeAround(group: number): number {
    return this.#touched[group].reduce((sum, index) => sum + this.#own[index], 0);
  }

  set(group: number, kept: number): void {
    const before = this.#kept[group];
    if (kept === before) return;
    this.#kept[group] = kept;
    for (const [value, counts] of this.#counts[group]) {
      const width = this.#widths.get(value);
      if (width !== undefined) this.#widths.set(value, width + counts[kept] - counts[before]);
    }
    for (const index of this.#touched[group]) {
      this.#own[index] = this.#costAt(this.#costs.layers[index], index);
    }
  }

  #costAt({ input, output }: CostedLayer, index: number): number {
    return this.#costs.costAt(index, this.#widths.get(input)!, this.#widths.get(output)!);
  }
}
