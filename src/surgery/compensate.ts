/**
 * Least-squares compensation: every layer whose inputs are no longer what they were gets the weights
 * that best give back what is wanted of it from what is left (as in He et al., "Channel pruning for
 * accelerating very deep neural networks", arXiv 1707.06168, and ThiNet, arXiv 1707.06342).
 *
 * Layers go in topological order; a layer's inputs are those of the network already compensated
 * before it, so that each makes up for what those before it could not. Layers behind the first cut
 * are solved anew even where they lost nothing themselves. Centred, the intercept goes into the bias
 * or the running mean of the batch norm that follows.
 */

import { type CalibrationBatch, calibrationBatches } from "../data/batches/calibration.ts";
import type { Dataset, Normalisation } from "../data/dataset.ts";
import type { Removal } from "../graph/cut.ts";
import type { Graph, Node } from "../graph/graph.ts";
import { shapesOf } from "../graph/shapes.ts";
import { type ComputeOptions, LoadedModel } from "../native/loaded_model.ts";
import { type RunOptions, stopIfAsked } from "../progress.ts";
import { elementCount, type Tensor } from "../tensor.ts";
import { interceptHome } from "./intercept.ts";
import { solveLayer, type Sums } from "./least_squares.ts";
import { type Layer, type Sum, sumBehind, targetFrom } from "./targets.ts";

/** Equations for each unknown weight, at least. */
const SAMPLES_PER_UNKNOWN = 10;
/** Input pixels that every layer sees at least, so that pictures vary: 1,024 pictures of 32 x 32. */
const PIXELS = 2 ** 20;
const LEAST_IMAGES = 128;
/** Bytes of the original's values that are kept at once. */
const TARGET_BYTES = 2 ** 28;
/** Bytes of inputs that are kept ready; beyond, they are made each time they are needed. */
const INPUT_BYTES = 2 ** 29;

export interface CompensateOptions extends RunOptions, Omit<ComputeOptions, "dtype"> {
  readonly normalisation: Normalisation;
  /** Images per batch; by default 128, fewer of large pictures. */
  readonly batch?: number;
}

const isLayer = (node: Node): node is Layer => node.op === "convolution" || node.op === "linear";

/**
 * Layers with weights that lost inputs, or whose inputs come from such layers, in topological order;
 * those that use the same weights together, where the last of them stands. Layers whose intercept has
 * nowhere to go are left out.
 */
function affectedLayers(graph: Graph, removals: readonly Removal[]): Layer[][] {
  const consumers = new Set(
    removals.flatMap(({ group, removed }) => [...removed].length > 0 ? group.consumers : []),
  );
  const changed = new Set<string>();
  const byWeight = new Map<string, Layer[]>();
  for (const node of graph.nodes) {
    if (!consumers.has(node.name) && !node.inputs.some((value) => changed.has(value))) continue;
    changed.add(node.output);
    if (!isLayer(node)) continue;
    const uses = [...byWeight.get(node.weight) ?? [], node];
    byWeight.delete(node.weight);
    byWeight.set(node.weight, uses);
  }
  const used = (weight: string) =>
    graph.nodes.filter((node) => isLayer(node) && node.weight === weight).length;
  return [...byWeight].filter(([weight, uses]) =>
    // Weights that another layer needs as they are stay so.
    uses.length === used(weight) && uses.every((layer) => interceptHome(graph, layer) !== undefined)
  ).map(([, uses]) => uses);
}

/** Channels of each value that stay. */
function keptChannels(graph: Graph, removals: readonly Removal[]): (value: string) => number[] {
  const gone = new Set<string>();
  for (const { group, removed } of removals) {
    for (const player of removed) {
      for (const { value, channel } of group.players[player].channels) {
        gone.add(`${value}\n${channel}`);
      }
    }
  }
  const shapes = shapesOf(graph);
  return (value) =>
    Array.from({ length: shapes.get(value)![0] }, (_, channel) => channel)
      .filter((channel) => !gone.has(`${value}\n${channel}`));
}

/** Channels-last rows restricted to some of their channels. */
function selectChannels(data: Float32Array, channels: number, kept: readonly number[]) {
  if (kept.length === channels) return data;
  const rows = data.length / channels;
  const out = new Float32Array(rows * kept.length);
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < kept.length; k++) {
      out[row * kept.length + k] = data[row * channels + kept[k]];
    }
  }
  return out;
}

/** What a layer is solved for, and how many batches it sees. */
interface Task {
  readonly layer: Layer;
  readonly sum?: Sum;
  /** The original's value that the target is made of. */
  readonly wanted: string;
  readonly batches: number;
  readonly bytes: number;
}

/** Batches that give every unknown enough equations and show enough pictures, at most all. */
function batchesFor(cut: Graph, layer: Layer, images: number, available: number): number {
  const [, ...cells] = shapesOf(cut).get(layer.output)!;
  const weight = cut.parameters.get(layer.weight)!;
  const unknowns = weight.data.length / weight.shape[0] + 1;
  const enough = SAMPLES_PER_UNKNOWN * unknowns / elementCount(cells);
  const [, height, width] = cut.input.shape;
  const varied = Math.max(LEAST_IMAGES, PIXELS / (height * width));
  return Math.min(available, Math.max(2, Math.ceil(Math.max(enough, varied) / images)));
}

function tasksOf(
  original: Graph,
  cut: Graph,
  steps: readonly (readonly Layer[])[],
  images: number,
  available: number,
): Task[] {
  const shapes = shapesOf(original);
  return steps.flatMap((uses, step) => {
    const pending = new Set(steps.slice(step).flat().map(({ name }) => name));
    return uses.map((layer): Task => {
      const sum = uses.length === 1 ? sumBehind(cut, layer, pending) : undefined;
      const wanted = sum?.output ?? layer.output;
      const batches = batchesFor(cut, layer, images, available);
      const bytes = 4 * elementCount(shapes.get(wanted)!) * images * batches;
      return { layer, ...(sum ? { sum } : {}), wanted, batches, bytes };
    });
  });
}

/** The original's values, a few layers at a time: in one pass as many as fit the memory for them. */
class Originals {
  readonly #model: LoadedModel;
  readonly #chunks: readonly (readonly Task[])[];
  readonly #batches: readonly CalibrationBatch[];
  #held = new Map<string, Float32Array[]>();

  constructor(
    original: Graph,
    tasks: readonly Task[],
    batches: readonly CalibrationBatch[],
    images: number,
    compute: ComputeOptions,
  ) {
    const chunks: Task[][] = [];
    let bytes = Infinity;
    for (const task of tasks) {
      if (bytes + task.bytes > TARGET_BYTES) {
        chunks.push([]);
        bytes = 0;
      }
      chunks.at(-1)!.push(task);
      bytes += task.bytes;
    }
    this.#chunks = chunks;
    this.#batches = batches;
    this.#model = LoadedModel.open(
      original,
      chunks.map((chunk, index) => ({
        kind: "forward",
        name: `chunk/${index}`,
        images,
        fetch: [...new Set(chunk.map(({ wanted }) => wanted))],
      })),
      compute,
    );
  }

  /** A task's value in the original, batch by batch. */
  async of(task: Task, { signal }: RunOptions): Promise<readonly Float32Array[]> {
    const known = this.#held.get(task.wanted);
    if (known && known.length >= task.batches) return known;
    const index = this.#chunks.findIndex((chunk) => chunk.includes(task));
    const chunk = this.#chunks[index];
    const entry = this.#model.entry(`chunk/${index}`);
    this.#held = new Map(chunk.map(({ wanted }) => [wanted, []]));
    for (let batch = 0; batch < Math.max(...chunk.map(({ batches }) => batches)); batch++) {
      const wanted = new Set(
        chunk.filter(({ batches }) => batch < batches).map((one) => one.wanted),
      );
      const names = [...wanted].map((value) => [value, entry.values.get(value)!] as const);
      const result = await this.#model.run(entry.name, {
        feeds: { [entry.feeds.images!]: this.#batches[batch].images },
        fetch: names.map(([, name]) => name),
        ...(signal ? { signal } : {}),
      });
      for (const [value, name] of names) this.#held.get(value)!.push(result[name] as Float32Array);
    }
    return this.#held.get(task.wanted)!;
  }

  [Symbol.dispose](): void {
    this.#model.dispose();
  }
}

/** The parameters that a solved step changes. */
async function solved(
  cut: Graph,
  uses: readonly Layer[],
  parameters: ReadonlyMap<string, Tensor>,
  sums: readonly Sums[],
): Promise<Map<string, Tensor>> {
  const [{ weight, ...first }] = uses;
  const groups = first.op === "convolution" ? first.groups : 1;
  const solution = await solveLayer(parameters.get(weight)!, groups, sums);
  const changed = new Map([[weight, solution.weight]]);
  const homes = uses.map((layer) => interceptHome(cut, layer)!);
  for (const { parameter, sign, replaces } of homes) {
    const shared = homes.flatMap((home, use) => home.parameter === parameter ? [use] : []);
    const old = parameters.get(parameter)!;
    // A batch norm sees y - mean, so an intercept added before it is a mean lowered by as much. The
    // targets are original outputs, so the original running mean is what it is lowered from.
    const data = Float32Array.from(old.data, (value, o) => {
      const intercept = shared.reduce((sum, use) => sum + solution.intercepts[use][o], 0) /
        shared.length;
      return replaces ? intercept : value + sign * intercept;
    });
    changed.set(parameter, { shape: old.shape, data });
  }
  return changed;
}

/** Batches whose inputs are made once, where memory allows. */
function readyBatches(dataset: Dataset, images: number, normalisation: Normalisation) {
  const batches = calibrationBatches(dataset, images, normalisation);
  const bytes = 4 * 3 * dataset.height * dataset.width * images;
  const held = new Map<number, Float32Array>();
  return batches.map((batch, index): CalibrationBatch => ({
    get images() {
      const known = held.get(index);
      if (known) return known;
      const made = batch.images;
      if ((held.size + 1) * bytes <= INPUT_BYTES) held.set(index, made);
      return made;
    },
    labels: batch.labels,
  }));
}

const defaultBatch = ({ height, width }: Dataset): number =>
  Math.max(16, Math.min(128, Math.floor(2 ** 21 / (height * width))));

/**
 * The cut graph with compensated weights. `removals` is what turned `original` into `cut`; the
 * pictures are used unaugmented, from the first on. Convolutions may take Winograd's method: what it
 * loses is far below what is compensated.
 */
export async function compensate(
  original: Graph,
  cut: Graph,
  removals: readonly Removal[],
  dataset: Dataset,
  options: CompensateOptions,
): Promise<Graph> {
  const { normalisation, signal, onProgress } = options;
  const steps = affectedLayers(cut, removals);
  if (steps.length === 0) return cut;
  const images = Math.min(options.batch ?? defaultBatch(dataset), dataset.count);
  const batches = readyBatches(dataset, images, normalisation);
  const kept = keptChannels(original, removals);
  const shapes = shapesOf(original);
  const compute: ComputeOptions = { ...options, dtype: "f32-fast" };
  const tasks = tasksOf(original, cut, steps, images, batches.length);
  using originals = new Originals(original, tasks, batches, images, compute);
  const targets = new Map(
    tasks.flatMap(({ layer, sum, wanted }) =>
      sum ? [[layer.name, targetFrom(sum, kept(wanted).length, cut.parameters)]] : []
    ),
  );
  using student = LoadedModel.open(
    cut,
    tasks.map(({ layer: { name }, sum }) => ({
      kind: "equations",
      name,
      images,
      layer: name,
      ...(sum ? { beside: { value: sum.other, stretch: targets.get(name)!.stretch } } : {}),
    })),
    compute,
  );
  const sumsOf = async (task: Task): Promise<Sums> => {
    const { layer, wanted } = task;
    const entry = student.entry(layer.name);
    const values = await originals.of(task, options);
    for (const [index, batch] of batches.slice(0, task.batches).entries()) {
      stopIfAsked(signal);
      const selected = selectChannels(values[index], shapes.get(wanted)![0], kept(wanted));
      const target = targets.get(layer.name)?.feed(selected) ?? selected;
      await student.run(layer.name, {
        feeds: { [entry.feeds.images!]: batch.images, [entry.feeds.target!]: target },
      });
    }
    return {
      gram: await student.session.read(entry.gram!) as Float64Array,
      cross: await student.session.read(entry.cross!) as Float64Array,
    };
  };
  const parameters = new Map(cut.parameters);
  for (const [index, uses] of steps.entries()) {
    const sums: Sums[] = [];
    for (const layer of uses) sums.push(await sumsOf(tasks.find((one) => one.layer === layer)!));
    const changed = await solved(cut, uses, parameters, sums);
    for (const [name, tensor] of changed) parameters.set(name, tensor);
    student.write(changed);
    const done = index + 1;
    onProgress?.({ stage: "compensation", done, total: steps.length, unit: "layers" });
  }
  return { ...cut, parameters };
}
