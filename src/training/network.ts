/** The loaded network of a training run: its steps, its evaluation, its state in and out. */

import type { Batch } from "../data/batches/batches.ts";
import type { PictureSet } from "../data/dataset.ts";
import type { Graph } from "../graph/graph.ts";
import { shapesOf } from "../graph/shapes.ts";
import { LoadedModel } from "../native/loaded_model.ts";
import type { TypedArray } from "../native/session.ts";
import { evaluateMatch, type Matching, matchingScales } from "../objectives/matching.ts";
import type { CompiledEntry, EntryRequest } from "../program/compile.ts";
import { elementCount, type Tensor } from "../tensor.ts";
import type { Score } from "./checkpoint_position.ts";
import { evaluateLoaded, type Evaluation, evaluationRequest } from "./evaluate.ts";
import type { Mixed } from "./mix.ts";
import type { TrainOptions } from "./options.ts";

const stepName = (images: number): string => `step/${images}`;

/** Sizes of the batches an epoch has: the full one and, if any, the rest. */
function batchSizes(count: number, batch: number): number[] {
  return [Math.min(batch, count), count % batch].filter((size, index, all) =>
    size > 0 && all.indexOf(size) === index
  );
}

/** Of the squared error of each output, in the loss of a picture. */
function scalesOf(matching: Matching): Map<string, number> {
  const shapes = shapesOf(matching.original);
  return matchingScales(matching, (output) => elementCount(shapes.get(output)!));
}

/** One optimizer step as people set it. */
export interface StepSettings {
  readonly learningRate: number;
  /** Of the whole run, from 0. */
  readonly count: number;
}

export interface StepOptions {
  /** What the pictures were mixed of; nothing else, by default. */
  readonly mixed?: Mixed;
  readonly withLogits?: boolean;
}

/** What a step leaves. */
export interface StepResult {
  /** Sum over the batch; not finite when training has diverged. */
  readonly loss: number;
  /** [images, classes], where asked for. */
  readonly logits?: Float32Array;
}

export class TrainedNetwork implements Disposable {
  readonly #graph: Graph;
  readonly #options: TrainOptions;
  readonly #model: LoadedModel;
  readonly #teacher: LoadedModel | undefined;
  /** Names of optimizer state values. */
  readonly #state: readonly string[];
  /** Values of the moving average by parameter; empty where none is kept. */
  readonly #averages: ReadonlyMap<string, string>;

  constructor(graph: Graph, options: TrainOptions) {
    const { data, batch, validation, distillation, optimizer, clip, average, matching } = options;
    this.#graph = graph;
    this.#options = options;
    const sizes = batchSizes(data.count, batch);
    const steps = sizes.map((images): EntryRequest => ({
      kind: "step",
      name: stepName(images),
      images,
      loss: matching ? { scales: scalesOf(matching) } : {
        smoothing: options.smoothing ?? 0,
        mixed: options.mixing !== undefined,
        ...(distillation
          ? { distill: distillation.share, temperature: distillation.temperature }
          : {}),
      },
      optimizer: { ...optimizer, ...(clip ? { clip } : {}) },
      average: average !== undefined,
    }));
    const evaluation = validation && !matching
      ? [evaluationRequest(Math.min(256, validation.count))]
      : [];
    this.#model = LoadedModel.open(graph, [...steps, ...evaluation], options);
    const entry = this.#model.entry(stepName(sizes[0]));
    this.#state = [...entry.optimizerState.values()].flat();
    this.#averages = entry.averages;
    const teacher = matching?.original ?? distillation?.teacher;
    this.#teacher = teacher && LoadedModel.open(
      teacher,
      sizes.map((images) => ({ kind: "forward", name: stepName(images), images })),
      options,
    );
    this.restart();
  }

  [Symbol.dispose](): void {
    this.#model.dispose();
    this.#teacher?.dispose();
  }

  /** Whether a moving average of the weights is kept. */
  get averaging(): boolean {
    return this.#averages.size > 0;
  }

  /** One forward and backward pass and the update; `mixed` says what the pictures were mixed of. */
  async step(
    batch: Batch,
    settings: StepSettings,
    { mixed, withLogits = false }: StepOptions = {},
  ): Promise<StepResult> {
    const images = batch.labels.length, name = stepName(images);
    const entry = this.#model.entry(name);
    const taught = await this.#taught(name, batch, entry);
    const { feeds } = entry;
    const result = await this.#model.run(name, {
      feeds: {
        [feeds.images!]: batch.images,
        ...(feeds.labels ? { [feeds.labels]: batch.labels } : {}),
        [feeds.hyper!]: this.#hyper(settings),
        ...taught,
        ...(feeds.pace ? { [feeds.pace]: this.#pace(settings.count) } : {}),
        ...(feeds.otherLabels
          ? {
            [feeds.otherLabels]: mixed?.otherLabels ?? batch.labels,
            [feeds.labelShares!]: mixed?.labelShares ?? new Float32Array(images).fill(1),
          }
          : {}),
      },
      fetch: [entry.loss!, ...(withLogits ? [entry.logits!] : [])],
    });
    const losses = result[entry.loss!] as Float32Array;
    return {
      loss: losses.reduce((total, loss) => total + loss, 0),
      ...(withLogits ? { logits: result[entry.logits!] as Float32Array } : {}),
    };
  }

  #hyper({ learningRate, count }: StepSettings): Float32Array {
    const { optimizer } = this.#options;
    if (optimizer.kind === "sgd") return Float32Array.of(learningRate, optimizer.momentum ?? 0.9);
    return Float32Array.of(learningRate, 0.9, 0.999, 1e-8, count + 1);
  }

  /** A short run's average must not be mostly its first weights: the decay grows with the steps. */
  #pace(count: number): Float32Array {
    return Float32Array.of(1 - Math.min(this.#options.average!, (1 + count) / (10 + count)));
  }

  /** What the teacher, or the original that is matched, says of a batch: feeds of a step. */
  async #taught(
    name: string,
    batch: Batch,
    { feeds }: CompiledEntry,
  ): Promise<Record<string, TypedArray>> {
    if (this.#teacher === undefined) return {};
    const entry = this.#teacher.entry(name);
    const wanted = feeds.wanted === undefined
      ? [[feeds.teacher!, entry.logits!] as const]
      : [...feeds.wanted].map(([output, feed]) => [feed, entry.outputs.get(output)!] as const);
    const result = await this.#teacher.run(name, {
      feeds: { [entry.feeds.images!]: batch.images },
      fetch: [...new Set(wanted.map(([, value]) => value))],
    });
    return Object.fromEntries(wanted.map(([feed, value]) => [feed, result[value]]));
  }

  /** How the weights as they are do on pictures. Throws "numeric-failure". */
  async evaluate(pictures: PictureSet): Promise<Score> {
    const { matching } = this.#options;
    if (matching) {
      const graph = { ...this.#graph, parameters: await this.parameters() };
      const { batch: _batch, onProgress: _onProgress, ...options } = this.#options;
      const { loss } = await evaluateMatch(graph, matching, pictures, options);
      return { loss };
    }
    const { loss, top1 } = await this.#evaluateClasses(pictures);
    return { loss, top1 };
  }

  async #evaluateClasses(pictures: PictureSet): Promise<Evaluation> {
    const { normalisation, signal } = this.#options;
    return await evaluateLoaded(this.#model, pictures, {
      normalisation,
      ...(signal ? { signal } : {}),
    });
  }

  /** As `evaluate`, with the moving average in place of the weights. */
  async evaluateAverage(pictures: PictureSet): Promise<Score> {
    const own = await this.parameters();
    this.#model.write(await this.averageParameters());
    try {
      return await this.evaluate(pictures);
    } finally {
      this.#model.write(own);
    }
  }

  /** The weights as they are. */
  async parameters(): Promise<ReadonlyMap<string, Tensor>> {
    return (await this.#model.current()).parameters;
  }

  /** The moving average; parameters that no layer reads as they are. */
  async averageParameters(): Promise<ReadonlyMap<string, Tensor>> {
    const parameters = new Map(this.#graph.parameters);
    for (const [name, value] of this.#averages) {
      parameters.set(name, {
        shape: this.#graph.parameters.get(name)!.shape,
        data: await this.#model.session.read(value) as Float32Array,
      });
    }
    return parameters;
  }

  /** Optimizer state by value name. */
  async optimizerState(): Promise<ReadonlyMap<string, Tensor>> {
    const state = new Map<string, Tensor>();
    for (const name of this.#state) {
      const data = await this.#model.session.read(name) as Float32Array;
      state.set(name, { shape: [data.length], data });
    }
    return state;
  }

  /** Puts everything back to before the first step. */
  restart(): void {
    const { session } = this.#model;
    const shapes = new Map(session.program.values.map((value) => [value.name, value.shape]));
    this.#model.write(this.#graph.parameters);
    for (const name of this.#state) {
      session.write(name, new Float32Array(elementCount(shapes.get(name)!)));
    }
    this.#writeAverages(this.#graph.parameters);
  }

  /** Puts a stored state in. */
  write(
    parameters: ReadonlyMap<string, Tensor>,
    optimizer: ReadonlyMap<string, Tensor>,
    averages: ReadonlyMap<string, Tensor>,
  ): void {
    this.#model.write(parameters);
    for (const [name, { data }] of optimizer) this.#model.session.write(name, data);
    this.#writeAverages(averages);
  }

  #writeAverages(parameters: ReadonlyMap<string, Tensor>): void {
    for (const [name, value] of this.#averages) {
      this.#model.session.write(value, parameters.get(name)!.data);
    }
  }
}
