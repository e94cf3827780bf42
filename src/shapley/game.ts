/**
 * The game a channel group plays: the value of a coalition is how well the network does on
 * calibration images while the group's other channels are masked and the rest of the network is
 * intact, batch norm on its running statistics.
 *
 * Evaluated on the multi-mask path: what does not depend on the masks runs once per batch of
 * images, the rest is replayed with many coalitions stacked as one batch.
 */

import type { CalibrationBatch } from "../data/batches/calibration.ts";
import type { ChannelGroup } from "../graph/channels.ts";
import type { Graph } from "../graph/graph.ts";
import { shapesOf } from "../graph/shapes.ts";
import type { LoadedModel } from "../native/loaded_model.ts";
import type { CoalitionsRequest } from "../program/compile.ts";
import type { RunOptions } from "../progress.ts";
import type { Coalition, Game } from "./estimate.ts";
import { WORTH, type Worth } from "./worth.ts";

export type { Worth } from "./worth.ts";

/** Coalitions stacked as one batch. */
const STACK = 8;

/** Of channels that belong to other groups. */
const NOBODY = -1;

/** Which player each channel of a site belongs to; sites alike share one feed of gates. */
interface GateMap {
  readonly feed: string;
  readonly players: Int32Array;
}

function gateMaps(graph: Graph, group: ChannelGroup): Map<string, GateMap> {
  const shapes = shapesOf(graph);
  const players = new Map(
    group.sites.map((value) => [value, new Int32Array(shapes.get(value)![0]).fill(NOBODY)]),
  );
  group.players.forEach(({ sites }, player) => {
    for (const { value, channel } of sites) players.get(value)![channel] = player;
  });
  const feeds = new Map<string, string>();
  return new Map([...players].map(([value, map]) => {
    const key = map.join();
    if (!feeds.has(key)) feeds.set(key, value);
    return [value, { feed: feeds.get(key)!, players: map }];
  }));
}

/** What a model must be compiled with to play the game of a group on batches of `images`. */
export function gameRequest(graph: Graph, group: ChannelGroup, images: number): CoalitionsRequest {
  const gates = [...gateMaps(graph, group)].map(([value, { feed }]) => ({ value, feed }));
  return {
    kind: "coalitions",
    name: `game/${group.name}`,
    images,
    coalitions: [STACK],
    gates,
    loss: { smoothing: 0 },
  };
}

/** A group's game on a model that was opened with its `gameRequest`. */
export class NetworkGame implements Game {
  readonly name: string;
  readonly players: number;
  readonly samples: number;
  readonly worth: Worth;
  readonly #model: LoadedModel;
  readonly #batches: readonly CalibrationBatch[];
  /** Player of each channel, by feed. */
  readonly #feeds: ReadonlyMap<string, Int32Array>;

  constructor(
    model: LoadedModel,
    group: ChannelGroup,
    batches: readonly CalibrationBatch[],
    worth: Worth = "loss",
  ) {
    this.name = group.name;
    this.players = group.players.length;
    this.samples = batches.reduce((sum, batch) => sum + batch.labels.length, 0);
    this.#model = model;
    this.#batches = batches;
    this.worth = worth;
    const maps = [...gateMaps(model.graph, group).values()];
    this.#feeds = new Map(maps.map(({ feed, players }) => [feed, players]));
  }

  async evaluate(coalitions: readonly Coalition[], options: RunOptions): Promise<Float64Array[]> {
    const values = coalitions.map(() => new Float64Array(this.samples));
    const total = coalitions.length;
    const worthOf = WORTH[this.worth];
    let first = 0, images = 0;
    for (const batch of this.#batches) {
      await this.#evaluateBatch(batch, coalitions, options, (coalition, losses) => {
        losses.forEach((loss, image) => values[coalition][first + image] = worthOf(loss));
        images += losses.length;
        const done = Math.floor(images / this.samples);
        options.onProgress?.({ stage: "shapley", done, total, unit: "evaluations" });
      });
      first += batch.labels.length;
    }
    return values;
  }

  async #evaluateBatch(
    batch: CalibrationBatch,
    coalitions: readonly Coalition[],
    { signal }: RunOptions,
    take: (coalition: number, losses: Float32Array) => void,
  ): Promise<void> {
    const prefix = this.#model.entry(`game/${this.name}/prefix`);
    const suffix = this.#model.entry(`game/${this.name}/suffix/${STACK}`);
    const images = batch.labels.length;
    await this.#model.run(prefix.name, { feeds: { [prefix.feeds.images!]: batch.images } });
    const labels = new Int32Array(STACK * images);
    for (let c = 0; c < STACK; c++) labels.set(batch.labels, c * images);
    this.#model.session.write(suffix.feeds.labels!, labels);
    const runs: Promise<void>[] = [];
    for (let first = 0; first < coalitions.length; first += STACK) {
      const stack = coalitions.slice(first, first + STACK);
      const feeds = Object.fromEntries(
        [...this.#feeds].map(([feed, players]) =>
          [suffix.feeds.gates.get(feed)!, gateRows(stack, players)] as const
        ),
      );
      const run = this.#model.run(suffix.name, {
        feeds,
        fetch: [suffix.loss!],
        ...(signal ? { signal } : {}),
      });
      runs.push(run.then((result) => {
        const losses = result[suffix.loss!] as Float32Array;
        stack.forEach((_, c) => take(first + c, losses.subarray(c * images, (c + 1) * images)));
      }));
    }
    await Promise.all(runs);
  }
}

/** Gates [STACK, channels] for a stack of coalitions; rows without a coalition let all pass. */
function gateRows(stack: readonly Coalition[], players: Int32Array): Float32Array {
  const rows = new Float32Array(STACK * players.length).fill(1);
  stack.forEach((coalition, c) => {
    players.forEach((player, channel) => {
      if (player !== NOBODY) rows[c * players.length + channel] = coalition[player];
    });
  });
  return rows;
}
