/**
 * What experiments on a trained network share: its weights bound to the model, the training pictures
 * with some held out, calibration batches, and a result file that says where it comes from.
 */

import { availableParallelism } from "node:os";
import process from "node:process";
import { calibrationBatches, calibrationSet } from "../../src/data/batches/calibration.ts";
import { type Dataset, loaded, normalisations } from "../../src/data/dataset.ts";
import { openDataset } from "../../src/data/sources/source.ts";
import { holdOutLastPerClass } from "../../src/data/split.ts";
import { writeFileAtomic } from "../../src/formats/atomic.ts";
import { readWeights } from "../../src/formats/checkpoint.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { bindWeights } from "../../src/models/bind.ts";
import { createModel } from "../../src/models/models.ts";
import { basename } from "../../src/std.ts";
import { provenance } from "../machine.ts";

/** Options of every such experiment, as `parseArgs` takes them. */
export const SETTING_OPTIONS = {
  weights: { type: "string" },
  model: { type: "string", default: "resnet56" },
  data: { type: "string" },
  out: { type: "string" },
  "hold-out": { type: "string", default: "500" },
} as const;

/** Values of `SETTING_OPTIONS`; `hold-out` is in pictures per class. */
interface SettingArguments {
  readonly weights?: string;
  readonly model: string;
  readonly data?: string;
  readonly out?: string;
  readonly "hold-out": string;
}

export interface Setting {
  /** What the result says of it. */
  readonly about: { readonly model: string; readonly weights: string; readonly data: string };
  readonly graph: Graph;
  /** Every training picture that is not held out. */
  readonly training: Dataset;
  readonly heldOut: Dataset;
  readonly out: string;
}

/** Loads weights and pictures. Throws where an option is missing or a file is not what it should be. */
export async function openSetting(args: SettingArguments): Promise<Setting> {
  const { weights, model, data, out } = args;
  if (!weights || !data || !out) throw new Error("expects --weights, --data and --out");
  const full = await loaded(await openDataset(data, "train"));
  const graph = bindWeights(
    createModel(model, { classes: full.classes.length, shape: [3, full.height, full.width] }),
    await readWeights(weights),
    weights,
  );
  return {
    about: { model, weights: basename(weights), data: full.name },
    graph,
    ...holdOutLastPerClass(full, Number(args["hold-out"])),
    out,
  };
}

/** The test pictures of a setting's data. */
export async function openTest({ data }: Pick<SettingArguments, "data">): Promise<Dataset> {
  if (!data) throw new Error("expects --data");
  return await loaded(await openDataset(data, "test"));
}

/** Training pictures for a Shapley sweep, in batches of at most 128. */
export function sweepBatches({ training }: Setting, count: number, seed: number) {
  const pictures = calibrationSet(training, count, seed, "shapley");
  return calibrationBatches(pictures, Math.min(128, pictures.count), normalisations.imagenet);
}

/** Writes `result` with the commit, the machine and the command that made it. */
export async function writeExperiment(out: string, result: object): Promise<void> {
  const made = { ...provenance(), threads: availableParallelism(), command: process.argv.slice(2) };
  await writeFileAtomic(out, `${JSON.stringify({ ...result, ...made }, null, 2)}\n`);
}
