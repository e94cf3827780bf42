import { createHash } from "node:crypto";
import { type Batch, BatchStream } from "../data/batches/batches.ts";
import { contentOf, type Normalisation, type PictureSet } from "../data/dataset.ts";
import { SecateurError } from "../errors.ts";
import type { Graph } from "../graph/graph.ts";
import { type ComputeOptions, LoadedModel, resolveDtype } from "../native/loaded_model.ts";
import type { EntryRequest } from "../program/compile.ts";
import type { RunOptions } from "../progress.ts";
import type { Tensor } from "../tensor.ts";
import {
  type EpochRecord,
  readCheckpoint,
  type TrainingPosition,
  type TrainingState,
  writeCheckpoint,
} from "./checkpoint.ts";
import { evaluateLoaded, evaluationRequest, requireFit } from "./evaluate.ts";
import { learningRate } from "./schedule.ts";

/** Nesterov momentum as in PyTorch, or AdamW; decay spares batch norm and biases by default. */
export interface Optimizer {
  readonly kind: "sgd" | "adamw";
  readonly weightDecay: number;
  readonly decayNormAndBias?: boolean;
  /** SGD only; default 0.9. */
  readonly momentum?: number;
}

/** Distillation from a teacher's logits (Hinton et al., arXiv 1503.02531). */
export interface Distillation {
  readonly teacher: Graph;
  /** Share of the loss that is the teacher's, in [0, 1]. */
  readonly share: number;
  readonly temperature: number;
}

export interface TrainOptions extends RunOptions, ComputeOptions {
  readonly data: PictureSet;
  /** Evaluated after every epoch; decides which epoch is best. */
  readonly validation?: PictureSet;
  readonly normalisation: Normalisation;
  readonly epochs: number;
  /** Images per step; the last batch of an epoch may have fewer. */
  readonly batch: number;
  readonly optimizer: Optimizer;
  /** Peak learning rate: linear warm-up, then cosine decay to zero. */
  readonly learningRate: number;
  readonly warmupEpochs?: number;
  readonly smoothing?: number;
  readonly distillation?: Distillation;
  /** Crop and mirror. */
  readonly augment?: boolean;
  /** Another order every epoch (default), or the data set's own. */
  readonly shuffle?: boolean;
  readonly seed: number;
  /** File to keep the state in: written after every epoch and when cancelled. */
  readonly checkpoint?: string;
  /** Go on from the checkpoint if there is one. */
  readonly resume?: boolean;
  /** Name of the stage in progress reports; default "train". */
  readonly stage?: string;
}

export interface TrainResult {
  /** Weights after the last epoch. */
  readonly last: Graph;
  /** Weights of the epoch with the best validation accuracy; the last ones without validation. */
  readonly best: Graph;
  readonly bestEpoch: number;
  readonly history: readonly EpochRecord[];
}

/** Everything that decides the result, as a digest. */
function fingerprintOf(graph: Graph, options: TrainOptions): string {
  const { data, validation, distillation } = options;
  const hash = createHash("sha256");
  hash.update(JSON.stringify([
    graph.nodes,
    [data.name, data.count, data.classes],
    [validation?.name, validation?.count],
    options.normalisation,
    [options.epochs, options.batch, options.optimizer, options.learningRate],
    [options.warmupEpochs, options.smoothing, options.augment, options.shuffle, options.seed],
    [distillation?.share, distillation?.temperature],
    [resolveDtype(options.dtype), options.slice],
  ]));
  for (const dataset of [data, ...validation ? [validation] : []]) {
    hash.update(contentOf(dataset)).update(dataset.labels);
  }
  for (const { parameters } of [graph, ...distillation ? [distillation.teacher] : []]) {
    for (const [name, { data }] of parameters) {
      hash.update(name).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    }
  }
  return hash.digest("hex");
}

const stepName = (images: number): string => `step/${images}`;

/** Sizes of the batches an epoch has: the full one and, if any, the rest. */
function batchSizes(count: number, batch: number): number[] {
  return [Math.min(batch, count), count % batch].filter((size, index, all) =>
    size > 0 && all.indexOf(size) === index
  );
}

/** One run of `train`: the loaded models, the batches and where it stands. */
class TrainingRun {
  readonly #graph: Graph;
  readonly #options: TrainOptions;
  readonly #model: LoadedModel;
  readonly #teacher: LoadedModel | undefined;
  readonly #batches: BatchStream;
  readonly #state: readonly string[];
  #position: TrainingPosition = { epoch: 0, step: 0, lossSum: 0, images: 0, history: [] };
  #best: ReadonlyMap<string, Tensor> = new Map();
  #knownFingerprint: string | undefined;

  constructor(graph: Graph, options: TrainOptions, batches: BatchStream) {
    const { data, batch, validation, distillation } = options;
    this.#graph = graph;
    this.#options = options;
    const sizes = batchSizes(data.count, batch);
    const steps = sizes.map((images): EntryRequest => ({
      kind: "step",
      name: stepName(images),
      images,
      loss: {
        smoothing: options.smoothing ?? 0,
        ...(distillation
          ? { distill: distillation.share, temperature: distillation.temperature }
          : {}),
      },
      optimizer: options.optimizer,
    }));
    this.#batches = batches;
    const evaluation = validation ? [evaluationRequest(Math.min(256, validation.count))] : [];
    this.#model = LoadedModel.open(graph, [...steps, ...evaluation], options);
    this.#state = [...this.#model.entry(stepName(sizes[0])).optimizerState.values()].flat();
    this.#teacher = distillation && LoadedModel.open(
      distillation.teacher,
      sizes.map((images) => ({ kind: "forward", name: stepName(images), images })),
      options,
    );
  }

  /** Digested when a checkpoint is first asked for, since it takes in every pixel. */
  get #fingerprint(): string {
    return this.#knownFingerprint ??= fingerprintOf(this.#graph, this.#options);
  }

  async run(): Promise<TrainResult> {
    try {
      if (this.#options.resume) await this.#restore();
      while (this.#position.epoch < this.#options.epochs) await this.#epoch();
      const last = await this.#model.current();
      const best = this.#best.size > 0 ? { ...this.#graph, parameters: this.#best } : last;
      const { history } = this.#position;
      const bestEpoch = this.#position.best?.epoch ?? history.length;
      return { last, best, bestEpoch, history };
    } finally {
      this.#model.dispose();
      this.#teacher?.dispose();
    }
  }

  async #epoch(): Promise<void> {
    const { epoch, step: startStep } = this.#position;
    const { signal, validation } = this.#options;
    const started = performance.now();
    for await (const batch of this.#batches.epoch(epoch, { startStep })) {
      await this.#step(batch);
      if (signal?.aborted) await this.#stop();
    }
    const { lossSum, images, history } = this.#position;
    const evaluated = validation && await evaluateLoaded(this.#model, validation, {
      normalisation: this.#options.normalisation,
    });
    const record: EpochRecord = {
      epoch: epoch + 1,
      loss: lossSum / images,
      learningRate: this.#learningRate(epoch, this.#batches.stepsPerEpoch - 1),
      seconds: (performance.now() - started) / 1000,
      ...(evaluated ? { validation: { loss: evaluated.loss, top1: evaluated.top1 } } : {}),
    };
    this.#position = {
      ...this.#position,
      epoch: epoch + 1,
      step: 0,
      lossSum: 0,
      images: 0,
      history: [...history, record],
    };
    await this.#keepBest(record);
    await this.#save();
    if (signal?.aborted) await this.#stop();
  }

  async #step(batch: Batch): Promise<void> {
    const { epoch, step, lossSum, images } = this.#position;
    const name = stepName(batch.labels.length);
    const entry = this.#model.entry(name);
    const rate = this.#learningRate(epoch, step);
    const teacher = await this.#teacherLogits(name, batch);
    const result = await this.#model.run(name, {
      feeds: {
        [entry.feeds.images!]: batch.images,
        [entry.feeds.labels!]: batch.labels,
        [entry.feeds.hyper!]: this.#hyper(rate),
        ...(teacher ? { [entry.feeds.teacher!]: teacher } : {}),
      },
      fetch: [entry.loss!],
    });
    const losses = result[entry.loss!] as Float32Array;
    const sum = losses.reduce((total, loss) => total + loss, 0);
    if (!Number.isFinite(sum)) {
      throw new SecateurError(
        "numeric-failure",
        `The training loss became ${sum} in epoch ${epoch + 1}, step ${step + 1}: lower the ` +
          `learning rate (${rate.toPrecision(3)}), or train in f32.`,
      );
    }
    this.#position = {
      ...this.#position,
      step: step + 1,
      lossSum: lossSum + sum,
      images: images + losses.length,
    };
    this.#report(sum / losses.length, rate);
  }

  #learningRate(epoch: number, step: number): number {
    const { learningRate: peak, warmupEpochs = 0, epochs } = this.#options;
    const { stepsPerEpoch } = this.#batches;
    return learningRate({
      peak,
      warmupSteps: Math.round(warmupEpochs * stepsPerEpoch),
      totalSteps: epochs * stepsPerEpoch,
    }, epoch * stepsPerEpoch + step);
  }

  #hyper(rate: number): Float32Array {
    const { optimizer } = this.#options;
    if (optimizer.kind === "sgd") return Float32Array.of(rate, optimizer.momentum ?? 0.9);
    const { epoch, step } = this.#position;
    const count = epoch * this.#batches.stepsPerEpoch + step + 1;
    return Float32Array.of(rate, 0.9, 0.999, 1e-8, count);
  }

  async #teacherLogits(name: string, batch: Batch): Promise<Float32Array | undefined> {
    if (this.#teacher === undefined) return undefined;
    const entry = this.#teacher.entry(name);
    const result = await this.#teacher.run(name, {
      feeds: { [entry.feeds.images!]: batch.images },
      fetch: [entry.logits!],
    });
    return result[entry.logits!] as Float32Array;
  }

  #report(loss: number, rate: number): void {
    const { onProgress, data, epochs, stage = "train" } = this.#options;
    const { epoch, images } = this.#position;
    onProgress?.({
      stage,
      done: epoch * data.count + images,
      total: epochs * data.count,
      unit: "images",
      figures: { epoch: epoch + 1, loss, learningRate: rate },
    });
  }

  async #keepBest(record: EpochRecord): Promise<void> {
    const { validation, epoch } = record;
    if (validation === undefined) return;
    const { best } = this.#position;
    const better = best === undefined || validation.top1 > best.top1 ||
      (validation.top1 === best.top1 && validation.loss < best.loss);
    if (!better) return;
    this.#position = { ...this.#position, best: { ...validation, epoch } };
    this.#best = (await this.#model.current()).parameters;
  }

  async #save(): Promise<void> {
    const { checkpoint } = this.#options;
    if (checkpoint === undefined) return;
    const optimizer = new Map<string, Tensor>();
    for (const name of this.#state) {
      const data = await this.#model.session.read(name) as Float32Array;
      optimizer.set(name, { shape: [data.length], data });
    }
    const { parameters } = await this.#model.current();
    const state: TrainingState = {
      position: this.#position,
      parameters,
      optimizer,
      best: this.#best,
    };
    await writeCheckpoint(checkpoint, state, this.#fingerprint);
  }

  async #stop(): Promise<never> {
    await this.#save();
    const { checkpoint } = this.#options;
    throw new SecateurError(
      "cancelled",
      checkpoint === undefined
        ? "Training was stopped."
        : `Training was stopped; its state is in ${checkpoint}, go on with --resume.`,
    );
  }

  async #restore(): Promise<void> {
    const { checkpoint } = this.#options;
    const state = checkpoint && await readCheckpoint(checkpoint, this.#fingerprint);
    if (!state) return;
    this.#position = state.position;
    this.#best = state.best;
    this.#model.write(state.parameters);
    for (const [name, { data }] of state.optimizer) this.#model.session.write(name, data);
  }
}

/**
 * Trains a graph. The result depends on the options and the instruction set alone: not on threads,
 * and not on being stopped and resumed. Throws "data-mismatch" when pictures or classes do not
 * fit, "numeric-failure" when the loss is no longer finite, "cancelled" when the signal aborts.
 */
export async function train(graph: Graph, options: TrainOptions): Promise<TrainResult> {
  requireFit(graph, options.data);
  if (options.validation) requireFit(graph, options.validation);
  // First, so that its worker starts while the model is compiled.
  const batches = new BatchStream(options.data, {
    batchSize: Math.min(options.batch, options.data.count),
    normalisation: options.normalisation,
    seed: options.seed,
    augment: options.augment ?? false,
    shuffle: options.shuffle ?? true,
  });
  try {
    return await new TrainingRun(graph, options, batches).run();
  } finally {
    await batches.close();
  }
}
