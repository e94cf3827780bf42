/** `inspect`: layers, channel groups and cost of a model. */

import { channelGroups } from "../graph/channels.ts";
import { costOf } from "../graph/cost.ts";
import type { Graph, Shape } from "../graph/graph.ts";
import { shapesOf } from "../graph/shapes.ts";
import { createModel } from "../models/models.ts";
import { columns, count, figures, words } from "../report/columns.ts";
import { type Console, openConsole } from "./console.ts";
import { graphOf, type ModelSource, readSource } from "./load.ts";
import { INSPECT_OPTIONS } from "./model_options.ts";
import { type OptionValues, parseOptions } from "./options.ts";

type InspectValues = OptionValues<typeof INSPECT_OPTIONS>;

/** Runs the command with commander's options. */
export async function runInspect(raw: Readonly<Record<string, unknown>>): Promise<void> {
  const values = parseOptions(INSPECT_OPTIONS, raw);
  const console = openConsole(values.json);
  const found = describe(await inspected(values, console));
  console.result(found);
  console.text(printed(found));
}

async function inspected(values: InspectValues, console: Console): Promise<Graph> {
  const { model, weights, classes, size } = values;
  const fit = size === undefined ? {} : { shape: [3, size, size] };
  if (model !== undefined && weights === undefined) {
    return createModel(model, { classes: classes ?? 10, ...fit });
  }
  const source = await readSource(values, console);
  return graphOf(source, { classes: classes ?? classesOf(source, fit), ...fit });
}

/** How many classes weights tell apart: rows of the layer that gives the model's answer. */
function classesOf(source: ModelSource, fit: { readonly shape?: Shape }): number {
  if ("graph" in source) return shapesOf(source.graph).get(source.graph.output)![0];
  const graph = createModel(source.model, { classes: 10, ...fit });
  const last = graph.nodes.find((node) => node.output === graph.output);
  const weight = last?.op === "linear" ? source.weights.get(last.weight) : undefined;
  return weight?.shape[0] ?? 10;
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
    layers: graph.nodes.map(({ name, op, output }) => ({
      name,
      op,
      shape: shapes.get(output)!,
      macs: costs.get(name)?.macs ?? 0,
      parameters: costs.get(name)?.parameters ?? 0,
    })),
    groups: channelGroups(graph).map((group) => ({
      ...group,
      players: group.players.length,
    })),
  };
}

type Description = ReturnType<typeof describe>;

function printed({ model, input, macs, parameters, layers, groups }: Description): string {
  const layerTable = columns({
    heads: [
      ...[words("layer"), words("operator"), words("output")],
      ...[figures("MACs"), figures("parameters")],
    ],
    rows: layers.filter((layer) => layer.macs > 0 || layer.parameters > 0).map((layer) => [
      layer.name,
      layer.op,
      layer.shape.join("x"),
      count(layer.macs),
      count(layer.parameters),
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
      layersCounted(group.producers),
      layersCounted(group.consumers),
      group.pinned === undefined ? "" : `stays whole: ${group.pinned}`,
    ]),
  });
  return [
    ...layerTable,
    "",
    ...groupTable,
    "",
    `${model}, input ${input.join("x")}: ${count(macs)} MACs, ${count(parameters)} parameters`,
  ].join("\n");
}

const layersCounted = (names: readonly string[]): string =>
  names.length === 1 ? names[0] : `${names.length} layers`;
