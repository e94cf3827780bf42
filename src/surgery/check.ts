import type { CalibrationBatch } from "../data/batches/calibration.ts";
import { SecateurError } from "../errors.ts";
import type { Removal } from "../graph/cut.ts";
import type { Graph } from "../graph/graph.ts";
import { shapesOf } from "../graph/shapes.ts";
import { type ComputeOptions, LoadedModel } from "../native/loaded_model.ts";

/** How close the cut model is to the masked one: the proof that surgery took only what it meant. */
export interface CutCheck {
  /** max |masked - cut| over the logits. */
  readonly error: number;
  /** max |masked|. */
  readonly scale: number;
  /** Largest error allowed, relative to scale. */
  readonly tolerance: number;
  /** max |original - cut|: a cut that changes nothing proves nothing. */
  readonly change: number;
  readonly images: number;
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

async function logitsOf(
  graph: Graph,
  batch: CalibrationBatch,
  options: ComputeOptions,
  masks: ReadonlyMap<string, Float32Array> = new Map(),
): Promise<Float32Array> {
  const images = batch.labels.length;
  const gates = [...masks.keys()].map((value) => ({ value }));
  using model = LoadedModel.open(graph, [{ kind: "forward", name: "check", images, gates }], {
    ...options,
    dtype: "f32",
  });
  const entry = model.entry("check");
  const feeds: Record<string, Float32Array> = { [entry.feeds.images!]: batch.images };
  for (const [value, row] of masks) feeds[entry.feeds.gates.get(value)!] = row;
  const result = await model.run("check", { feeds, fetch: [entry.logits!] });
  return result[entry.logits!] as Float32Array;
}

const largest = (values: Float32Array): number =>
  values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

const difference = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);

/**
 * Compares, in f32, the original with the removed channels masked to the cut model before any
 * compensation. Throws "check-failed" when they differ by more than rounding, or when the cut
 * changes the outputs too little for equality to mean anything.
 */
export async function checkCut(
  original: Graph,
  cut: Graph,
  removals: readonly Removal[],
  batch: CalibrationBatch,
  options: ComputeOptions = {},
): Promise<CutCheck> {
  const masked = await logitsOf(original, batch, options, maskRows(original, removals));
  const after = await logitsOf(cut, batch, options);
  const whole = await logitsOf(original, batch, options);
  const layers = original.nodes.filter(({ op }) => op === "convolution" || op === "linear").length;
  const check: CutCheck = {
    error: difference(masked, after),
    scale: largest(masked),
    tolerance: layers <= SHALLOW ? 1e-5 : 1e-4,
    change: difference(whole, after),
    images: batch.labels.length,
  };
  const allowed = check.tolerance * check.scale;
  if (!(check.error <= allowed)) {
    throw new SecateurError(
      "check-failed",
      `The cut ${original.name} differs from the masked one by ${
        check.error.toPrecision(3)
      } where ` +
        `${allowed.toPrecision(3)} is allowed: this is a fault in surgery; nothing was written.`,
    );
  }
  const removed = removals.some((removal) => [...removal.removed].length > 0);
  if (removed && check.change < 100 * allowed) {
    throw new SecateurError(
      "check-failed",
      `Cutting ${original.name} changed its outputs by only ${check.change.toPrecision(3)}, so ` +
        `masked = cut proves nothing: calibrate with pictures like those it was trained on.`,
    );
  }
  return check;
}
