import { readBatch } from "../data/batches/batches.ts";
import { inputChannels, type Normalisation, type PictureSet } from "../data/dataset.ts";
import { SecateurError } from "../errors.ts";
import { classesOf } from "../graph/answer.ts";
import type { Graph } from "../graph/graph.ts";
import { type ComputeOptions, LoadedModel } from "../native/loaded_model.ts";
import type { ForwardRequest } from "../program/compile.ts";
import type { Precision } from "../program/precision.ts";
import type { RunOptions } from "../progress.ts";

/** Accuracy and loss of a model on a data set. */
export interface Evaluation {
  /** Mean cross-entropy. */
  readonly loss: number;
  /** Shares in [0, 1]. */
  readonly top1: number;
  readonly top5: number;
  readonly correct: number;
  readonly total: number;
}

/** An evaluation and how it was computed. */
export interface TimedEvaluation extends Evaluation {
  /** "cpu", "cuda:0". */
  readonly device: string;
  readonly dtype: Precision;
  readonly seconds: number;
}

export interface EvaluateOptions extends RunOptions, ComputeOptions {
  readonly normalisation: Normalisation;
  /** Images per run; default 256. */
  readonly batch?: number;
  /** Name of the stage in progress reports. */
  readonly stage?: string;
}

/** The entry that `evaluateLoaded` runs. */
export function evaluationRequest(images: number): ForwardRequest {
  return { kind: "forward", name: "evaluate", images, loss: { smoothing: 0 } };
}

/** Throws "data-mismatch" unless pictures are what the model takes. */
export function requirePictures(
  graph: Graph,
  dataset: PictureSet,
  normalisation: Pick<Normalisation, "channels">,
): void {
  const mismatch = (sentence: string) => new SecateurError("data-mismatch", sentence);
  const [channels, height, width] = graph.input.shape;
  if (graph.input.shape.length !== 3 || ![1, 3].includes(channels)) {
    throw mismatch(
      `Expected a model of pictures, [1, height, width] or [3, height, width], but ${graph.name} ` +
        `takes [${graph.input.shape.join(", ")}].`,
    );
  }
  if (channels !== inputChannels(normalisation)) {
    throw mismatch(
      `${graph.name} takes pictures of ${channels === 1 ? "one channel" : "three channels"}, but ` +
        `they are prepared with ${channels === 1 ? "three" : "one"}: give --channels ` +
        `${channels === 1 ? "grey" : "rgb"}.`,
    );
  }
  if (height !== dataset.height || width !== dataset.width) {
    const advice = height === width
      ? `give --resize ${height} --crop ${height}`
      : `--crop takes squares, so bring the pictures to that size themselves`;
    throw mismatch(
      `${graph.name} takes pictures of ${width}x${height}, but those of ${dataset.name} are ` +
        `${dataset.width}x${dataset.height}: ${advice}.`,
    );
  }
}

/** Throws "data-mismatch" unless pictures and classes are what the model takes and gives. */
export function requireFit(
  graph: Graph,
  dataset: PictureSet,
  normalisation: Pick<Normalisation, "channels">,
): void {
  requirePictures(graph, dataset, normalisation);
  const mismatch = (sentence: string) => new SecateurError("data-mismatch", sentence);
  const classes = classesOf(graph);
  if (classes !== dataset.classes.length) {
    throw mismatch(
      `${graph.name} tells ${classes} classes apart, but ${dataset.name} has pictures of ` +
        `${dataset.classes.length}: give the pictures it was trained for, or the class names of ` +
        `the model with --labels where they are some of its classes.`,
    );
  }
}

/**
 * How many logits of a row lie above that of the label: of equal ones the first, and NaN always.
 */
export function rankOfLabel(logits: Float32Array, at: number, classes: number, label: number) {
  const own = logits[at + label];
  let above = 0;
  for (let c = 0; c < classes; c++) {
    const other = logits[at + c];
    if (c !== label && !(other < own || (other === own && c > label))) above += 1;
  }
  return above;
}

/** Indices first..first+count-1, the last repeated up to `images`: a full batch to run. */
function paddedIndices(first: number, count: number, images: number): Int32Array {
  return Int32Array.from({ length: images }, (_, i) => first + Math.min(i, count - 1));
}

/**
 * Evaluates a model that was opened with `evaluationRequest`. Throws "data-mismatch" when the
 * pictures do not fit, "numeric-failure" when the loss is not finite, "cancelled".
 */
export async function evaluateLoaded(
  model: LoadedModel,
  dataset: PictureSet,
  options: EvaluateOptions,
): Promise<TimedEvaluation> {
  const { normalisation, signal, onProgress, stage = "evaluate" } = options;
  requireFit(model.graph, dataset, normalisation);
  const entry = model.entry("evaluate");
  const classes = dataset.classes.length;
  const started = performance.now();
  let loss = 0, correct = 0, within5 = 0;

  const tally = (result: Record<string, ArrayLike<number>>, first: number, count: number) => {
    const logits = result[entry.logits!] as Float32Array;
    const losses = result[entry.loss!];
    for (let i = 0; i < count; i++) {
      const above = rankOfLabel(logits, i * classes, classes, dataset.labels[first + i]);
      if (above === 0) correct += 1;
      if (above < 5) within5 += 1;
      loss += losses[i];
    }
    onProgress?.({ stage, done: first + count, total: dataset.count, unit: "images" });
  };

  // The next batch is prepared while the engine runs this one.
  let pending: { result: Promise<Record<string, ArrayLike<number>>>; first: number; count: number };
  let previous: typeof pending | undefined;
  for (let first = 0; first < dataset.count; first += entry.images) {
    const count = Math.min(entry.images, dataset.count - first);
    const indices = paddedIndices(first, count, entry.images);
    const feeds = {
      [entry.feeds.images!]: await readBatch(dataset, indices, normalisation, signal),
      [entry.feeds.labels!]: indices.map((index) => dataset.labels[index]),
    };
    const fetch = [entry.logits!, entry.loss!];
    const result = model.run("evaluate", { feeds, fetch, ...(signal ? { signal } : {}) });
    // Awaited a batch later; a failure until then is not unhandled.
    result.catch(() => {});
    pending = { result, first, count };
    if (previous) tally(await previous.result, previous.first, previous.count);
    previous = pending;
  }
  if (previous) tally(await previous.result, previous.first, previous.count);
  if (!Number.isFinite(loss)) {
    throw new SecateurError(
      "numeric-failure",
      `The loss of ${model.graph.name} on ${dataset.name} is ${loss}: check its weights and the ` +
        `normalisation of the pictures.`,
    );
  }
  const total = dataset.count;
  return {
    loss: loss / total,
    top1: correct / total,
    top5: within5 / total,
    correct,
    total,
    device: model.device,
    dtype: model.dtype,
    seconds: (performance.now() - started) / 1000,
  };
}

/** Loss, top-1 and top-5 of a model on a data set. Throws as `evaluateLoaded` does. */
export async function evaluate(
  graph: Graph,
  dataset: PictureSet,
  options: EvaluateOptions,
): Promise<TimedEvaluation> {
  requireFit(graph, dataset, options.normalisation);
  const batch = Math.min(options.batch ?? 256, dataset.count);
  using model = LoadedModel.open(graph, [evaluationRequest(batch)], options);
  return await evaluateLoaded(model, dataset, options);
}
