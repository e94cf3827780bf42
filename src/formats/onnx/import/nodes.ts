/** A model's constants and nodes, one after the other, and a list of those that are not supported. */

import { SecateurError } from "../../../errors.ts";
import { escaped, quoted } from "../../bytes.ts";
import { fold, folds } from "../fold/fold.ts";
import type { Allocator, Folding } from "../fold/folding.ts";
import type { TensorProto } from "../proto/onnx_pb.ts";
import { type HostArray, Refusal, type RefusedNode } from "../read/array.ts";
import type { OnnxNode } from "../read/reader.ts";
import { putOffExpression } from "./expressions.ts";
import type { ConstantValue } from "./features.ts";
import type { View } from "./features.ts";
import { type Importer, OPEN_BATCH } from "./importer.ts";
import type { ImportOptions } from "./input.ts";
import { putOffMoment } from "./moments.ts";
import { importAlone, isImported } from "./operators/table.ts";

/** Makes initializers and constant inputs known. */
export function giveConstants(
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

/** What folding shares over all nodes of a file. */
export type Folder = Allocator & Pick<Folding, "decode">;

/** Whether a node gives a constant another shape that is read once and in no other: its name stays. */
function reshapedAlone(importer: Importer, { op, inputs, outputs }: OnnxNode): boolean {
  const reshapes = op === "Identity" || op === "Reshape" || op === "Squeeze" || op === "Unsqueeze";
  return reshapes && importer.uses(inputs[0]) === 1 && importer.uses(outputs[0]) === 1;
}

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
      const output = node.outputs[index];
      const name = reshapedAlone(importer, node) ? (inputs[0] as ConstantValue).name : output;
      if (output) importer.values.set(output, { kind: "constant", name, array });
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

/** Nodes that are not supported, each by name and operator, with the reason. */
export interface NodesRefused {
  readonly unsupported: readonly string[];
  /** Those of them that nothing before them keeps from being computed. */
  readonly inTheWay: readonly string[];
}

/** Imports all nodes. */
export function importNodes(importer: Importer, folder: Folder): NodesRefused {
  const blocked = new Set<string>();
  const unsupported = new Unsupported(importer.batch === OPEN_BATCH);
  for (const node of importer.model.nodes) {
    if (unsupported.sentences.size >= MOST_COUNTED) break;
    const inputs = node.inputs.flatMap((_, index) => importer.input(node, index) ?? []);
    const constant = inputs.every((value) =>
      value.kind === "constant" || (value.kind === "unknown" && value.constant)
    );
    // What a refused node would have written cannot be judged further.
    const behind = inputs.some(({ kind }) => kind === "unknown");
    if (behind) blocked.add(node.name);
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
  for (const { name } of importer.model.outputs) {
    const answer = importer.values.get(name);
    if (answer?.kind === "pending") unsupported.try(answer.node, () => importer.force(answer));
  }
  requirePlain(importer, unsupported);
  const all = [...unsupported.sentences];
  return {
    unsupported: all.map(([, sentence]) => sentence),
    inTheWay: all.flatMap(([name, sentence]) => blocked.has(name) ? [] : [sentence]),
  };
}

/** Layouts in which no value of the graph is. */
const UNUSUAL: ReadonlySet<View> = new Set(["arranged", "rows", "expanded"]);

/** Refuses answers whose elements no value of the graph has in that order and shape. */
function requirePlain(importer: Importer, unsupported: Unsupported): void {
  const { nodes, outputs } = importer.model;
  const names = new Set(outputs.map(({ name }) => name));
  for (const node of nodes) {
    const name = node.outputs.find((output) => names.has(output));
    const answer = name === undefined ? undefined : importer.values.get(name);
    if (answer?.kind !== "feature") continue;
    if (answer.view === undefined || !UNUSUAL.has(answer.view)) continue;
    unsupported.try(node, () => {
      throw new Refusal(`ends in ${importer.described(answer)}, which is no picture or vector`);
    });
  }
}

const MOST_LISTED = 200;
// A network of which so much is not supported is none, and finding out may take long for each node.
const MOST_COUNTED = 1000;

export function requireSupported(source: string, unsupported: readonly string[]): void {
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
