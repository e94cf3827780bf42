/** The readers under test, files to damage, and what must hold of what they accept. */

import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { reasonOf } from "../../../src/errors.ts";
import { parseWeights } from "../../../src/formats/checkpoint.ts";
import { encodeModel, parseModel } from "../../../src/formats/model_file.ts";
import { encodeOnnx } from "../../../src/formats/onnx/export/export.ts";
import { parseOnnx } from "../../../src/formats/onnx/read/read.ts";
import { encodeSafetensors } from "../../../src/formats/safetensors.ts";
import { channelGroups } from "../../../src/graph/channels.ts";
import { costOf } from "../../../src/graph/cost.ts";
import type { Graph } from "../../../src/graph/graph.ts";
import { shapesOf } from "../../../src/graph/shapes.ts";
import type { RandomStream } from "../../../src/random.ts";
import { elementCount } from "../../../src/tensor.ts";
import { diverseGraph } from "../graphs/diverse.ts";
import { changeOnnx } from "./onnx_changes.ts";
import { changeSafetensors } from "./safetensors_changes.ts";
import { changePickle, changeZip } from "./torch_changes.ts";

/** A reader with files it reads. */
export interface FuzzedReader {
  readonly name: string;
  readonly seeds: readonly Uint8Array[];
  /** A damaged copy; `other` is another seed. */
  change(bytes: Uint8Array, random: RandomStream, other: Uint8Array): Uint8Array;
  /** Reads, and throws where what was read contradicts itself. */
  read(bytes: Uint8Array): void;
}

/** Graphs of more channels are only measured, since listing groups takes long. */
const MOST_GROUPED = 4096;

function expectTensors(
  tensors: ReadonlyMap<string, { shape: readonly number[]; data: Float32Array }>,
) {
  for (const [name, { shape, data }] of tensors) {
    if (data.length !== elementCount(shape)) {
      throw new Error(`${name} of [${shape}] has ${data.length} elements`);
    }
  }
}

/** An accepted graph must be one, and can be kept in a file; else an error that is no refusal. */
function expectGraph(graph: Graph): void {
  try {
    checkGraph(graph);
  } catch (thrown) {
    throw new Error(`was accepted, but ${reasonOf(thrown)}`, { cause: thrown });
  }
}

function checkGraph(graph: Graph): void {
  parseModel(encodeModel(graph, "kept.safetensors"), "kept.safetensors");
  expectTensors(graph.parameters);
  const shapes = shapesOf(graph);
  const { macs, parameters } = costOf(graph);
  if (!Number.isFinite(macs + parameters)) throw new Error(`costs ${macs} and ${parameters}`);
  const channels = [...shapes.values()].reduce((sum, [extent]) => sum + extent, 0);
  if (channels > MOST_GROUPED) return;
  for (const group of channelGroups(graph)) {
    for (const { slices } of group.players) {
      for (const { parameter, axis, index } of slices) {
        if (index < graph.parameters.get(parameter)!.shape[axis]) continue;
        throw new Error(`${group.name} cuts index ${index} of axis ${axis} of ${parameter}`);
      }
    }
  }
}

function fixtures(folder: string, accept: (name: string) => boolean): Uint8Array[] {
  const path = fileURLToPath(new URL(`../../fixtures/${folder}/`, import.meta.url));
  return readdirSync(path).sort().filter(accept)
    .map((name) => Uint8Array.from(readFileSync(path + name)));
}

/** Graphs that together have every operator, small since small files are read soon. */
const GRAPHS = Array.from({ length: 32 }, (_, seed) => diverseGraph(900 + seed, 1));

const isZip = (bytes: Uint8Array): boolean => bytes[0] === 0x50;
const isPickle = (bytes: Uint8Array): boolean => bytes[0] === 0x80;

const checkpoints = fixtures("formats", (name) => /\.(pt|pkl)$/.test(name));

export const READERS: readonly FuzzedReader[] = [
  {
    name: "onnx",
    seeds: [
      ...fixtures("onnx", (name) => name.endsWith(".onnx")),
      ...GRAPHS.map((graph, k) => encodeOnnx(graph, { opset: 13 + k % 16 })),
    ],
    change: changeOnnx,
    read: (bytes) => expectGraph(parseOnnx(bytes, "x.onnx").graph),
  },
  {
    name: "safetensors",
    seeds: [
      ...fixtures("formats", (name) => name.endsWith(".safetensors")),
      ...GRAPHS.slice(0, 16).map(({ parameters, ...graph }) =>
        encodeSafetensors(new Map(parameters), { "secateur.graph": JSON.stringify(graph) })
      ),
    ],
    change: changeSafetensors,
    read(bytes) {
      const graph = parseModel(bytes, "x.safetensors");
      if (graph === undefined) expectTensors(parseWeights(bytes, "x.safetensors"));
      else expectGraph(graph);
    },
  },
  {
    name: "zip",
    seeds: checkpoints.filter(isZip),
    change: changeZip,
    read: (bytes) => expectTensors(parseWeights(bytes, "x.pt")),
  },
  {
    name: "pickle",
    seeds: checkpoints.filter(isPickle),
    change: changePickle,
    read: (bytes) => expectTensors(parseWeights(bytes, "x.pt")),
  },
];
