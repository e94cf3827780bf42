/**
 * Whether a model knows the pictures it is about to be pruned on. One that gets no more right than
 * guessing was given them in another form than it was trained with; the usual forms are tried.
 */

import jStat from "jstat";
import { calibrationBatches, calibrationSet } from "../data/batches/calibration.ts";
import {
  type Dataset,
  loaded,
  type Normalisation,
  normalisations,
  type PictureSet,
} from "../data/dataset.ts";
import { classesOf } from "../graph/answer.ts";
import type { Graph } from "../graph/graph.ts";
import { type ComputeOptions, LoadedModel } from "../native/loaded_model.ts";
import { type RunOptions, stopIfAsked } from "../progress.ts";

const IMAGES = 256;
const BATCH = 64;
/** Chance of being taken for a model that knows something when it guesses. */
const SIGNIFICANCE = 0.01;
/** Twice chance is little for many classes, and no mark of a bad model for few. */
const MANY_CLASSES = 10;

/** How many pictures a model got right, and how many guessing would. */
export interface Tried {
  readonly correct: number;
  readonly total: number;
  /** Share of the class that most pictures belong to: what always answering it gets right. */
  readonly chance: number;
  readonly nearChance: boolean;
  /** Pictures that it gave no number for. */
  readonly unanswered?: number;
}

/** Another way of preparing pictures, in the options that ask for it, and what it gives. */
export interface Suspect extends Tried {
  readonly options: string;
}

/** Why a model may be near chance, the likeliest first. */
export interface Diagnosis {
  /** Ways that are better than chance, the best first and of equals the simplest. */
  readonly better: readonly Suspect[];
  readonly tried: number;
  /** Accuracy after renumbering the model's classes, where that is better than chance. */
  readonly renumbered?: number;
}

/** P(X >= least) for X successes of `total` with probability `p`. */
function upperTail(least: number, total: number, p: number): number {
  return 1 - jStat.binomial.cdf(least - 1, total, p);
}

/**
 * Judges `correct` of the pictures with these labels: near chance where guessing does as well with a
 * probability above 1%, or, from ten classes on, below twice the share of one class. Too few pictures
 * to tell anything are not near chance.
 */
export function judge(correct: number, labels: Int32Array, classes: number): Tried {
  const total = labels.length;
  const counts = new Map<number, number>();
  for (const label of labels) counts.set(label, (counts.get(label) ?? 0) + 1);
  const chance = Math.max(1 / classes, Math.max(...counts.values()) / total);
  const known = { correct, total, chance };
  if (chance >= 1 || upperTail(total, total, chance) > SIGNIFICANCE) {
    return { ...known, nearChance: false };
  }
  const guessed = upperTail(correct, total, chance) > SIGNIFICANCE;
  const little = classes >= MANY_CLASSES && correct / total < 2 / classes;
  return { ...known, nearChance: guessed || little };
}

const BYTES = 1 / 255;

/** Statistics that networks are trained with, in the options that ask for them. */
const STATISTICS: readonly Normalisation[] = [
  normalisations.imagenet,
  normalisations.cifar,
  { mean: [0, 0, 0], std: [1, 1, 1] },
  { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
  { mean: [0, 0, 0], std: [BYTES, BYTES, BYTES] },
  { ...normalisations.imagenet, std: [BYTES, BYTES, BYTES] },
];

/** The same for models of one channel; the third are MNIST's. */
const GREY_STATISTICS: readonly Normalisation[] = [
  normalisations.grey,
  { mean: [0], std: [1] },
  { mean: [0.1307], std: [0.3081] },
  { mean: [0.449], std: [0.226] },
  { mean: [0], std: [BYTES] },
];

/** Ways in which pictures may have been meant to be prepared, those in use first. */
function waysInstead(given: Normalisation): Normalisation[] {
  if (given.channels === "grey") {
    return GREY_STATISTICS.map((statistics) => ({ ...statistics, channels: "grey" }));
  }
  const ways = STATISTICS.flatMap((statistics) =>
    (["rgb", "bgr"] as const).map((channels) => ({ ...statistics, channels }))
  );
  return [...ways, { ...given, channels: given.channels === "bgr" ? "rgb" : "bgr" }];
}

const listed = (figures: readonly number[]): string =>
  figures.map((figure) => Number(figure.toPrecision(6))).join(",");

/** The options that turn one way of preparing pictures into another. */
function optionsFor(to: Normalisation, from: Normalisation): string {
  const statistics = listed(to.mean) !== listed(from.mean) || listed(to.std) !== listed(from.std);
  return [
    ...(statistics ? [`--mean ${listed(to.mean)} --std ${listed(to.std)}`] : []),
    ...(to.channels !== (from.channels ?? "rgb") ? [`--channels ${to.channels}`] : []),
  ].join(" ");
}

/** A model and the pictures it is tried on. */
export class Plausibility implements Disposable {
  readonly #model: LoadedModel;
  readonly #sample: Dataset;
  readonly #classes: number;
  readonly #signal: AbortSignal | undefined;

  private constructor(graph: Graph, sample: Dataset, options: RunOptions & ComputeOptions) {
    // Batches of one size that leave next to nothing over.
    const images = Math.floor(sample.count / Math.ceil(sample.count / BATCH));
    this.#sample = sample;
    this.#classes = classesOf(graph);
    this.#signal = options.signal;
    this.#model = LoadedModel.open(graph, [{ kind: "forward", name: "try", images }], options);
  }

  /** Takes a sample of the pictures. Throws what reading them and compiling the graph throws. */
  static async open(
    graph: Graph,
    pictures: PictureSet,
    seed: number,
    options: RunOptions & ComputeOptions,
  ): Promise<Plausibility> {
    const sample = await loaded(
      calibrationSet(pictures, IMAGES, seed, "plausibility"),
      options.signal,
    );
    return new Plausibility(graph, sample, options);
  }

  [Symbol.dispose](): void {
    this.#model.dispose();
  }

  /** How the model does on pictures prepared like this. */
  async try(normalisation: Normalisation): Promise<Tried> {
    return this.#judged(await this.#answers(normalisation));
  }

  /** Tries what usually goes wrong: statistics, range, order of colours, order of classes. */
  async diagnose(given: Normalisation): Promise<Diagnosis> {
    const suspects: Suspect[] = [];
    for (const normalisation of waysInstead(given)) {
      const options = optionsFor(normalisation, given);
      if (options === "" || suspects.some((known) => known.options === options)) continue;
      suspects.push({ options, ...await this.try(normalisation) });
    }
    const better = suspects.filter((suspect) => !suspect.nearChance)
      .sort((a, b) => b.correct - a.correct || a.options.length - b.options.length);
    const renumbered = this.#renumbered(await this.#answers(given));
    return {
      better,
      tried: suspects.length,
      ...(renumbered === undefined ? {} : { renumbered }),
    };
  }

  #judged(answers: Int32Array): Tried {
    const labels = this.#sample.labels.subarray(0, answers.length);
    const correct = answers.reduce((sum, answer, i) => sum + (answer === labels[i] ? 1 : 0), 0);
    const unanswered = answers.reduce((sum, answer) => sum + (answer < 0 ? 1 : 0), 0);
    return { ...judge(correct, labels, this.#classes), ...(unanswered > 0 ? { unanswered } : {}) };
  }

  /** The class with the largest logit for every picture, -1 where none is. */
  async #answers(normalisation: Normalisation): Promise<Int32Array> {
    const entry = this.#model.entry("try");
    const answers: number[] = [];
    for (const batch of calibrationBatches(this.#sample, entry.images, normalisation)) {
      stopIfAsked(this.#signal);
      const result = await this.#model.run("try", {
        feeds: { [entry.feeds.images!]: batch.images },
        fetch: [entry.logits!],
      });
      const logits = result[entry.logits!] as Float32Array;
      for (let row = 0; row < logits.length; row += this.#classes) {
        let best = -1;
        for (let c = 0; c < this.#classes; c++) {
          if (best < 0 ? logits[row + c] > -Infinity : logits[row + c] > logits[row + best]) {
            best = c;
          }
        }
        answers.push(best);
      }
    }
    return Int32Array.from(answers);
  }

  /**
   * Accuracy when each of the model's classes stands for the one it mostly meets: learnt on every
   * other picture, counted on the rest. Undefined where that is near chance.
   */
  #renumbered(answers: Int32Array): number | undefined {
    const { labels } = this.#sample;
    const met = new Map<number, Map<number, number>>();
    for (let i = 0; i < answers.length; i += 2) {
      const counts = met.get(answers[i]) ?? new Map<number, number>();
      met.set(answers[i], counts.set(labels[i], (counts.get(labels[i]) ?? 0) + 1));
    }
    const meant = new Map([...met].map(([answer, counts]) => {
      const [[label]] = [...counts].sort(([, a], [, b]) => b - a);
      return [answer, label];
    }));
    const others = Int32Array.from(answers, (_, i) => i).filter((i) => i % 2 === 1);
    const correct = others.filter((i) => meant.get(answers[i]) === labels[i]).length;
    const { nearChance } = judge(correct, others.map((i) => labels[i]), this.#classes);
    return nearChance || others.length === 0 ? undefined : correct / others.length;
  }
}

const percent = (share: number): string => `${(100 * share).toFixed(1)}%`;

/** One sentence for a model that is near chance: what was found, and what to do. */
export function chanceSentence(name: string, found: Tried, diagnosis: Diagnosis): string {
  const { correct, total, chance } = found;
  const finding = `${name} gets ${correct} of ${total} training pictures right ` +
    `(${percent(correct / total)}), where guessing gets ${percent(chance)}`;
  const { better: [best, ...others], tried, renumbered } = diagnosis;
  if (found.unanswered !== undefined && best === undefined) {
    return `${name} has no finite answer to ${found.unanswered} of ${total} training pictures: check ` +
      `its weights, and that --mean and --std are those it was trained with.`;
  }
  if (best !== undefined && best.correct / total >= (renumbered ?? 0)) {
    const also = others.slice(0, 2)
      .map((other) => `, ${other.options} ${percent(other.correct / total)}`).join("");
    return `${finding}; prepared by ${best.options} it gets ${
      percent(best.correct / total)
    }${also}: ` +
      `give the options it was trained with, or --force to prune it as it is.`;
  }
  if (renumbered !== undefined) {
    return `${finding}, but ${percent(renumbered)} once its classes are numbered otherwise: give ` +
      `its class names by index with --labels, or --force to prune it as it is.`;
  }
  return `${finding}, and none of ${tried} other mixtures of --mean, --std and --channels helps: ` +
    `check that it was trained on such pictures and that the labels are in its order (--labels), ` +
    `or give --force to prune it as it is.`;
}
