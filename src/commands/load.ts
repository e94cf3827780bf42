/** From options to a model and pictures. */

import { fileURLToPath } from "node:url";
import { type Dataset, type Normalisation, normalisations } from "../data/dataset.ts";
import { DATA_SPECS, openDataset } from "../data/source.ts";
import { holdOutLastPerClass } from "../data/split.ts";
import { SecateurError } from "../errors.ts";
import { readWeights } from "../formats/checkpoint.ts";
import { readModel } from "../formats/model_file.ts";
import { readOnnx } from "../formats/onnx/read.ts";
import type { Graph, Shape } from "../graph/graph.ts";
import { bindWeights } from "../models/bind.ts";
import { createModel, MODEL_NAMES, type ModelOptions } from "../models/models.ts";
import type { RunOptions } from "../progress.ts";
import type { StateDict } from "../tensor.ts";
import type { Console } from "./console.ts";
import type { OptionValues } from "./options.ts";
import type { DATA_OPTIONS, MODEL_OPTIONS } from "./shared_options.ts";

export type ModelValues = OptionValues<typeof MODEL_OPTIONS>;
export type DataValues = OptionValues<typeof DATA_OPTIONS>;

/** The small pretrained model that comes with secateur; made by `deno task train`. */
export const EMBEDDED_WEIGHTS = fileURLToPath(
  new URL("../models/default.safetensors", import.meta.url),
);
export const EMBEDDED_DATA = "generated";
export const EMBEDDED_MODEL = "resnet8";

/** Weights read and ready to become a graph; the file's own, or one that --model builds. */
export type ModelSource =
  | { readonly source: string; readonly graph: Graph }
  | { readonly source: string; readonly model: string; readonly weights: StateDict };

/** What a model built by name is built for. */
export interface Fit {
  readonly classes: number;
  readonly shape: Shape;
}

/** Whether model and data are the embedded default. Throws "option-invalid" for half of each. */
export function isEmbedded(values: ModelValues & Pick<DataValues, "data">): boolean {
  const { model, weights, data } = values;
  const ownModel = model !== undefined || weights !== undefined;
  const ownData = data !== undefined && data.split(":")[0] !== EMBEDDED_DATA;
  if (ownModel && data === undefined) {
    throw new SecateurError(
      "option-invalid",
      `Expected --data beside --model and --weights: one of ${DATA_SPECS.join(", ")}.`,
    );
  }
  if (ownData && !ownModel) {
    throw new SecateurError(
      "option-invalid",
      `Expected --weights beside --data ${data}: the embedded model knows generated data alone.`,
    );
  }
  return !ownModel;
}

/** Throws "option-invalid" for a model name that nothing is known of. */
export function requireModelName(name: string): void {
  if (!MODEL_NAMES.includes(name)) createModel(name, { classes: 1 });
}

/**
 * Reads the weights named by the options, or the embedded ones. Throws "option-invalid" when
 * --model is needed or contradicts the file, and what reading checkpoints throws.
 */
export async function readSource(
  values: ModelValues,
  console: Pick<Console, "text">,
): Promise<ModelSource> {
  const { model } = values;
  if (model !== undefined) requireModelName(model);
  if (values.weights === undefined && model !== undefined) {
    throw new SecateurError(
      "option-invalid",
      `Expected --weights beside --model ${model}; \`train\` makes weights from nothing.`,
    );
  }
  const source = values.weights ?? EMBEDDED_WEIGHTS;
  const graph = isOnnx(source) ? await readOnnxGraph(source, console) : await readModel(source);
  if (graph === undefined) {
    const weights = await readWeights(source);
    if (model !== undefined) return { source, model, weights };
    throw new SecateurError(
      "option-invalid",
      `${source} holds weights without their model: name it with --model, one of ` +
        `${MODEL_NAMES.join(", ")}.`,
    );
  }
  // "resnet56-b" names a variant of the graph "resnet56".
  if (model !== undefined && model.split("-")[0] !== graph.name) {
    throw new SecateurError(
      "option-invalid",
      `Expected ${source} to hold the model ${model}, but it holds ${graph.name}; leave out --model.`,
    );
  }
  return { source, graph };
}

const isOnnx = (path: string): boolean => path.toLowerCase().endsWith(".onnx");

/** The graph of an ONNX file; says what was understood of it beyond its nodes. */
async function readOnnxGraph(path: string, console: Pick<Console, "text">): Promise<Graph> {
  const { graph, notes } = await readOnnx(path);
  const { foldedBatchNorm, removedSoftmax, producer, opset } = notes;
  console.text(`${path}: opset ${opset}${producer === "" ? "" : `, written by ${producer}`}.`);
  if (foldedBatchNorm.length > 0) {
    console.text(
      `Batch norm was folded into ${foldedBatchNorm.length} of its convolutions when it was ` +
        `written; they are pruned and trained as they are.`,
    );
  }
  if (removedSoftmax !== undefined) {
    console.text(`Its final softmax (${removedSoftmax.node}) is left out: losses work on logits.`);
  }
  return graph;
}

/** The graph with its weights. Throws what `bindWeights` throws. */
export function graphOf(source: ModelSource, fit: ModelOptions): Graph {
  return "graph" in source
    ? source.graph
    : bindWeights(createModel(source.model, fit), source.weights, source.source);
}

/** What a data set asks of a model. */
export function fitOf(dataset: Dataset): Fit {
  return { classes: dataset.classes.length, shape: [3, dataset.height, dataset.width] };
}

/** Mean and deviation that the options ask for; ImageNet's without any. */
export function normalisationOf(values: DataValues): Normalisation {
  const { normalisation, mean, std } = values;
  if ((mean === undefined) !== (std === undefined) || (mean && normalisation)) {
    throw new SecateurError(
      "option-invalid",
      "Expected --mean and --std together, or --normalisation alone; leave out what is too much.",
    );
  }
  return mean && std ? { mean, std } : normalisations[normalisation ?? "imagenet"];
}

/** One split of the pictures, with a warning about those left out. */
export async function openPictures(
  values: DataValues,
  split: "train" | "test",
  console: Console,
  options: RunOptions,
): Promise<Dataset> {
  const { data = EMBEDDED_DATA, size, limit, strict } = values;
  const dataset = await openDataset(data, split, {
    ...options,
    strict,
    ...(size === undefined ? {} : { size }),
    ...(limit === undefined ? {} : { limitPerClass: limit }),
  });
  const { skipped = [] } = dataset;
  if (skipped.length > 0) {
    const [{ path, reason }] = skipped;
    console.warn(
      `Left out ${skipped.length} unreadable of ${skipped.length + dataset.count} pictures of ` +
        `${dataset.name}; the first is ${path} (${reason}).`,
    );
  }
  return dataset;
}

/** The parts of a data set: one to learn from, one for every choice, one for reporting. */
export interface Pictures {
  readonly training: Dataset;
  readonly heldOut?: Dataset;
  readonly test: Dataset;
  /** Unreadable pictures left out of both splits. */
  readonly skipped: number;
}

/**
 * Opens both splits and holds out `holdOut` training pictures of each class. Throws
 * "data-mismatch" when the splits have different classes or sizes.
 */
export async function openParts(
  values: DataValues & { readonly holdOut?: number },
  console: Console,
  options: RunOptions,
): Promise<Pictures> {
  const all = await openPictures(values, "train", console, options);
  const test = await openPictures(values, "test", console, options);
  const classes = (dataset: Dataset) => dataset.classes.join(", ");
  if (classes(all) !== classes(test) || all.height !== test.height || all.width !== test.width) {
    throw new SecateurError(
      "data-mismatch",
      `Expected ${all.name} and ${test.name} to have the same classes and sizes, but the first ` +
        `has ${all.classes.length} classes of ${all.width}x${all.height} pictures and the second ` +
        `${test.classes.length} of ${test.width}x${test.height}; make the folders alike.`,
    );
  }
  const skipped = (all.skipped?.length ?? 0) + (test.skipped?.length ?? 0);
  const count = holdOutCount(all, values.holdOut);
  if (count === 0) return { training: all, test, skipped };
  return { ...holdOutLastPerClass(all, count), test, skipped };
}

/**
 * Pictures of each class to hold out: as asked, or a tenth of the smallest class, at most 500; none
 * where a class is too small to spare one.
 */
function holdOutCount(dataset: Dataset, asked: number | undefined): number {
  if (asked !== undefined) return asked;
  const counts = new Int32Array(dataset.classes.length);
  for (const label of dataset.labels) counts[label] += 1;
  const smallest = counts.filter((count) => count > 0).reduce((a, b) => Math.min(a, b), Infinity);
  return Math.min(500, Math.max(Math.floor(smallest / 10), smallest > 1 ? 1 : 0));
}
