/**
 * Models by name against PyTorch: the weights and pictures of tests/fixtures/models/make.py, which
 * follow from names and indices, and what it computed from them.
 */

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { CalibrationBatch } from "../../src/data/batches/calibration.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { createModel } from "../../src/models/models.ts";
import { vgg } from "../../src/models/vgg.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import { elementCount, type Tensor } from "../../src/tensor.ts";

/** What torchvision says about a model as it was published. */
export interface ReferenceArchitecture {
  readonly parameters: number;
  readonly tensors: number;
  readonly digest: string;
  readonly macs: number;
}

/** Logits of two pictures. */
export interface ReferenceForward {
  readonly model: string;
  readonly size: number;
  readonly classes: number;
  /** Divides the widths of a VGG. */
  readonly narrower?: number;
  /** Variance around which the statistics of each batch norm lie. */
  readonly scales: Readonly<Record<string, number>>;
  readonly logits: readonly number[];
}

export interface References {
  readonly architectures: Readonly<Record<string, ReferenceArchitecture>>;
  readonly forward: readonly ReferenceForward[];
}

const FILE = fileURLToPath(new URL("../fixtures/models/expected.json", import.meta.url));

/** What make.py wrote. */
export async function readReferences(file = FILE): Promise<References> {
  return JSON.parse(await readFile(file, "utf8"));
}

/** The index-th number in [0, 1) of a name's hash; by MurmurHash3's last step. */
function uniform(start: number, index: number): number {
  let x = (start + Math.imul(index, 0x9e3779b9)) | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return ((x ^ (x >>> 16)) >>> 0) / 2 ** 32;
}

/** FNV-1a. */
function hashed(name: string): number {
  let hash = 0x811c9dc5 | 0;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return hash;
}

/** From a uniform number to one of a tensor; as `value` in make.py. */
function spread(name: string, shape: readonly number[], scale: number): (u: number) => number {
  if (name.endsWith(".running_mean")) return (u) => (u - 0.5) * 0.6 * Math.sqrt(scale);
  if (name.endsWith(".running_var")) return (u) => (0.75 + 0.5 * u) * scale;
  if (name.endsWith(".bias")) return (u) => (u - 0.5) * 0.4;
  if (shape.length === 1) return (u) => 0.75 + 0.5 * u;
  const bound = Math.sqrt(6 / elementCount(shape.slice(1)));
  return (u) => (2 * u - 1) * bound;
}

/** The graph with the weights that make.py gives by their names; `scales` of batch norms default to 1. */
export function withReferenceWeights(
  graph: Graph,
  scales: ReferenceForward["scales"] = {},
): Graph {
  const parameters = new Map<string, Tensor>();
  for (const [name, { shape }] of graph.parameters) {
    const layer = name.slice(0, name.lastIndexOf("."));
    const make = spread(name, shape, scales[layer] ?? 1), start = hashed(name);
    const data = new Float32Array(elementCount(shape));
    for (let i = 0; i < data.length; i++) data[i] = make(uniform(start, i));
    parameters.set(name, { shape, data });
  }
  return { ...graph, parameters };
}

/** The model of a reference, with its weights. */
export function referenceModel(reference: ReferenceForward): Graph {
  const { model, size, classes, narrower = 1, scales } = reference;
  const options = { classes, shape: [3, size, size] };
  const graph = narrower === 1
    ? createModel(model, options)
    : vgg({ ...options, depth: model === "vgg16_bn" ? 16 : 19, narrower });
  return withReferenceWeights(graph, scales);
}

/** Two pictures [images][height][width][3], as the engine takes them. */
export function referencePictures(size: number): CalibrationBatch {
  const images = new Float32Array(2 * size * size * 3);
  const area = size * size, start = hashed("input");
  for (let at = 0; at < images.length; at++) {
    const colour = at % 3, pixel = Math.floor(at / 3) % area, image = Math.floor(at / 3 / area);
    const index = (image * 3 + colour) * area + pixel;
    images[at] = (2 * uniform(start, index) - 1) * Math.sqrt(3);
  }
  return { images, labels: Int32Array.of(0, 1) };
}

/** Logits of pictures by the engine, in f32. */
export async function engineLogits(graph: Graph, images: Float32Array): Promise<Float32Array> {
  const count = images.length / elementCount(graph.input.shape);
  using model = LoadedModel.open(graph, [{ kind: "forward", name: "all", images: count }], {
    dtype: "f32",
  });
  const { feeds, logits } = model.entry("all");
  const found = await model.run("all", { feeds: { [feeds.images!]: images }, fetch: [logits!] });
  return found[logits!] as Float32Array;
}

/** Largest |difference| over the largest |expected|; NaN where anything is. */
export function relativeDifference(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
): number {
  if (actual.length !== expected.length) return Infinity;
  let difference = 0, scale = 0;
  for (let i = 0; i < expected.length; i++) {
    const each = Math.abs(actual[i] - expected[i]);
    difference = each <= difference ? difference : each;
    scale = Math.max(scale, Math.abs(expected[i]));
  }
  return difference / scale;
}

/** How far the engine is from PyTorch on a reference. */
export async function differenceFrom(reference: ReferenceForward): Promise<number> {
  const { images } = referencePictures(reference.size);
  return relativeDifference(
    await engineLogits(referenceModel(reference), images),
    reference.logits,
  );
}
