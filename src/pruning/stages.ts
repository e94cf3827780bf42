/** What all stages of a run share: input, options, where results lie, and what has been spent. */

import { calibrationSet } from "../data/batches/calibration.ts";
import { type Dataset, loaded, type Normalisation, type PictureSet } from "../data/dataset.ts";
import type { Graph } from "../graph/graph.ts";
import { computeOf, type ComputeOptions } from "../native/loaded_model.ts";
import { type RunOptions, stopIfAsked } from "../progress.ts";
import type { EpochRecord } from "../training/checkpoint_position.ts";
import type { Artefacts } from "./artefacts.ts";
import type { PruneOptions } from "./options.ts";
import { decidingOptions } from "./stage_inputs.ts";
import type { ObtainOptions, StageStore } from "./store.ts";

/** A model to prune and the pictures it may see. */
export interface PruneInput {
  readonly graph: Graph;
  /** Fine-tuning and calibration. */
  readonly training: PictureSet;
  /** Every choice: what to keep of a stage, which epoch is best. */
  readonly heldOut: PictureSet;
  /** Reporting only. */
  readonly test: PictureSet;
  readonly normalisation: Normalisation;
}

/** Where a stage begins: its name, and how long it may take where that is known. */
export interface StageStart {
  readonly stage: string;
  readonly seconds?: number;
  /** Whether it may end much sooner. */
  readonly atMost?: boolean;
  /** It is not run: an earlier run left its result. */
  readonly taken?: boolean;
  /** Another run is making its result, which is waited for. */
  readonly awaited?: boolean;
}

export interface PruneRunOptions extends RunOptions {
  readonly onStage?: (start: StageStart) => void;
  /** Told, in a sentence each, what people should know before the end. */
  readonly onNote?: (sentence: string) => void;
  /** Told of every epoch of fine-tuning, and of the control's, as it ends. */
  readonly onEpoch?: (record: EpochRecord) => void;
  /** Results that runs share; left out, this run keeps its own alone. */
  readonly artefacts?: Artefacts;
}

/** One run as its stages see it. */
export class Stages {
  readonly input: PruneInput;
  readonly options: PruneOptions;
  readonly run: PruneRunOptions;
  readonly store: StageStore;
  /** For stages that depend on any of the options. */
  readonly everything: StageStore;
  readonly compute: ComputeOptions;
  /** Stages in their order, and how long they took when they ran. */
  readonly spent: { name: string; seconds: number }[] = [];
  /** Seconds of one forward pass of the original on one image. */
  passSeconds = 0;
  /** Seconds that stages have taken here, or that was waited for them. */
  #passed = 0;

  constructor(
    input: PruneInput,
    options: PruneOptions,
    run: PruneRunOptions,
    store: StageStore,
  ) {
    this.input = input;
    this.options = options;
    this.run = run;
    this.store = store;
    this.everything = store.with(decidingOptions(options));
    this.compute = computeOf(options);
  }

  /**
   * Runs a stage, or takes what it stored, and notes how long it took when it ran. `store` is for what its
   * result depends on.
   */
  async stage<T>(
    name: string,
    passes: number,
    work: () => Promise<T>,
    atMost = false,
    store: StageStore = this.everything,
    kept: Pick<ObtainOptions, "largest" | "sharedOnly"> = {},
  ): Promise<T> {
    const make = async () => {
      const forecast = passes * this.passSeconds;
      this.run.onStage?.({
        stage: name,
        ...(forecast > 0 ? { seconds: forecast, atMost } : {}),
      });
      const value = await this.#timed(name, work);
      return { value, seconds: this.spent.at(-1)!.seconds };
    };
    stopIfAsked(this.run.signal);
    const asked = performance.now();
    const { value, seconds, taken } = await store.obtain(name, make, {
      ...kept,
      signal: this.run.signal,
      onWait: () => this.run.onStage?.({ stage: name, awaited: true }),
    });
    if (taken) {
      this.run.onStage?.({ stage: name, taken });
      this.spent.push({ name, seconds });
      this.#passed += (performance.now() - asked) / 1000;
    }
    return value;
  }

  /** Runs work whose result is not stored, as a stage. */
  async timed<T>(name: string, work: () => Promise<T>): Promise<T> {
    this.run.onStage?.({ stage: name });
    return await this.#timed(name, work);
  }

  /** Notes how long work took, less the stages within it, which note their own. */
  async #timed<T>(name: string, work: () => Promise<T>): Promise<T> {
    const before = this.#passed;
    const started = performance.now();
    const value = await work();
    const elapsed = (performance.now() - started) / 1000;
    this.spent.push({ name, seconds: elapsed - (this.#passed - before) });
    this.#passed = before + elapsed;
    return value;
  }

  /** Training pictures for a purpose, in memory while they serve it. */
  async pictures(count: number, purpose: string): Promise<Dataset> {
    const { seed } = this.options;
    return await loaded(
      calibrationSet(this.input.training, count, seed, purpose),
      this.run.signal,
    );
  }
}
