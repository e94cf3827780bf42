import type { CalibrationBatch } from "../data/batches/calibration.ts";
import { SecateurError } from "../errors.ts";
import { cutGraph, type Removal } from "../graph/cut.ts";
import type { Graph } from "../graph/graph.ts";
import { shapesOf } from "../graph/shapes.ts";
import { type ComputeOptions, LoadedModel } from "../native/loaded_model.ts";
import { elementCount } from "../tensor.ts";
import { randomPictures, randomWeights, revived } from "./probe.ts";

/**
 * On what the outputs were seen to move, so that masked = cut means something: the calibration
 * pictures; the same with random weights in the channels that go, which do nothing with their own; or
 * random weights throughout. `construction`: on none of them, as nothing leads from those channels to
 * the output.
 */
export type CutProof = "pictures" | "revived" | "random" | "construction";

/** How close the cut model is to the masked one: the proof that surgery took only what it meant. */
export interface CutCheck {
  /** max |masked - cut| over the output whose share of `scale` that is largest. */
  readonly error: number;
  /** max |masked| over that output. */
  readonly scale: number;
  /** Largest error allowed, relative to scale. */
  readonly tolerance: number;
  /** max |original - cut|, of the output that the cut moves most, in the same measure. */
  readonly change: number;
  readonly images: number;
  readonly proof: CutProof;
  /** The same figures on what proved it, where the pictures did not. */
  readonly probe?: Differences;
}

/** Of the outputs of one network as it is, masked and cut. */
export interface Differences {
  readonly error: number;
  readonly scale: number;
  readonly change: number;
}

/** Layers with weights up to which f32 rounding stays below the tighter tolerance. */
const SHALLOW = 20;

/** Rows [1, channels] of ones, zero where a removed player has a site, by value. */
function maskRows(graph: Graph, removals: readonly Removal[]): Map<string, Float32Array> {
  const shapes = shapesOf(graph);
  const rows = new Map<string, Float32Array>();
  for (const { group, removed } of removals) {
    for (const value of group.sites) {
      // Groups may share a site.
      const row = rows.get(value) ?? new Float32Array(shapes.get(value)![0]).fill(1);
      rows.set(value, row);
    }
    for (const player of removed) {
      for (const { value, channel } of group.players[player].sites) rows.get(value)![channel] = 0;
    }
  }
  return rows;
}

/** Every output of a graph. */
async function outputsOf(
  graph: Graph,
  batch: CalibrationBatch,
  options: ComputeOptions,
  masks: ReadonlyMap<string, Float32Array> = new Map(),
): Promise<Float32Array[]> {
  const images = batch.labels.length;
  const gates = [...masks.keys()].map((value) => ({ value }));
  using model = LoadedModel.open(graph, [{ kind: "forward", name: "check", images, gates }], {
    ...options,
    dtype: "f32",
  });
  const entry = model.entry("check");
  const feeds: Record<string, Float32Array> = { [entry.feeds.images!]: batch.images };
  for (const [value, row] of masks) feeds[entry.feeds.gates.get(value)!] = row;
  const fetch = [...entry.outputs.values()];
  const result = await model.run("check", { feeds, fetch });
  return fetch.map((name) => result[name] as Float32Array);
}

const largest = (values: Float32Array): number =>
  values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

const difference = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);

/** The three networks on the same pictures. */
async function differencesOf(
  original: Graph,
  cut: Graph,
  removals: readonly Removal[],
  batch: CalibrationBatch,
  options: ComputeOptions,
): Promise<Differences> {
  const masked = await outputsOf(original, batch, options, maskRows(original, removals));
  const after = await outputsOf(cut, batch, options);
  const whole = await outputsOf(original, batch, options);
  return worst(masked.map((values, output) => ({
    error: difference(values, after[output]),
    scale: largest(values),
    change: difference(whole[output], after[output]),
  })));
}

/** The figures of the output that errs most, and the largest change, in its measure. */
function worst(outputs: readonly Differences[]): Differences {
  const share = (part: number, { scale }: Differences) => part === 0 ? 0 : part / scale;
  const notFinite = outputs.find(({ scale }) => !Number.isFinite(scale));
  if (notFinite !== undefined) return notFinite;
  const most = [...outputs].sort((a, b) => b.scale - a.scale)
    .reduce((a, b) => share(b.error, b) > share(a.error, a) ? b : a);
  const moved = outputs.reduce((a, b) => share(b.change, b) > share(a.change, a) ? b : a);
  if (moved === most || most.scale === 0) return { ...most, change: moved.change };
  return { ...most, change: share(moved.change, moved) * most.scale };
}

/** Outputs move by so many tolerances, or equality means nothing. */
const MOVED = 100;
/** Of the random weights that channels are revived with; larger where the first move too little. */
const GAINS = [1, 30];

/** Networks whose outputs the same cut may move, the likest to the original first. */
function* probes(original: Graph, cut: Graph, removals: readonly Removal[], images: Float32Array) {
  const weights = randomWeights(original);
  for (const gain of GAINS) {
    yield {
      proof: "revived",
      graph: revived(original, removals, weights, gain),
      cut,
      images,
    } as const;
  }
  const graph = { ...original, parameters: weights };
  const pictures = randomPictures(graph, images.length / elementCount(graph.input.shape));
  yield { proof: "random", graph, cut: cutGraph(graph, removals), images: pictures } as const;
}

function requireEqual(
  { error, scale }: Differences,
  tolerance: number,
  name: string,
  condition = "",
): void {
  const allowed = tolerance * scale;
  if (error <= allowed) return;
  throw new SecateurError(
    "check-failed",
    `The cut ${name}${condition} differs from the masked one by ${error.toPrecision(3)} where ` +
      `${allowed.toPrecision(3)} is allowed: this is a fault in surgery; nothing was written.`,
  );
}

/**
 * Compares, in f32, the original with the removed channels masked to the cut model before any
 * compensation. Where the cut leaves the outputs as they were, as that of dead channels does, equality
 * is shown on networks of the same structure whose outputs it moves. Throws "check-failed" when masked
 * and cut differ by more than rounding, "numeric-failure" when the outputs are not finite.
 */
export async function checkCut(
  original: Graph,
  cut: Graph,
  removals: readonly Removal[],
  batch: CalibrationBatch,
  options: ComputeOptions = {},
): Promise<CutCheck> {
  const layers = original.nodes.filter(({ op }) => op === "convolution" || op === "linear").length;
  const tolerance = layers <= SHALLOW ? 1e-5 : 1e-4;
  const moves = ({ change, scale }: Differences) =>
    change > 0 && change >= MOVED * tolerance * scale;
  const found = await differencesOf(original, cut, removals, batch, options);
  if (!Number.isFinite(found.scale)) {
    throw new SecateurError(
      "numeric-failure",
      `The outputs of ${original.name} on ${batch.labels.length} calibration pictures are not all ` +
        `finite: check its weights and the normalisation of the pictures.`,
    );
  }
  requireEqual(found, tolerance, original.name);
  const check = { ...found, tolerance, images: batch.labels.length };
  const removed = removals.some((removal) => [...removal.removed].length > 0);
  if (!removed || moves(found)) return { ...check, proof: removed ? "pictures" : "construction" };
  for (
    const { proof, graph, cut: smaller, images } of probes(original, cut, removals, batch.images)
  ) {
    const probe = await differencesOf(graph, smaller, removals, { ...batch, images }, options);
    if (!Number.isFinite(probe.scale) || !moves(probe)) continue;
    requireEqual(probe, tolerance, original.name, " with random weights in it");
    return { ...check, proof, probe };
  }
  return { ...check, proof: "construction" };
}
