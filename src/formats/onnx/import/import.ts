/** ONNX model -> graph: constants folded, operators normalised, everything unsupported listed. */

import { basename } from "node:path";
import { SecateurError } from "../../../errors.ts";
import type { Graph, Node, Shape } from "../../../graph/graph.ts";
import { escaped, quoted } from "../../bytes.ts";
import { type HostArray, Refusal, type RefusedNode } from "../read/array.ts";
import { putOffExpression } from "./expressions.ts";
import { fold, folds } from "../fold/fold.ts";
import { type Allocator, allocator, type Folding } from "../fold/folding.ts";
import { putOffMoment } from "./moments.ts";
import type { FileForm } from "../file_form.ts";
import { endingOf } from "./ending.ts";
import { Importer, Names, OPEN_BATCH } from "./importer.ts";
import { type FeatureValue } from "./features.ts";
import { lowered } from "./lower.ts";
import { importAlone, isImported } from "./table.ts";
import type { OnnxModel, OnnxNode, OnnxValue } from "../read/reader.ts";
import { composeNeighbours, neededLayers, neededParameters } from "./simplify.ts";
import type { TensorProto } from "../proto/onnx_pb.ts";
import { arrayOf } from "../read/tensor.ts";

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
  /** Nodes that the output does not need, left out. */
  readonly unusedNodes: number;
  /** Whether the file was exported in training mode; the graph is the model at inference. */
  readonly trainingMode: boolean;
}

export interface Imported {
  readonly graph: Graph;
  readonly notes: ImportNotes;
}

export interface ImportOptions {
  /** [channels, height, width] of one image, for models that leave them open. */
  readonly shape?: Shape;
  /** The same where neither the model nor `shape` says. */
  readonly usualShape?: Shape;
  /** Inputs of the model to treat as constants. */
  readonly constants?: ReadonlyMap<string, HostArray>;
}

/** Types of pictures: ONNX's numbers of f32, of bytes and of f16. */
const FLOAT = 1, BYTE = 2, HALF = 10;

interface ModelInput {
  readonly input: OnnxValue;
  /** As in the file; channels are its last axis if inputLast. */
  readonly shape: readonly number[];
  readonly inputLast: boolean;
  readonly batch: number | string;
}

/** What leaves the axes of pictures as they are, before they are turned. */
const KEEPING_AXES = new Set(["Add", "Cast", "Div", "Identity", "Mul", "Sub"]);

/** Whether a model takes [batch, height, width, channels]: it turns its pictures at once. */
function takesChannelsLast(
  { nodes }: OnnxModel,
  input: string,
  extents: readonly (number | string)[],
): boolean {
  if (extents.length !== 4) return false;
  const open = [input], seen = new Set(open);
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    for (const node of nodes) {
      if (!node.inputs.includes(name)) continue;
      const axes = node.op === "Transpose" && node.attributes.has("perm")
        ? node.attributes.ints("perm").join()
        : "";
      if (axes === "0,3,1,2") return true;
      // Of one channel, some exporters reshape: [batch, height, width, 1] to [batch, 1, height, width].
      if (node.op === "Reshape" && extents[3] === 1 && extents[1] !== 1) return true;
      const [next] = node.outputs;
      if (!KEEPING_AXES.has(node.op) || seen.has(next)) continue;
      seen.add(next);
      open.push(next);
    }
  }
  return false;
}

/** The model's one input with its extents; the batch is OPEN_BATCH where it is left open. */
function inputOf(model: OnnxModel, options: ImportOptions): ModelInput {
  const inputs = model.inputs.filter(({ name }) => !options.constants?.has(name));
  const refuse = (finding: string, todo: string) =>
    new SecateurError("graph-unsupported", `${model.source}: ${finding}; ${todo}.`);
  if (inputs.length !== 1) {
    throw refuse(
      `expected a model with one input, but it has ${inputs.length}`,
      "export it with the pictures alone",
    );
  }
  const [input] = inputs;
  const extents = input.shape ?? [];
  const known = [FLOAT, BYTE, HALF].includes(input.elementType);
  if (!known || (extents.length !== 2 && extents.length !== 4)) {
    throw refuse(
      `expected the input ${quoted(input.name)} to be f32, f16 or u8 [batch, channels, height, ` +
        `width] or [batch, features], but it has ${extents.length} axes of element type ` +
        `${input.elementType}`,
      "export the model with such an input",
    );
  }
  const [batch, ...image] = extents;
  const inputLast = takesChannelsLast(model, input.name, extents);
  const laidOut = (given: Shape | undefined) =>
    given?.length !== image.length ? undefined : inputLast ? [...given.slice(1), given[0]] : given;
  const asked = laidOut(options.shape), usual = laidOut(options.usualShape);
  const shape = image.map((extent, axis) =>
    typeof extent === "number" && extent > 0 ? extent : asked?.[axis] ?? usual?.[axis] ?? extent
  );
  const other = asked !== undefined && shape.some((extent, axis) => extent !== asked[axis]);
  if (other) {
    throw refuse(
      `its input ${quoted(input.name)} is ${quoted(shape.join("x"))}, not ${
        asked.join("x")
      } as asked`,
      "leave the shape out, or give it for extents that the model leaves open",
    );
  }
  const open = shape.find((extent): extent is string => typeof extent === "string");
  if (open !== undefined || shape.some((extent) => extent === 0)) {
    throw refuse(
      `expected the input ${quoted(input.name)} to have fixed extents behind the batch, but it ` +
        `leaves ${quoted(String(open ?? 0))} open`,
      "give the size of the pictures with --input-shape CHANNELSxHEIGHTxWIDTH, such as 3x224x224",
    );
  }
  const images = typeof batch === "number" && batch > 0 ? batch : OPEN_BATCH;
  return {
    input,
    inputLast,
    shape: [images, ...shape as number[]],
    batch: images === OPEN_BATCH ? String(batch) || "N" : images,
  };
}

/** Makes initializers and constant inputs known. */
function giveConstants(
  importer: Importer,
  options: ImportOptions,
  decode: (tensor: TensorProto) => HostArray,
): string[] {
  const refused: string[] = [];
  const needed = new Set(importer.model.nodes.flatMap(({ inputs }) => inputs));
  for (const [name, tensor] of importer.model.initializers) {
    if (!needed.has(name)) continue;
    try {
      importer.values.set(name, { kind: "constant", name, array: decode(tensor) });
    } catch (thrown) {
      if (!(thrown instanceof Refusal)) throw thrown;
      importer.values.set(name, { kind: "unknown", constant: true });
      refused.push(`the model (which ${thrown.message})`);
    }
  }
  for (const [name, array] of options.constants ?? []) {
    importer.values.set(name, { kind: "constant", name, array });
  }
  return refused;
}

type Folder = Allocator & Pick<Folding, "decode">;

/** Folds or imports one node, or throws a Refusal. */
function importNode(importer: Importer, node: OnnxNode, folder: Folder): void {
  const inputs = node.inputs.map((_, index) => importer.input(node, index));
  const constant = inputs.every((value) => value === undefined || value.kind === "constant");
  if (constant && folds(node.op)) {
    const arrays = inputs.map((value) => value?.kind === "constant" ? value.array : undefined);
    const outputs = fold({
      node,
      inputs: arrays as HostArray[], // fold checks those that must be there
      opset: importer.opset,
      ...folder,
    });
    outputs.forEach((array, index) => {
      const name = node.outputs[index];
      if (name) importer.values.set(name, { kind: "constant", name, array });
    });
  } else if (!putOffMoment(importer, node) && !putOffExpression(importer, node)) {
    importAlone(importer, node);
  }
  const missing = node.outputs.find((name) =>
    importer.uses(name) > 0 && !importer.values.has(name)
  );
  if (missing !== undefined) throw new Refusal(`has its output ${quoted(missing)} used`);
}

/** A sentence with N for the batch that stands for an open one, and 3N for thrice that. */
function withOpenBatch(text: string): string {
  return text.replace(/(?<![\w.])\d{5,15}(?![\w.])/g, (digits) => {
    const times = Number(digits) / OPEN_BATCH;
    return Number.isInteger(times) ? `${times === 1 ? "" : times}N` : digits;
  });
}

/** Nodes that are not supported, each once, in the order they were found. */
class Unsupported {
  readonly sentences = new Map<string, string>();
  readonly #open: boolean;

  /** `open`: whether the batch is. */
  constructor(open: boolean) {
    this.#open = open;
  }

  /** Runs a step of the import; a refusal is added to the list, as one of `node` by default. */
  try(node: RefusedNode, step: () => void): void {
    try {
      step();
    } catch (thrown) {
      if (!(thrown instanceof Refusal)) throw thrown;
      const { message, node: { name, op } = node } = thrown.at(node);
      const said = this.#open ? withOpenBatch(message) : message;
      const reason = said === "" ? "" : `, which ${said}`;
      if (this.sentences.has(name)) return;
      this.sentences.set(name, `${quoted(name)} (${escaped(op)}${reason})`);
    }
  }
}

/** Imports all nodes; returns those that are not supported, each by name and operator. */
function importNodes(importer: Importer, folder: Folder): string[] {
  const unsupported = new Unsupported(importer.batch === OPEN_BATCH);
  for (const node of importer.model.nodes) {
    if (unsupported.sentences.size >= MOST_COUNTED) break;
    const inputs = node.inputs.flatMap((_, index) => importer.input(node, index) ?? []);
    const constant = inputs.every((value) =>
      value.kind === "constant" || (value.kind === "unknown" && value.constant)
    );
    // What a refused node would have written cannot be judged further.
    const behind = inputs.some(({ kind }) => kind === "unknown");
    const known = isImported(node.op) || ((constant || behind) && folds(node.op));
    unsupported.try(node, () => {
      if (!known) throw new Refusal("");
      if (!behind) importNode(importer, node, folder);
    });
    const lost = node.outputs.filter((output) => !importer.values.has(output));
    for (const output of lost) importer.values.set(output, { kind: "unknown", constant });
    if (lost.length === 0) continue;
    // What it would have read may not be supported either; a layer norm has only lost its end.
    for (const value of inputs) {
      if (value.kind !== "pending" || value.form === "moment") continue;
      unsupported.try(value.node, () => importer.force(value));
    }
  }
  const answer = importer.values.get(importer.model.output.name);
  if (answer?.kind === "pending") unsupported.try(answer.node, () => importer.force(answer));
  return [...unsupported.sentences.values()];
}

const MOST_LISTED = 200;
// A network of which so much is not supported is none, and finding out may take long for each node.
const MOST_COUNTED = 1000;

function requireSupported(source: string, unsupported: readonly string[]): void {
  if (unsupported.length === 0) return;
  const listed = unsupported.slice(0, MOST_LISTED).join(", ");
  const rest = unsupported.length - MOST_LISTED;
  throw new SecateurError(
    "graph-unsupported",
    `${source}: expected only operators that can be pruned, but ${
      unsupported.length < MOST_COUNTED ? unsupported.length : `at least ${MOST_COUNTED}`
    } are not ` +
      `supported: ${listed}${rest > 0 ? ` and ${rest} more` : ""}; export the model without them.`,
  );
}

/** The answer's value; a model whose answer does not depend on its input is refused. */
function answerOf(importer: Importer): FeatureValue {
  const { source, output } = importer.model;
  const answer = importer.values.get(output.name);
  if (answer?.kind === "feature" && importer.nodes.length > 0) return answer;
  throw new SecateurError(
    "graph-invalid",
    `${source}: expected the output ${quoted(output.name)} to be computed from the input, but it ` +
      "does not depend on any layer; export the model again.",
  );
}

/**
 * Convolutions that carry the bias of a batch norm: the network has none left, and the bias does
 * not have the name that a layer's own bias has ("conv1.bias").
 */
function foldedConvolutions(nodes: readonly Node[], output: string): string[] {
  if (nodes.some(({ op }) => op === "batch_norm")) return [];
  return nodes.flatMap((node) => {
    if (node.op !== "convolution" || node.bias === undefined || node.output === output) return [];
    return /(^|\.)bias$/.test(node.bias) ? [] : [node.name];
  });
}

/** Names that exporters give to every graph. */
const NAMELESS = new Set(["", "main_graph", "main", "torch_jit", "torch-jit-export", "graph"]);

function graphName({ name, source }: OnnxModel): string {
  const given = NAMELESS.has(name) ? basename(source).replace(/\.onnx$/i, "") : name;
  return new Names().unique(given);
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
  & Pick<ImportNotes, "mixedProbabilities">
  & Pick<FileForm, "activation" | "outputLast">;

/**
 * Layers that the answer needs, with the answer under the name that the file gives it; that of a
 * final softmax or sigmoid is left free for it.
 */
function finish(importer: Importer, input: FeatureValue): Finished {
  const { model } = importer;
  const { name: answer, view } = answerOf(importer);
  const composed = composeNeighbours(
    neededLayers(importer.ordered(), answer),
    answer,
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
  const wanted = new Names().unique(model.output.name);
  const rename = (to: string) => {
    nodes = renameAnswer(nodes, output, to);
    output = to;
  };
  if (activation === undefined && !taken.has(wanted) && output !== input.name) rename(wanted);
  if (activation !== undefined && output === wanted) {
    let free = `${wanted}/logits`;
    while (taken.has(free)) free += "_";
    rename(free);
  }
  requireFinalLogarithms(importer, nodes);
  return {
    graph: {
      name: graphName(model),
      input: { name: input.name, shape: importer.shapeOf(input.name) },
      output,
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

/** The types of a file's input, output and weights, where they are not f32. */
function formOf({ output }: OnnxModel, input: OnnxValue, half: boolean): FileForm {
  const types = { [BYTE]: "u8", [HALF]: "f16" } as const;
  const type = input.elementType === BYTE || input.elementType === HALF
    ? types[input.elementType]
    : undefined;
  return {
    ...(type === undefined ? {} : { input: type }),
    ...(output.elementType === HALF ? { output: "f16" } : {}),
    ...(half || type === "f16" ? { half: true } : {}),
  };
}

/** Throws where a LogSoftmax stays in the graph, which has no such layer. */
function requireFinalLogarithms({ model, logarithms }: Importer, nodes: readonly Node[]): void {
  const left = nodes.flatMap(({ name }) => logarithms.get(name) ?? []);
  const reason = "which is not the end of a classifier";
  requireSupported(
    model.source,
    left.map(({ name }) => `${quoted(name)} (LogSoftmax, ${reason})`),
  );
}

/** As importModel, with shapes for so many images. */
function importFor(model: OnnxModel, options: ImportOptions, given: ModelInput): Imported {
  const { input, shape, batch, inputLast } = given;
  const importer = new Importer(
    model,
    shape[0],
    (owner, value) => lowered(owner, value, importAlone),
  );
  // What is computed here is computed in f32.
  const decode = (tensor: TensorProto): HostArray => {
    const array = arrayOf(tensor, model.source, model.external.get(tensor));
    return array.dtype === "f16" || array.dtype === "bf16" ? { ...array, dtype: "f32" } : array;
  };
  const refused = giveConstants(importer, options, decode);
  let stored = 0;
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
  requireSupported(model.source, [...refused, ...importNodes(importer, folder)]);
  const { graph, mixedProbabilities, ...end } = finish(importer, start);
  const { opset, irVersion, producer, metadata, unusedNodes } = model;
  return {
    graph,
    notes: {
      opset,
      irVersion,
      producer,
      batch,
      metadata,
      foldedBatchNorm: foldedConvolutions(graph.nodes, graph.output),
      form: { ...formOf(model, input, importer.half), ...(inputLast ? { inputLast } : {}), ...end },
      ...(mixedProbabilities === undefined ? {} : { mixedProbabilities }),
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
