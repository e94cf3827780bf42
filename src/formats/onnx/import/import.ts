/** ONNX model -> graph: constants folded, operators normalised, everything unsupported listed. */

import { basename } from "node:path";
import { SecateurError } from "../../../errors.ts";
import { prunableGroups } from "../../../graph/channels.ts";
import type { Graph, Node } from "../../../graph/graph.ts";
import { elementCount } from "../../../tensor.ts";
import { quoted } from "../../bytes.ts";
import type { FileForm } from "../file_form.ts";
import { allocator } from "../fold/folding.ts";
import { FreshNames, storable } from "../names.ts";
import type { TensorProto } from "../proto/onnx_pb.ts";
import { type HostArray, Refusal } from "../read/array.ts";
import type { OnnxModel } from "../read/reader.ts";
import { arrayOf } from "../read/tensor.ts";
import { finishBody } from "../tail/finish.ts";
import { endingOf } from "./ending.ts";
import type { FeatureValue } from "./features.ts";
import { Importer, OPEN_BATCH } from "./importer.ts";
import { formOf, type ImportOptions, inputOf, type ModelInput } from "./input.ts";
import { lowered } from "./lower.ts";
import { giveConstants, importNodes, type NodesRefused, requireSupported } from "./nodes.ts";
import { composeNeighbours, neededLayers, neededParameters } from "./simplify.ts";
import { importAlone } from "./operators/table.ts";

export type { ImportOptions } from "./input.ts";

/** Of what lies behind the body. */
export interface BehindNotes {
  readonly nodes: number;
  /** Of its nodes, each once. */
  readonly operators: readonly string[];
  /** Nodes that could not be read, with the reason; none where only the layout is in the way. */
  readonly inTheWay: readonly string[];
}

/** What a file said beside its graph. */
export interface ImportNotes {
  readonly opset: number;
  readonly irVersion: number;
  /** Name and version of the exporter; may be empty. */
  readonly producer: string;
  /** Images the file is for: a number, or the name of the open extent. */
  readonly batch: number | string;
  readonly metadata: ReadonlyMap<string, string>;
  /** Convolutions whose batch norm was probably folded into them at export. */
  readonly foldedBatchNorm: readonly string[];
  /** What the file has around the graph; a final softmax or sigmoid, as graphs end in logits. */
  readonly form: FileForm;
  /** A softmax or sigmoid whose probabilities the answer is put together from: it has no logits. */
  readonly mixedProbabilities?: string;
  /** What lies behind the part that is read as a graph, and is kept as it is. */
  readonly behind?: BehindNotes;
  /** Nodes that no output needs, left out. */
  readonly unusedNodes: number;
  /** Whether the file was exported in training mode; the graph is the model at inference. */
  readonly trainingMode: boolean;
}

export interface Imported {
  readonly graph: Graph;
  readonly notes: ImportNotes;
}

/** The answer's value; a model whose answer does not depend on its input is refused. */
function answerOf(importer: Importer): FeatureValue {
  const { outputs: [output] } = importer.model;
  const answer = importer.values.get(output.name);
  if (answer?.kind === "feature" && importer.nodes.length > 0) return answer;
  throw independent(importer.model);
}

function independent({ source, outputs: [{ name }] }: OnnxModel): SecateurError {
  return new SecateurError(
    "graph-invalid",
    `${source}: expected the output ${
      quoted(name)
    } to be computed from the input, but it does not ` +
      "depend on any layer; export the model again.",
  );
}

/**
 * Convolutions that carry the bias of a batch norm: the network has none left, and the bias does
 * not have the name that a layer's own bias has ("conv1.bias").
 */
function foldedConvolutions(nodes: readonly Node[], outputs: readonly string[]): string[] {
  if (nodes.some(({ op }) => op === "batch_norm")) return [];
  return nodes.flatMap((node) => {
    if (node.op !== "convolution" || node.bias === undefined || outputs.includes(node.output)) {
      return [];
    }
    return /(^|\.)bias$/.test(node.bias) ? [] : [node.name];
  });
}

/** Names that exporters give to every graph. */
const NAMELESS = new Set(["", "main_graph", "main", "torch_jit", "torch-jit-export", "graph"]);

function graphName({ name, source }: OnnxModel): string {
  const given = NAMELESS.has(name) ? basename(source).replace(/\.onnx$/i, "") : name;
  return storable(given);
}

/** Gives the answer the name that the file gives it. */
function renameAnswer(nodes: readonly Node[], answer: string, wanted: string): Node[] {
  const rename = (name: string) => name === answer ? wanted : name;
  return nodes.map((node) => ({
    ...node,
    inputs: node.inputs.map(rename),
    output: rename(node.output),
  }));
}

/** The graph, and what was understood of its end. */
type Finished =
  & Pick<Imported, "graph">
  & Pick<ImportNotes, "mixedProbabilities" | "behind">
  & Pick<FileForm, "activation" | "outputLast" | "tail">;

/**
 * Layers that the answer needs, with the answer under the name that the file gives it; that of a
 * final softmax or sigmoid is left free for it.
 */
function finish(importer: Importer, input: FeatureValue): Finished | undefined {
  const { model } = importer;
  const { name: answer, view } = answerOf(importer);
  const composed = composeNeighbours(
    neededLayers(importer.ordered(), [answer]),
    [answer],
    (value) => importer.shapeOf(value),
  );
  const ending = endingOf(
    composed,
    answer,
    (value) => importer.shapeOf(value),
    new Set(importer.logarithms.keys()),
  );
  const { activation, mixed } = ending;
  let { nodes, output } = ending;
  const taken = new Set([input.name, ...nodes.map((node) => node.output)]);
  const wanted = storable(model.outputs[0].name);
  const rename = (to: string) => {
    nodes = renameAnswer(nodes, output, to);
    output = to;
  };
  if (activation === undefined && !taken.has(wanted) && output !== input.name) rename(wanted);
  if (activation !== undefined && output === wanted) {
    rename(new FreshNames(taken).take(`${wanted}/logits`));
  }
  if (holdsLogarithm(importer, nodes)) return undefined;
  return {
    graph: {
      name: graphName(model),
      input: { name: input.name, shape: importer.shapeOf(input.name) },
      outputs: [output],
      nodes: [...nodes],
      parameters: neededParameters(nodes, importer.parameters),
    },
    ...(activation === undefined ? {} : { activation: { ...activation, output: wanted } }),
    ...(view === "channels_last" && importer.shapeOf(answer).length === 3
      ? { outputLast: true }
      : {}),
    ...(mixed === undefined ? {} : { mixedProbabilities: mixed }),
  };
}

/** Whether a LogSoftmax stays in the graph, which has no such layer. */
const holdsLogarithm = ({ logarithms }: Importer, nodes: readonly Node[]): boolean =>
  nodes.some(({ name }) => logarithms.has(name));

/** Whether a model ends in one value that lies in the file as graphs have it, or in its channels' turn. */
function endsPlainly(importer: Importer): boolean {
  const { model, values } = importer;
  const [output, ...others] = model.outputs;
  const answer = values.get(output.name);
  if (others.length > 0 || answer?.kind !== "feature") return false;
  const { view, name } = answer;
  const shape = importer.shapeOf(name);
  return view === undefined || view === "channels_last" || elementCount(shape) === shape[0];
}

/**
 * What of a model is a graph. Throws "graph-unsupported" naming what is in the way where that is not
 * all and nothing of it can be pruned.
 */
function bodyOf(
  importer: Importer,
  { input, batch }: ModelInput,
  feature: FeatureValue,
  { unsupported, inTheWay }: NodesRefused,
): Finished {
  const { model } = importer;
  const body = finishBody(importer, { file: input.name, feature }, batch);
  if (body === undefined) {
    requireSupported(model.source, unsupported);
    throw independent(model);
  }
  const graph = { name: graphName(model), ...body.graph };
  const { tail } = body;
  if (unsupported.length > 0 && prunableGroups(graph, "all").length === 0) {
    requireSupported(model.source, unsupported);
  }
  const operators = tail.nodes.map(({ opType }) => opType);
  const known = new Set(tail.nodes.flatMap(({ output }) => output));
  const needed = model.nodes.filter(({ outputs }) => outputs.some((name) => known.has(name)));
  const named = new Set(needed.map(({ name }) => quoted(name)));
  return {
    graph,
    tail,
    behind: {
      operators: [...new Set(operators)],
      nodes: operators.length,
      inTheWay: inTheWay.filter((sentence) => named.has(sentence.slice(0, sentence.indexOf(" (")))),
    },
  };
}

/**
 * As importModel, with shapes for so many images. `logarithms`: whether a LogSoftmax is read, as the end
 * of a classifier.
 */
function importFor(
  model: OnnxModel,
  options: ImportOptions,
  given: ModelInput,
  logarithms = true,
): Imported {
  const { input, shape, batch, inputLast } = given;
  const importer = new Importer(
    model,
    shape[0],
    (owner, value) => lowered(owner, value, importAlone),
    logarithms,
  );
  // What is computed here is computed in f32.
  const decode = (tensor: TensorProto): HostArray => {
    const array = arrayOf(tensor, model.source, model.external.get(tensor));
    return array.dtype === "f16" || array.dtype === "bf16" ? { ...array, dtype: "f32" } : array;
  };
  const refused = giveConstants(importer, options, decode);
  let stored = 0;
  for (const { name } of model.inputs) {
    if (name !== input.name && !options.constants?.has(name)) {
      importer.values.set(name, { kind: "unknown", constant: false });
    }
  }
  for (const value of importer.values.values()) {
    if (value.kind === "constant") stored += value.array.data.length;
  }
  const folder = { ...allocator(FREE_ELEMENTS + COPIES * stored), decode };
  let start: FeatureValue;
  try {
    start = importer.give(input.name, shape, inputLast ? "channels_last" : undefined);
  } catch (thrown) {
    if (!(thrown instanceof Refusal)) throw thrown;
    throw new SecateurError(
      "graph-unsupported",
      `${model.source}: its input ${quoted(input.name)} ${thrown.message}, which is too large; ` +
        "export the model for smaller pictures.",
    );
  }
  const nodes = importNodes(importer, folder);
  const all = { ...nodes, unsupported: [...refused, ...nodes.unsupported] };
  const whole = all.unsupported.length === 0 && endsPlainly(importer)
    ? finish(importer, start)
    : undefined;
  const finished = whole ?? bodyOf(importer, given, start, all);
  if (logarithms && holdsLogarithm(importer, finished.graph.nodes)) {
    return importFor(model, options, given, false);
  }
  const { graph, mixedProbabilities, behind, ...end } = finished;
  const { opset, irVersion, producer, metadata, unusedNodes } = model;
  return {
    graph,
    notes: {
      opset,
      irVersion,
      producer,
      batch,
      metadata,
      foldedBatchNorm: foldedConvolutions(graph.nodes, graph.outputs),
      form: { ...formOf(model, input, importer.half), ...(inputLast ? { inputLast } : {}), ...end },
      ...(mixedProbabilities === undefined ? {} : { mixedProbabilities }),
      ...(behind === undefined || behind.nodes === 0 ? {} : { behind }),
      unusedNodes,
      trainingMode: importer.trainingMode,
    },
  };
}

/**
 * Images for models that leave the batch open and compute indices for all of it, of which there
 * would be too many for OPEN_BATCH.
 */
const SMALLER_BATCH = 251;

/**
 * The graph of a model: constants folded, operators normalised to the graph's. The batch is not
 * part of a graph.
 * @throws SecateurError `graph-unsupported` naming every node that cannot be imported, or the input
 * when it is not one f32 tensor of fixed extents; `graph-invalid` when the output does not depend on
 * the input; `format-corrupt` for tensors whose data does not fit their shape.
 */
export function importModel(model: OnnxModel, options: ImportOptions = {}): Imported {
  const given = inputOf(model, options);
  const [images, ...image] = given.shape;
  try {
    return importFor(model, options, given);
  } catch (thrown) {
    const again = thrown instanceof SecateurError && thrown.code === "graph-unsupported" &&
      images === OPEN_BATCH && !image.includes(SMALLER_BATCH);
    if (!again) throw thrown;
    try {
      return importFor(model, options, { ...given, shape: [SMALLER_BATCH, ...image] });
    } catch {
      throw thrown; // what it says is of the model as it is
    }
  }
}

// Elements that folding may make: shape arithmetic needs few, moved weights as many as there are.
const FREE_ELEMENTS = 2 ** 20;
const COPIES = 8;
