/** From options to a model: its graph, its weights, and what its file says of its input. */

import { fileURLToPath } from "node:url";
import { CONTRACT_KEY, type InputContract, storedContract } from "../../data/contract.ts";
import { inputChannels, type PictureSet } from "../../data/dataset.ts";
import { SecateurError } from "../../errors.ts";
import { escaped, quoted } from "../../formats/bytes.ts";
import { readCheckpoint } from "../../formats/checkpoint.ts";
import { readModelFile } from "../../formats/model_file.ts";
import type { FileForm } from "../../formats/onnx/file_form.ts";
import type { FinalActivation } from "../../formats/onnx/final_activation.ts";
import { FORM_KEY, storedForm } from "../../formats/onnx/form_metadata.ts";
import type { BehindNotes, ImportNotes } from "../../formats/onnx/import/import.ts";
import { readOnnx } from "../../formats/onnx/read/read.ts";
import type { Graph, Shape } from "../../graph/graph.ts";
import { modelsOf } from "../../models/advice.ts";
import { bindWeights } from "../../models/bind.ts";
import { createModel, MODEL_NAMES } from "../../models/models.ts";
import { namedFor, type NamedWeights } from "../../models/names.ts";
import { answersWithOne, withTwoClasses } from "../../pruning/answer.ts";
import type { StateDict } from "../../tensor.ts";
import type { Console } from "../terminal/console.ts";
import type { OptionValues } from "../options/parse.ts";
import type { MODEL_OPTIONS } from "../options/shared.ts";

export type ModelValues = OptionValues<typeof MODEL_OPTIONS>;

/** The small pretrained model that comes with secateur; made by `deno task train`. */
export const EMBEDDED_WEIGHTS = fileURLToPath(
  new URL("../../models/default.safetensors", import.meta.url),
);
export const EMBEDDED_MODEL = "resnet8";

/** What a model's file says beside its graph. */
interface ModelFacts {
  /** The file of the weights. */
  readonly source: string;
  /** How pictures become its input, where the file says so. */
  readonly contract?: InputContract;
  /** What the file has around the graph. */
  readonly form: FileForm;
  /** Why pictures with labels are of no use to it, as a sentence. */
  readonly noClassifier?: string;
  /** What of the file lies behind the graph. */
  readonly behind?: BehindNotes;
}

/** Weights read and ready to become a graph; the file's own, or one that --model builds. */
export type ModelSource =
  & ModelFacts
  & ({ readonly graph: Graph } | { readonly model: string; readonly weights: StateDict });

/** What a model built by name is built for. */
export interface Fit {
  readonly classes: number;
  readonly shape: Shape;
}

/** Throws "option-invalid" for a model name that nothing is known of. */
export function requireModelName(name: string): void {
  if (!MODEL_NAMES.includes(name)) createModel(name, { classes: 1 });
}

export const isOnnx = (path: string): boolean => path.toLowerCase().endsWith(".onnx");

/**
 * Reads the weights named by the options, or the embedded ones. Throws "option-invalid" when
 * --model is needed or contradicts the file, and what reading checkpoints throws.
 */
export async function readSource(
  values: AskedModel,
  console: Pick<Console, "text">,
): Promise<ModelSource> {
  const { model, weights } = values;
  const open = openShape(values);
  if (model !== undefined && isOnnx(model)) {
    return await readOnnxSource(model, weights, open, console);
  }
  requireOnnx(values);
  if (model !== undefined) requireModelName(model);
  if (weights === undefined && model !== undefined) {
    throw new SecateurError(
      "option-invalid",
      `Expected --weights beside --model ${model}; \`train\` makes weights from nothing.`,
    );
  }
  const source = weights ?? EMBEDDED_WEIGHTS;
  const found = isOnnx(source)
    ? await readOnnxSource(source, undefined, open, console)
    : await readOwnModel(source);
  if (found === undefined) {
    const weights = spoken(await readCheckpoint(source), source, console);
    if (model !== undefined) {
      const names = createModel(model, { classes: 1 }).parameters.keys();
      return {
        source,
        model,
        form: {},
        weights: spoken(namedFor(names, weights), source, console),
      };
    }
    throw new SecateurError("option-invalid", withoutModel(source, weights));
  }
  // "resnet56-b" names a variant of the graph "resnet56".
  if (model !== undefined && model.split("-")[0] !== found.graph.name) {
    throw new SecateurError(
      "option-invalid",
      `Expected ${source} to hold the model ${model}, but it holds ${found.graph.name}; leave ` +
        `out --model.`,
    );
  }
  return found;
}

/** The weights, once what was chosen among them has been said. */
function spoken(
  { weights, said }: NamedWeights,
  source: string,
  console: Pick<Console, "text">,
): StateDict {
  for (const sentence of said) console.text(`${source}: ${sentence}`);
  return weights;
}

/** The weights of a checkpoint under a graph's names. */
async function checkpointFor(
  graph: Graph,
  checkpoint: string,
  console: Pick<Console, "text">,
): Promise<StateDict> {
  const read = spoken(await readCheckpoint(checkpoint), checkpoint, console);
  return spoken(namedFor(graph.parameters.keys(), read), checkpoint, console);
}

/** What to do about weights that came without a model. */
function withoutModel(source: string, weights: StateDict): string {
  // Whatever prefix the file has: nearly always the same weights come out for every model.
  const bare = new Set(
    MODEL_NAMES.map((name) =>
      namedFor(createModel(name, { classes: 1 }).parameters.keys(), weights).weights
    ),
  );
  const known = [...new Set([...bare].flatMap(modelsOf))];
  const held = `${source} holds weights without their model`;
  return known.length > 0
    ? `${held}; they are those of ${known.join(" or ")}: give --model ${known[0]}.`
    : `${held}, and no model known by name has them; give the network as an ONNX file with --model.`;
}

type GraphSource = ModelFacts & { readonly graph: Graph };

/** A model that secateur wrote; undefined for weights alone. */
async function readOwnModel(source: string): Promise<GraphSource | undefined> {
  const model = await readModelFile(source);
  if (model === undefined) return undefined;
  const contract = storedContract(model.metadata[CONTRACT_KEY], source);
  const form = storedForm(model.metadata[FORM_KEY], source);
  return {
    source,
    graph: model.graph,
    form,
    ...(contract === undefined ? {} : { contract }),
  };
}

/** What readSource is asked for: a model, and how large its pictures are. */
export interface AskedModel {
  readonly model?: string | undefined;
  readonly weights?: string | undefined;
  readonly inputShape?: readonly number[] | undefined;
  readonly resize?: number | undefined;
  readonly crop?: number | undefined;
}

/** What an ONNX file that leaves its extents open is read for. */
interface OpenShape {
  /** As asked for; contradicts a file of other extents. */
  readonly asked?: Shape;
  /** Where nothing is asked: what pictures are cropped or scaled to. */
  readonly usual?: Shape;
}

function openShape({ inputShape, resize, crop }: AskedModel): OpenShape {
  const side = crop ?? resize;
  return {
    ...(inputShape === undefined ? {} : { asked: inputShape }),
    ...(side === undefined ? {} : { usual: [3, side, side] }),
  };
}

/** Throws "option-invalid" for a shape that is asked of something else than an ONNX file. */
function requireOnnx({ model, weights, inputShape }: AskedModel): void {
  if (inputShape === undefined || isOnnx(weights ?? model ?? "")) return;
  throw new SecateurError(
    "option-invalid",
    `Expected --input-shape beside an ONNX file that leaves extents open, got it beside ` +
      `${weights ?? model ?? "the embedded default"}; leave it out.`,
  );
}

/** An ONNX model, with the weights of a checkpoint where one is given. */
async function readOnnxSource(
  path: string,
  checkpoint: string | undefined,
  open: OpenShape,
  console: Pick<Console, "text">,
): Promise<GraphSource> {
  if (checkpoint !== undefined && isOnnx(checkpoint) && checkpoint !== path) {
    throw new SecateurError(
      "option-invalid",
      `Expected a checkpoint beside --model ${path}, but --weights ${checkpoint} is an ONNX ` +
        `model too; leave one of them out.`,
    );
  }
  const { graph, notes } = await readOnnx(path, {
    ...(open.asked === undefined ? {} : { shape: open.asked }),
    ...(open.usual === undefined ? {} : { usualShape: open.usual }),
  });
  for (const note of spokenNotes(path, notes)) console.text(note);
  const stored = storedContract(notes.metadata.get(CONTRACT_KEY), path);
  const contract = stored ?? contractOfBytes(notes, graph);
  const { form, behind } = notes;
  const noClassifier = noClassifierOf(path, graph, notes);
  const bound = checkpoint === undefined || checkpoint === path
    ? graph
    : bindToOnnx(graph, notes, path, await checkpointFor(graph, checkpoint, console), checkpoint);
  return {
    source: checkpoint ?? path,
    graph: bound,
    ...(contract === undefined ? {} : { contract }),
    form,
    ...(noClassifier === undefined ? {} : { noClassifier }),
    ...(behind === undefined ? {} : { behind }),
  };
}

/** Why a model is no classifier, where that is known of it. */
function noClassifierOf(
  path: string,
  { outputs }: Graph,
  { behind, mixedProbabilities: mixed }: ImportNotes,
): string | undefined {
  const expected =
    `${path}: expected a classifier that ends in logits, a softmax or a sigmoid, but`;
  if (mixed !== undefined) {
    return `${expected} its answer is put together from the probabilities of ${
      quoted(mixed)
    }, which ` +
      `losses would take for logits; export it without what follows that layer.`;
  }
  if (behind !== undefined) {
    return `${expected} behind what can be read of it there is more ` +
      `(${someOf(behind.operators)}); export it without that.`;
  }
  return outputs.length > 1
    ? `${expected} it has ${outputs.length} outputs; export it with its logits alone.`
    : undefined;
}

const MOST_NAMED = 5;

const someOf = (names: readonly string[]): string =>
  names.slice(0, MOST_NAMED).map(escaped).join(", ") + (names.length > MOST_NAMED ? ", ..." : "");

/** Files that take bytes scale them themselves: their pictures are the numbers from 0 to 255. */
function contractOfBytes({ form }: ImportNotes, graph: Graph): InputContract | undefined {
  if (form.input !== "u8") return undefined;
  const grey = graph.input.shape[0] === 1;
  const step = 1 / 255;
  return grey
    ? { mean: [0], std: [step], channels: "grey" }
    : { mean: [0, 0, 0], std: [step, step, step], channels: "rgb" };
}

/** What was understood of an ONNX file beyond its nodes. */
function spokenNotes(path: string, notes: ImportNotes): string[] {
  const { foldedBatchNorm, form: { activation }, producer, opset, trainingMode, behind } = notes;
  const folded = `Batch norm was folded into ${foldedBatchNorm.length} of its convolutions when ` +
    `it was written; they are pruned and trained as they are.`;
  return [
    `${path}: opset ${opset}${producer === "" ? "" : `, written by ${escaped(producer)}`}.`,
    ...(foldedBatchNorm.length > 0 ? [folded] : []),
    ...(trainingMode
      ? ["It was exported in training mode; batch norm and dropout are read as at inference."]
      : []),
    ...(activation === undefined ? [] : [ended(activation)]),
    ...(behind === undefined ? [] : [wentOn(behind)]),
  ];
}

/** What of a model is kept as it is. */
function wentOn({ nodes, operators, inTheWay }: BehindNotes): string {
  const reason = inTheWay.length === 0
    ? ""
    : ` It ends at ${inTheWay[0]}${
      inTheWay.length > 1 ? ` and ${inTheWay.length - 1} more of its nodes` : ""
    }.`;
  return `Its last ${nodes} nodes (${
    someOf(operators)
  }) are not read, but kept as they are in ONNX ` +
    `files that are written; the body before them is what can be pruned.${reason}`;
}

/** What was taken off a model's end. */
function ended({ op, node }: FinalActivation): string {
  const name = { Softmax: "softmax", LogSoftmax: "log-softmax", Sigmoid: "sigmoid" }[op];
  return `Its final ${name} (${node}) is left out here, since losses work on logits, and put back ` +
    `in ONNX files that are written.`;
}

/** As bindWeights; says so when the checkpoint cannot fit since batch norm was folded. */
function bindToOnnx(
  graph: Graph,
  notes: ImportNotes,
  path: string,
  weights: StateDict,
  checkpoint: string,
): Graph {
  try {
    return bindWeights(graph, weights, checkpoint);
  } catch (thrown) {
    const folded = notes.foldedBatchNorm.length;
    if (!(thrown instanceof SecateurError) || folded === 0) throw thrown;
    throw new SecateurError(
      thrown.code,
      `${checkpoint} does not fit ${path}: batch norm was folded into ${folded} of its ` +
        `convolutions when it was exported, so their tensors are not those of the checkpoint; ` +
        `export it with training=torch.onnx.TrainingMode.PRESERVE and do_constant_folding=False, ` +
        `or leave out --weights.`,
      { cause: thrown },
    );
  }
}

/**
 * The graph with its weights; for two classes one logit becomes two, of which the first is zero.
 * Throws "graph-unsupported" for an answer that is none of a classifier's, and what `bindWeights`
 * throws.
 */
export function graphOf(source: ModelSource, fit: Fit): Graph {
  if (source.noClassifier !== undefined) {
    throw new SecateurError("graph-unsupported", source.noClassifier);
  }
  const graph = "graph" in source ? source.graph : builtGraph(source, fit);
  return fit.classes === 2 && answersWithOne(graph) ? withTwoClasses(graph) : graph;
}

function builtGraph(
  { model, weights, source }: Extract<ModelSource, { model: string }>,
  fit: Fit,
): Graph {
  const single = fit.classes === 2 && classesOf({ model, weights }, fit.shape) === 1;
  return bindWeights(
    createModel(model, { ...fit, classes: single ? 1 : fit.classes }),
    weights,
    source,
  );
}

/** How many classes weights tell apart: rows of the layer that gives the model's answer. */
export function classesOf(
  { model, weights }: Pick<Extract<ModelSource, { model: string }>, "model" | "weights">,
  shape: Shape,
): number | undefined {
  const graph = createModel(model, { classes: 1, shape });
  const last = graph.nodes.find((node) => node.output === graph.outputs[0]);
  return last?.op === "linear" ? weights.get(last.weight)?.shape[0] : undefined;
}

/** What pictures, prepared by a contract, ask of a model. */
export function fitOf({ classes, height, width }: PictureSet, contract: InputContract): Fit {
  return { classes: classes.length, shape: [inputChannels(contract), height, width] };
}
