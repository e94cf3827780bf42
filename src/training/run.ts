/** One training run: its epochs, what it keeps of them, and how it is stopped and goes on. */

import type { Batch, BatchStream } from "../data/batches/batches.ts";
import { SecateurError } from "../errors.ts";
import type { Graph } from "../graph/graph.ts";
import { RandomStream } from "../random.ts";
import type { Tensor } from "../tensor.ts";
import { isBetter } from "./best.ts";
import { readCheckpoint, writeCheckpoint } from "./checkpoint.ts";
import type {
  BestWeights,
  Divergence,
  EpochRecord,
  Score,
  TrainingPosition,
} from "./checkpoint_position.ts";
import { type Identity, identityOf } from "./identity.ts";
import { mix } from "./mix.ts";
import { type StepOptions, TrainedNetwork } from "./network.ts";
import type { TrainOptions, TrainResult } from "./options.ts";
import { crossEntropy, isRuined, isRuinedFrom, LOWERED, probeSteps, TRIES } from "./probe.ts";
import { learningRate, rateText } from "./schedule.ts";

const planOf = ({ epochs, warmupEpochs: warmup = 0 }: TrainOptions) => ({ epochs, warmup });

export class TrainingRun implements Disposable {
  readonly #graph: Graph;
  readonly #options: TrainOptions;
  readonly #network: TrainedNetwork;
  readonly #batches: BatchStream;
  #position: TrainingPosition;
  /** Empty where the best weights are the starting ones. */
  #best: ReadonlyMap<string, Tensor> = new Map();
  #knownIdentity: Identity | undefined;

  constructor(graph: Graph, options: TrainOptions, batches: BatchStream) {
    this.#graph = graph;
    this.#options = options;
    this.#batches = batches;
    this.#network = new TrainedNetwork(graph, options);
    this.#position = {
      epoch: 0,
      step: 0,
      lossSum: 0,
      images: 0,
      history: [],
      begun: false,
      rateShare: 1,
      planned: [planOf(options)],
    };
  }

  [Symbol.dispose](): void {
    this.#network[Symbol.dispose]();
  }

  /** Digested when a checkpoint is first asked for, since it takes in every pixel. */
  get #identity(): Identity {
    return this.#knownIdentity ??= identityOf(this.#graph, this.#options);
  }

  async run(): Promise<TrainResult> {
    if (this.#options.resume) await this.#restore();
    if (!this.#position.begun) await this.#orStop(() => this.#begin());
    while (this.#position.epoch < this.#options.epochs && !this.#position.diverged) {
      await this.#epoch();
    }
    return await this.#result();
  }

  async #result(): Promise<TrainResult> {
    const { history, best, start, diverged, rateShare } = this.#position;
    const bestGraph = { ...this.#graph, parameters: this.#bestParameters() };
    const last = diverged
      ? bestGraph
      : { ...this.#graph, parameters: await this.#network.parameters() };
    return {
      last,
      best: best ? bestGraph : last,
      bestEpoch: best?.epoch ?? history.length,
      history,
      outcome: {
        ...(start ? { start } : {}),
        ...(best ? { best } : {}),
        askedRate: this.#options.learningRate,
        learningRate: this.#options.learningRate * rateShare,
        ...(diverged ? { diverged } : {}),
      },
    };
  }

  #bestParameters(): ReadonlyMap<string, Tensor> {
    return this.#best.size > 0 ? this.#best : this.#graph.parameters;
  }

  /** What `work` gives; a stop within it leaves a checkpoint, as one between steps does. */
  async #orStop<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (thrown) {
      if (!(thrown instanceof SecateurError) || thrown.code !== "cancelled") throw thrown;
      return await this.#stop();
    }
  }

  /** Scores the starting weights, which compete with every epoch, and tries the rate. */
  async #begin(): Promise<void> {
    const { validation, probe } = this.#options;
    if (validation) {
      const start = await this.#network.evaluate(validation);
      this.#position = {
        ...this.#position,
        start,
        best: { ...start, epoch: 0 },
        ...(start.top1 === undefined ? {} : { highest: start.top1 }),
      };
      this.#options.onStart?.(start);
    }
    if (probe) await this.#probe();
    this.#position = { ...this.#position, begun: true };
  }

  /** Lowers the peak rate while a few steps at it ruin the network. */
  async #probe(): Promise<void> {
    const { learningRate: asked, epochs, onNote } = this.#options;
    const steps = probeSteps(epochs * this.#batches.stepsPerEpoch);
    let share = 1;
    for (let tried = 0; tried < TRIES; tried++) {
      try {
        if (!await this.#ruins(asked * share, steps)) break;
      } finally {
        this.#network.restart();
      }
      share *= LOWERED;
    }
    this.#position = { ...this.#position, rateShare: share };
    if (share === 1) return;
    onNote?.(
      `A learning rate of ${rateText(asked)} ruins this network within ${steps} steps; it is ` +
        `trained at ${rateText(asked * share)} instead.`,
    );
  }

  async #ruins(rate: number, steps: number): Promise<boolean> {
    const { data, onProgress, signal, matching } = this.#options;
    const losses: number[] = [];
    for await (const batch of this.#batches.epoch(0, signal ? { signal } : {})) {
      const { loss, logits } = await this.#network.step(
        batch,
        { learningRate: rate, count: losses.length },
        { withLogits: matching === undefined },
      );
      losses.push(logits ? crossEntropy(logits, batch.labels) : loss / batch.labels.length);
      onProgress?.({ stage: "rate probe", done: losses.length, total: steps, unit: "steps" });
      if (losses.length === steps || !Number.isFinite(losses.at(-1))) break;
    }
    // Outputs that know nothing of the original's differ by their variance.
    return matching ? isRuinedFrom(losses, 1) : isRuined(losses, data.classes.length);
  }

  async #epoch(): Promise<void> {
    const { epoch, step: startStep } = this.#position;
    const { signal, onEpoch } = this.#options;
    const started = performance.now();
    for await (const batch of this.#batches.epoch(epoch, { startStep })) {
      if (!await this.#step(batch)) return await this.#save();
      if (signal?.aborted) await this.#stop();
    }
    const { lossSum, images, history } = this.#position;
    const scores = await this.#orStop(() => this.#scores(epoch + 1));
    if (scores === undefined) return await this.#save();
    const record: EpochRecord = {
      epoch: epoch + 1,
      loss: lossSum / images,
      learningRate: this.#learningRate(epoch, this.#batches.stepsPerEpoch - 1),
      seconds: (performance.now() - started) / 1000,
      ...scores,
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
    onEpoch?.(record);
    if (signal?.aborted) await this.#stop();
  }

  /** Whether the loss was finite, without which there is nothing to go on from. */
  async #step(batch: Batch): Promise<boolean> {
    const { epoch, step, lossSum, images } = this.#position;
    const rate = this.#learningRate(epoch, step);
    const count = epoch * this.#batches.stepsPerEpoch + step;
    const mixed = this.#mix(batch);
    const { loss } = await this.#network.step(batch, { learningRate: rate, count }, mixed);
    if (!Number.isFinite(loss)) {
      this.#diverge({ epoch: epoch + 1, step: step + 1, learningRate: rate }, count === 0);
      return false;
    }
    this.#position = {
      ...this.#position,
      step: step + 1,
      lossSum: lossSum + loss,
      images: images + batch.labels.length,
    };
    this.#report(loss / batch.labels.length, rate);
    return true;
  }

  /** Mixes a batch's pictures, where that is asked for; says of what. */
  #mix({ images, labels }: Batch): StepOptions {
    const { mixing, data, seed } = this.#options;
    if (mixing === undefined) return {};
    const { epoch, step } = this.#position;
    return { mixed: mix(images, labels, data, mixing, new RandomStream(seed, "mix", epoch, step)) };
  }

  /** Of the epoch's weights and their average; undefined where they no longer give finite losses. */
  async #scores(epoch: number): Promise<{ validation?: Score; averaged?: Score } | undefined> {
    const { validation } = this.#options;
    if (validation === undefined) return {};
    try {
      const score = await this.#network.evaluate(validation);
      if (!this.#network.averaging) return { validation: score };
      return { validation: score, averaged: await this.#network.evaluateAverage(validation) };
    } catch (thrown) {
      if (!(thrown instanceof SecateurError) || thrown.code !== "numeric-failure") throw thrown;
      const rate = this.#learningRate(epoch - 1, this.#batches.stepsPerEpoch - 1);
      this.#diverge({ epoch, step: 0, learningRate: rate }, false);
      return undefined;
    }
  }

  /** Ends training where the best weights can be kept, or throws where there are none. */
  #diverge(diverged: Divergence, untouched: boolean): void {
    const { epoch, step } = diverged;
    if (untouched) {
      throw new SecateurError(
        "numeric-failure",
        `The training loss of ${this.#graph.name} is not finite before its first update: check its ` +
          `weights and the normalisation of the pictures, or train in f32.`,
      );
    }
    const peak = this.#options.learningRate * this.#position.rateShare;
    const where = step > 0 ? `in epoch ${epoch}, step ${step}` : `after epoch ${epoch}`;
    const sentence = `The loss was no longer finite ${where}: the learning rate (at most ` +
      `${rateText(peak)}) is too high for this network, so try --lr ${rateText(peak / 4)}`;
    if (this.#position.best === undefined) {
      throw new SecateurError("numeric-failure", `${sentence}.`);
    }
    this.#position = { ...this.#position, diverged };
    this.#options.onNote?.(
      `${sentence}; training ended there, and the best weights so far are kept.`,
    );
  }

  #learningRate(epoch: number, step: number): number {
    const { learningRate: peak, warmupEpochs = 0, epochs } = this.#options;
    const { stepsPerEpoch } = this.#batches;
    return learningRate({
      peak: peak * this.#position.rateShare,
      warmupSteps: Math.round(warmupEpochs * stepsPerEpoch),
      totalSteps: epochs * stepsPerEpoch,
    }, epoch * stepsPerEpoch + step);
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

  async #keepBest({ epoch, validation, averaged }: EpochRecord): Promise<void> {
    const network = this.#network;
    if (validation) {
      await this.#compete({ ...validation, epoch }, () => network.parameters());
    }
    if (averaged) {
      await this.#compete(
        { ...averaged, epoch, averaged: true },
        () => network.averageParameters(),
      );
    }
  }

  /** Weights that take the place of the best so far where they are better. */
  async #compete(
    challenger: BestWeights,
    weights: () => Promise<ReadonlyMap<string, Tensor>>,
  ): Promise<void> {
    const { best, highest: before } = this.#position;
    const highest = challenger.top1 === undefined
      ? undefined
      : Math.max(before ?? 0, challenger.top1);
    if (highest !== undefined) this.#position = { ...this.#position, highest };
    if (!isBetter(challenger, best!, highest, this.#options.validation!.count)) return;
    this.#position = { ...this.#position, best: challenger };
    this.#best = await weights();
  }

  async #save(): Promise<void> {
    const { checkpoint } = this.#options;
    if (checkpoint === undefined) return;
    const network = this.#network;
    // What diverged is of no use to anyone, and no file should hold it.
    const state = this.#position.diverged
      ? { parameters: this.#bestParameters(), optimizer: new Map(), averages: new Map() }
      : {
        parameters: await network.parameters(),
        optimizer: await network.optimizerState(),
        averages: network.averaging ? await network.averageParameters() : new Map(),
      };
    const position = this.#position;
    await writeCheckpoint(checkpoint, { position, ...state, best: this.#best }, this.#identity);
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

  /** Goes on from the checkpoint, if there is one. */
  async #restore(): Promise<void> {
    const { checkpoint, epochs, onNote } = this.#options;
    const state = checkpoint && await readCheckpoint(checkpoint, this.#identity);
    if (!state) return;
    const { position } = state;
    const before = position.planned.at(-1)!, now = planOf(this.#options);
    if (before.epochs === epochs && before.warmup !== now.warmup) {
      throw new SecateurError(
        "checkpoint-mismatch",
        `The checkpoint ${checkpoint} belongs to another run: another warm-up (${before.warmup}, ` +
          `now ${now.warmup}). Repeat it, or leave out --resume to start anew.`,
      );
    }
    if (position.epoch > epochs) {
      throw new SecateurError(
        "checkpoint-mismatch",
        `${checkpoint} has ${position.epoch} epochs behind it, more than the ${epochs} asked for: ask ` +
          `for at least as many, or leave out --resume to start anew.`,
      );
    }
    const extended = before.epochs !== epochs;
    this.#position = extended ? { ...position, planned: [...position.planned, now] } : position;
    this.#best = state.best;
    if (position.diverged) return;
    this.#network.write(state.parameters, state.optimizer, state.averages);
    if (extended) {
      onNote?.(
        `Training goes on after epoch ${position.epoch} of what were to be ` +
          `${before.epochs}, now towards ` +
          `${epochs}: the learning rate follows the cosine of ${epochs} epochs from here, so the ` +
          `weights will not be quite those of ${epochs} epochs in one go.`,
      );
    }
  }
}
