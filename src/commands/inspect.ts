/** `inspect`: layers, channel groups and cost of a model. */

import { described } from "../data/contract.ts";
import { channelGroups } from "../graph/channels.ts";
import { costOf } from "../graph/cost.ts";
import type { FileForm } from "../formats/onnx/file_form.ts";
import type { BehindNotes } from "../formats/onnx/import/import.ts";
import { tailMacs } from "../formats/onnx/tail/macs.ts";
import type { Graph, Node } from "../graph/graph.ts";
import { shapesOf } from "../graph/shapes.ts";
import { columns, count, figures, words } from "../report/columns.ts";
import { openConsole } from "./terminal/console.ts";
import { INSPECT_OPTIONS } from "./options/model.ts";
import { architectureOf } from "./inputs/architecture.ts";
import { parseOptions } from "./options/parse.ts";

/** Runs the command with commander's options. */
export async function runInspect(raw: Readonly<Record<string, unknown>>): Promise<void> {
  const values = parseOptions(INSPECT_OPTIONS, raw);
  const console = openConsole(values.json);
  const { graph, contract, form, behind } = await architectureOf(values, console);
  const body = behind && form ? await bodyOf(graph, form, behind) : undefined;
  const found = { ...describe(graph), ...(body === undefined ? {} : { body }) };
  console.result({ ...found, ...(contract === undefined ? {} : { contract }) });
  console.text(...printed(found));
  if (body !== undefined) console.text(bodySentence(body));
  if (contract !== undefined) console.text(`Pictures become its input by ${described(contract)}.`);
}

/** How much of a file its body is, and why it ends where it does. */
async function bodyOf(graph: Graph, form: FileForm, behind: BehindNotes) {
  const { macs } = costOf(graph);
  const rest = await tailMacs(graph, form);
  return { ...behind, ends: graph.outputs, macsBehind: rest, share: macs / (macs + rest) };
}

function bodySentence(
  { ends, macsBehind, share, inTheWay }: Awaited<ReturnType<typeof bodyOf>>,
): string {
  const cost = macsBehind === 0 ? "all" : `${(100 * share).toFixed(1)}%`;
  const reasons = inTheWay.length === 0
    ? ""
    : `: in the way ${inTheWay.length === 1 ? "is" : "are"} ${
      inTheWay.slice(0, MOST_NAMED).join(", ")
    }${inTheWay.length > MOST_NAMED ? ` and ${inTheWay.length - MOST_NAMED} more` : ""}`;
  return `The body holds ${cost} of the file's MACs and ends in ${layerNames(ends)}${reasons}.`;
}

/** What `inspect` finds; plain data for JSON. */
function describe(graph: Graph) {
  const shapes = shapesOf(graph);
  const cost = costOf(graph);
  const costs = new Map(cost.layers.map((layer) => [layer.name, layer]));
  return {
    model: graph.name,
    input: graph.input.shape,
    macs: cost.macs,
    parameters: cost.parameters,
    layers: graph.nodes.map((node) => ({
      name: node.name,
      op: node.op,
      from: node.inputs.map((value) => shapes.get(value)!),
      shape: shapes.get(node.output)!,
      weight: weightOf(graph, node),
      macs: costs.get(node.name)?.macs ?? 0,
      parameters: costs.get(node.name)?.parameters ?? 0,
    })),
    groups: channelGroups(graph).map((group) => ({
      ...group,
      players: group.players.length,
    })),
  };
}

/** Extents of a layer's weight, where it has one. */
function weightOf(graph: Graph, node: Node): readonly number[] | undefined {
  return "weight" in node ? graph.parameters.get(node.weight)?.shape : undefined;
}

type Description = ReturnType<typeof describe>;

const extents = (shape: readonly number[]): string => shape.join("x");

function printed({ model, input, macs, parameters, layers, groups }: Description): string[] {
  const layerTable = columns({
    heads: [
      ...[words("layer"), words("operator"), words("input"), words("output"), words("weight")],
      ...[figures("MACs"), figures("parameters")],
    ],
    rows: layers.map((layer) => [
      layer.name,
      layer.op,
      layer.from.map(extents).join(", "),
      extents(layer.shape),
      extents(layer.weight ?? []),
      layer.macs > 0 ? count(layer.macs) : "",
      layer.parameters > 0 ? count(layer.parameters) : "",
    ]),
  });
  const groupTable = columns({
    heads: [
      ...[words("channel group"), words("kind"), figures("channels")],
      ...[words("made by"), words("read by"), words("")],
    ],
    rows: groups.map((group) => [
      group.name,
      group.kind,
      count(group.players),
      layerNames(group.producers),
      layerNames(group.consumers),
      group.pinned === undefined ? "" : `stays whole: ${group.pinned}`,
    ]),
  });
  const free = groups.filter((group) => group.pinned === undefined);
  return [
    ...layerTable,
    "",
    ...groupTable,
    "",
    `${model}, input ${extents(input)}: ${count(macs)} MACs, ${count(parameters)} parameters; ` +
    `${free.length} of ${groups.length} channel groups may lose channels.`,
  ];
}

const MOST_NAMED = 3;

const layerNames = (names: readonly string[]): string =>
  names.length <= MOST_NAMED
    ? names.join(", ")
    : `${names.slice(0, MOST_NAMED - 1).join(", ")} and ${names.length - MOST_NAMED + 1} more`;
