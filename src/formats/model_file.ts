/**
 * A model in one file: safetensors whose metadata holds, under "secateur.graph", the graph without
 * its tensors as JSON. Other readers see a plain state dict; this one needs no model name.
 */

import { z } from "zod";
import { reasonOf, SecateurError } from "../errors.ts";
import {
  ACTIVATION_KINDS,
  type Graph,
  type Node,
  PAD_FILLS,
  RESIZE_COORDINATES,
  RESIZE_ROUNDINGS,
} from "../graph/graph.ts";
import { operatorOf } from "../graph/operators/table.ts";
import { shapesOf } from "../graph/shapes.ts";
import { elementCount, type Tensor } from "../tensor.ts";
import { writeFileAtomic } from "./atomic.ts";
import { corrupt, quoted } from "./bytes.ts";
import { readFileBytes } from "./file.ts";
import { encodeSafetensors, looksLikeSafetensors, parseSafetensors } from "./safetensors.ts";

/** Where the graph is kept in the metadata. */
const GRAPH_KEY = "secateur.graph";

// Bounds on what a file may make this program count, allocate or loop over.
const MOST_NODES = 10_000;
const MOST_OUTPUTS = 1_000;
const LARGEST_EXTENT = 2 ** 16;
const LARGEST_VALUE = 2 ** 26;
const MOST_JOINED = 1024;
const MOST_CHANNELS = 2 ** 22;

/** Letters, marks and spaces as layer names use them, so that sentences stay one line. */
const NAME = /^[\x21-\x7e][\x20-\x7e]{0,255}$/;
const name = z.string().regex(NAME);
const extent = z.int().min(1).max(LARGEST_EXTENT);
const offset = z.int().min(0).max(LARGEST_EXTENT);
const shape = z.union([z.tuple([extent, extent, extent]), z.tuple([extent])]);
const pair = z.tuple([extent, extent]);
const padding = z.tuple([offset, offset, offset, offset]);
const one = z.tuple([name]);

/** A list that is right or wrong as a whole: millions of wrong items must not make an issue each. */
const listOf = <T>(most: number, valid: (item: unknown) => boolean) =>
  z.custom<T[]>(
    (list) => Array.isArray(list) && list.length >= 1 && list.length <= most && list.every(valid),
    `expected 1 to ${most} valid items`,
  );
const joined = listOf<string>(MOST_JOINED, (item) => typeof item === "string" && NAME.test(item));
const channels = listOf<number>(
  LARGEST_EXTENT,
  (item) => Number.isInteger(item) && Number(item) >= -1 && Number(item) <= LARGEST_EXTENT,
);
const scale = z.number().positive().max(LARGEST_EXTENT);

const layer = { name, output: name };
const window = { kernel: pair, stride: pair, padding };

const node = z.discriminatedUnion("op", [
  z.strictObject({
    ...layer,
    ...window,
    op: z.literal("convolution"),
    inputs: one,
    dilation: pair,
    groups: extent,
    weight: name,
    bias: name.optional(),
  }),
  z.strictObject({
    ...layer,
    op: z.literal("batch_norm"),
    inputs: one,
    scale: name,
    offset: name,
    mean: name,
    variance: name,
    epsilon: z.number().positive().max(1),
    momentum: z.number().min(0).max(1),
  }),
  z.strictObject({ ...layer, op: z.literal("relu"), inputs: one }),
  z.strictObject({
    ...layer,
    op: z.literal("activation"),
    inputs: one,
    kind: z.enum(ACTIVATION_KINDS),
    alpha: z.number().optional(),
    beta: z.number().optional(),
  }),
  z.strictObject({ ...layer, op: z.literal("add"), inputs: z.tuple([name, name]) }),
  z.strictObject({ ...layer, op: z.literal("multiply"), inputs: z.tuple([name, name]) }),
  z.strictObject({
    ...layer,
    op: z.literal("concat"),
    inputs: joined,
  }),
  z.strictObject({ ...layer, ...window, op: z.literal("max_pool"), inputs: one }),
  z.strictObject({
    ...layer,
    ...window,
    op: z.literal("average_pool"),
    inputs: one,
    countPadding: z.boolean(),
  }),
  z.strictObject({ ...layer, op: z.literal("global_average_pool"), inputs: one }),
  z.strictObject({
    ...layer,
    op: z.literal("pad"),
    inputs: one,
    padding,
    fill: z.enum(PAD_FILLS).optional(),
  }),
  z.strictObject({
    ...layer,
    op: z.literal("slice"),
    inputs: one,
    starts: z.tuple([offset, offset]),
    ends: pair,
    strides: pair,
  }),
  z.strictObject({
    ...layer,
    op: z.literal("channel_map"),
    inputs: one,
    from: channels,
  }),
  z.strictObject({ ...layer, op: z.literal("flatten"), inputs: one }),
  z.strictObject({
    ...layer,
    op: z.literal("linear"),
    inputs: one,
    weight: name,
    bias: name.optional(),
  }),
  z.strictObject({
    ...layer,
    op: z.literal("channel_filter"),
    inputs: one,
    weight: name,
    bias: name.optional(),
    padding: z.tuple([offset, offset]),
    extent,
    positions: channels,
  }),
  z.strictObject({ ...layer, op: z.literal("prelu"), inputs: one, slope: name }),
  z.strictObject({
    ...layer,
    ...window,
    op: z.literal("transposed_convolution"),
    inputs: one,
    dilation: pair,
    outputPadding: z.tuple([offset, offset]),
    groups: extent,
    weight: name,
    bias: name.optional(),
  }),
  z.strictObject({ ...layer, op: z.literal("depth_to_space"), inputs: one, block: extent }),
  z.strictObject({
    ...layer,
    op: z.literal("resize"),
    inputs: one,
    mode: z.enum(["nearest", "linear"]),
    coordinates: z.enum(RESIZE_COORDINATES),
    rounding: z.enum(RESIZE_ROUNDINGS),
    size: pair,
    scales: z.tuple([scale, scale]),
  }),
  z.strictObject({
    ...layer,
    op: z.literal("layer_norm"),
    inputs: one,
    scale: name,
    offset: name,
    epsilon: z.number().positive().max(1),
  }),
  z.strictObject({
    ...layer,
    op: z.literal("group_norm"),
    inputs: one,
    groups: extent,
    scale: name,
    offset: name,
    epsilon: z.number().positive().max(1),
  }),
  z.strictObject({
    ...layer,
    op: z.literal("local_response_norm"),
    inputs: one,
    size: extent,
    alpha: z.number(),
    beta: z.number(),
    bias: z.number(),
  }),
  z.strictObject({ ...layer, op: z.literal("softmax"), inputs: one }),
]);

const storedGraph = z.strictObject({
  name,
  input: z.strictObject({ name, shape }),
  outputs: z.array(name).min(1).max(MOST_OUTPUTS),
  nodes: z.array(node).min(1).max(MOST_NODES),
});

/** Names of the tensors that nodes read, in the order of the nodes. */
function parameterNames(nodes: readonly Node[]): Set<string> {
  return new Set(nodes.flatMap((each) => {
    const operator = operatorOf(each);
    return [...operator.trainable(each), ...operator.buffers(each)];
  }));
}

/**
 * Writes a graph with its weights, atomically. Equal models give equal bytes.
 * @throws SecateurError `file-unwritable`; `format-corrupt` for a graph beyond what files may hold.
 */
export async function writeModel(
  path: string,
  graph: Graph,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  await writeFileAtomic(path, encodeModel(graph, path, metadata));
}

/** The bytes that writeModel writes; `source` names them in errors. */
export function encodeModel(
  graph: Graph,
  source: string,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const { name, input, outputs, nodes, parameters } = graph;
  return encodeSafetensors(new Map(parameters), {
    ...metadata,
    // Validating puts keys into one order, so that equal graphs give equal bytes.
    [GRAPH_KEY]: JSON.stringify(validGraph({ name, input, outputs, nodes }, source)),
  });
}

/**
 * The model in a file that `writeModel` wrote, or undefined when the file holds weights alone or
 * is of another format.
 * @throws SecateurError `file-missing`, `file-unreadable`; `format-corrupt` for a damaged file or a
 * graph that is none; `weights-missing`, `weights-unexpected` when its tensors are not those of the
 * graph; `graph-invalid` when its layers do not fit each other.
 */
export async function readModel(path: string): Promise<Graph | undefined> {
  return (await readModelFile(path))?.graph;
}

/** A model and what else its file's metadata says. */
export interface StoredModel {
  readonly graph: Graph;
  readonly metadata: Readonly<Record<string, string>>;
}

/** As readModel, with the metadata. */
export async function readModelFile(path: string): Promise<StoredModel | undefined> {
  const bytes = await readFileBytes(path, "a model or a checkpoint");
  return looksLikeSafetensors(bytes) ? parseModelFile(bytes, path) : undefined;
}

/** As readModel, from safetensors bytes; `source` names them in errors. */
export function parseModel(bytes: Uint8Array, source: string): Graph | undefined {
  return parseModelFile(bytes, source)?.graph;
}

function parseModelFile(bytes: Uint8Array, source: string): StoredModel | undefined {
  const { tensors, metadata } = parseSafetensors(bytes, source);
  const text = Object.hasOwn(metadata, GRAPH_KEY) ? metadata[GRAPH_KEY] : undefined;
  if (text === undefined) return undefined;
  const stored = parseGraph(text, source);
  const graph: Graph = { ...stored, parameters: parametersOf(stored.nodes, tensors, source) };
  checkGraph(graph, source);
  return { graph, metadata };
}

function parseGraph(text: string, source: string): Omit<Graph, "parameters"> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (thrown) {
    throw corrupt(source, `the graph in its metadata is not JSON (${quoted(reasonOf(thrown))})`);
  }
  return validGraph(withOutputs(json), source);
}

/** Files written when graphs had one output call it so. */
function withOutputs(json: unknown): unknown {
  if (typeof json !== "object" || json === null || !("output" in json)) return json;
  const { output, ...rest } = json;
  return "outputs" in rest ? json : { ...rest, outputs: [output] };
}

function validGraph(json: unknown, source: string): Omit<Graph, "parameters"> {
  const parsed = storedGraph.safeParse(json);
  if (parsed.success) return parsed.data as Omit<Graph, "parameters">;
  const [issue] = parsed.error.issues;
  const where = quoted(issue.path.map(String).join(".") || "top");
  throw corrupt(source, `the graph in its metadata is none at ${where} (${quoted(issue.message)})`);
}

function parametersOf(
  nodes: readonly Node[],
  tensors: ReadonlyMap<string, Tensor>,
  source: string,
): ReadonlyMap<string, Tensor> {
  const needed = parameterNames(nodes);
  const missing = [...needed].find((parameter) => !tensors.has(parameter));
  if (missing !== undefined) {
    throw new SecateurError(
      "weights-missing",
      `${source}: expected the tensor ${quoted(missing)} that the graph inside names, but the ` +
        "file does not hold it; write the model again.",
    );
  }
  const unexpected = [...tensors.keys()].find((tensor) => !needed.has(tensor));
  if (unexpected !== undefined) {
    throw new SecateurError(
      "weights-unexpected",
      `${source}: expected only tensors of the graph inside, but the file also holds ` +
        `${quoted(unexpected)}; write the model again.`,
    );
  }
  return tensors;
}

/** Layers must fit each other, and no value may be larger than any machine wants it. */
function checkGraph(graph: Graph, source: string): void {
  let shapes;
  try {
    shapes = shapesOf(graph);
  } catch (thrown) {
    if (!(thrown instanceof SecateurError)) throw thrown;
    throw new SecateurError(thrown.code, `${source}: ${thrown.message}`, { cause: thrown });
  }
  let channels = 0;
  for (const [value, extents] of shapes) {
    channels += extents[0];
    if (elementCount(extents) <= LARGEST_VALUE && channels <= MOST_CHANNELS) continue;
    throw new SecateurError(
      "graph-invalid",
      `${source}: expected values of at most ${LARGEST_VALUE} elements and ${MOST_CHANNELS} ` +
        `channels in all, but the graph inside exceeds that at ${value}, [${
          extents.join(", ")
        }]; ` +
        "write the model again for smaller pictures.",
    );
  }
  const names = new Set<string>();
  for (const { name } of graph.nodes) {
    if (names.has(name)) {
      throw new SecateurError(
        "graph-invalid",
        `${source}: expected layers of different names, but two of the graph inside are named ` +
          `${name}; write the model again.`,
      );
    }
    names.add(name);
  }
}
