/** The compensated games of channel groups: moments measured once, then as many games as are asked for. */

import type { Dataset } from "../data/dataset.ts";
import type { ChannelGroup } from "../graph/channels.ts";
import type { Graph } from "../graph/graph.ts";
import { Reproduction } from "../native/reproduction.ts";
import { pooledMap } from "../std.ts";
import { RIDGE } from "../surgery/least_squares.ts";
import { measureMoments, type Moments, type MomentsOptions } from "./moments.ts";
import { type Consumer, consumersOf, needsOf } from "./readers.ts";

/** As many as there are threads for them: see native/addon/background.h. */
const GAMES_AT_ONCE = 2;

/** Games of a graph's groups, by the groups' indices. */
export class Games {
  readonly #groups: readonly ChannelGroup[];
  readonly #consumers: readonly (readonly Consumer[])[];
  readonly #signal: AbortSignal | undefined;

  /** Of moments that `needsOf` the groups asks for. */
  constructor(
    graph: Graph,
    groups: readonly ChannelGroup[],
    moments: ReadonlyMap<string, readonly Moments[]>,
    signal: AbortSignal | undefined,
  ) {
    this.#groups = groups;
    this.#consumers = groups.map((group) => consumersOf(graph, group, moments));
    this.#signal = signal;
  }

  /** Measures what the readers of all groups read. Throws what measureMoments throws. */
  static async measure(
    graph: Graph,
    groups: readonly ChannelGroup[],
    pictures: Dataset,
    options: MomentsOptions,
  ): Promise<Games> {
    const { layers, values } = needsOf(graph, groups);
    const moments = await measureMoments(graph, layers, values, pictures, options);
    return new Games(graph, groups, moments, options.signal);
  }

  /** A group's readers, in the order of its game's consumers. */
  readers(index: number): readonly Consumer[] {
    return this.#consumers[index];
  }

  /** A group's game with all players in. */
  #open(index: number): Reproduction {
    const { players } = this.#groups[index];
    const consumers = this.#consumers[index].map(({ native }) => native);
    return new Reproduction(consumers, players.length, RIDGE, this.#signal);
  }

  /**
   * Plays every group's game, some at a time: a game holds the covariances of its readers twice over.
   * Results are by group.
   */
  async each<T>(play: (game: Reproduction, index: number) => Promise<T>): Promise<T[]> {
    const indices = this.#groups.keys();
    return await Array.fromAsync(
      pooledMap(GAMES_AT_ONCE, indices, (index) => play(this.#open(index), index)),
    );
  }

  /**
   * By group: what is lost when the first k players of its order have gone, for every k from 0 to all of
   * them, in shares of what the group's readers put out, summed over readers.
   */
  async curves(orders: readonly (readonly number[])[]): Promise<Float64Array[]> {
    return await this.each(async (game, index) => {
      const order = Int32Array.from(orders[index]);
      const costs = await game.walk(order, order.length);
      const curve = new Float64Array(order.length + 1);
      costs.forEach((cost, k) => curve[k + 1] = curve[k] + cost);
      return curve;
    });
  }
}
