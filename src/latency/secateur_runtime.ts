/** Times in secateur's own engine. */

import type { Graph } from "../graph/graph.ts";
import { loadAddon } from "../native/binding.ts";
import { type ComputeOptions, LoadedModel, resolveDtype } from "../native/loaded_model.ts";
import { elementCount } from "../tensor.ts";
import { UNIT_PREFIX } from "./layer_graph.ts";
import type { RunConditions, Runtime, TimedGraph } from "./runtime.ts";

const ENTRY = "forward";

/** Runs whole, or with a profile of the instructions of a unit. */
class TimedModel implements TimedGraph {
  readonly #model: LoadedModel;
  readonly #pictures: Float32Array;
  readonly #counted: readonly number[];
  readonly #profiled: boolean;
  readonly #milliseconds: number[] = [];

  constructor(model: LoadedModel, batch: number, ofUnit: boolean) {
    this.#model = model;
    this.#pictures = new Float32Array(batch * elementCount(model.graph.input.shape)).fill(0.5);
    this.#profiled = ofUnit;
    this.#counted = model.session.program.instructions.flatMap(({ layer }, index) =>
      layer.startsWith(UNIT_PREFIX) ? [index] : []
    );
  }

  #nanoseconds(): number {
    const times = this.#model.session.profile();
    return this.#counted.reduce((sum, index) => sum + times[index].nanoseconds, 0);
  }

  async pass(): Promise<void> {
    const { feeds, outputs } = this.#model.entry(ENTRY);
    const before = this.#profiled ? this.#nanoseconds() : 0;
    const started = performance.now();
    await this.#model.run(ENTRY, {
      feeds: { [feeds.images!]: this.#pictures },
      fetch: [...new Set(outputs.values())],
      profile: this.#profiled,
    });
    const passed = performance.now() - started;
    this.#milliseconds.push(this.#profiled ? (this.#nanoseconds() - before) / 1e6 : passed);
  }

  finish(): Promise<readonly number[]> {
    this.#model.dispose();
    return Promise.resolve(this.#milliseconds);
  }
}

/**
 * Secateur's engine. Times of layers are sums over threads, which for one picture, whose layers
 * run one after another, is the time that passes.
 */
export function secateurRuntime(
  conditions: RunConditions,
  dtype: ComputeOptions["dtype"],
): Runtime {
  const precision = resolveDtype(dtype);
  const { batch, threads } = conditions;
  const open = (graph: Graph, ofUnit: boolean): Promise<TimedGraph> => {
    const request = { kind: "forward", name: ENTRY, images: batch } as const;
    const model = LoadedModel.open(graph, [request], { dtype: precision, threads });
    return Promise.resolve(new TimedModel(model, batch, ofUnit));
  };
  return {
    name: "secateur",
    version: loadAddon().sourceHash,
    dtype: precision,
    conditions,
    clockTime: 0,
    openLayer: (graph) => open(graph, true),
    openWhole: (graph) => open(graph, false),
  };
}
