/**
 * Does fine-tuning in bf16 reach the accuracy of f32? One cut and compensated network, trained from
 * there in each precision with the recipe of `prune`: the same pictures in the same order, the same
 * crops, the same epochs. Every result is evaluated in f32, so that only training differs, and in
 * its own precision too.
 *
 *   deno run -A bench/experiments/fine_tuning.ts --weights FILE --model resnet56 \
 *     --data imagefolder:TAR --plan PLAN.json --out FILE [--epochs 3] [--seeds 2]
 *     [--dtypes f32,bf16,f32-fast] [--store FOLDER]
 *
 * Rounding is a perturbation like any other: after some hundred steps two runs of one seed are about
 * as far apart as runs of two seeds, so the mean difference over seeds counts, with its standard
 * error. The result is written after every run; with --store, runs and epochs done are kept.
 */

import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { z } from "zod";
import { calibrationSet } from "../../src/data/batches/calibration.ts";
import { loaded, normalisations } from "../../src/data/dataset.ts";
import { openDataset } from "../../src/data/sources/source.ts";
import { prunableGroups } from "../../src/graph/channels.ts";
import { costOf } from "../../src/graph/cost.ts";
import { cutGraph, type Removal } from "../../src/graph/cut.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { PRECISIONS } from "../../src/program/precision.ts";
import { StageStore } from "../../src/pruning/store.ts";
import { compensate } from "../../src/surgery/compensate.ts";
import { evaluate } from "../../src/training/evaluate.ts";
import { defaultWarmup } from "../../src/training/schedule.ts";
import { train } from "../../src/training/train.ts";
import { openSetting, SETTING_OPTIONS, writeExperiment } from "./setting.ts";

/** Pictures that weights are compensated with, and the seed that draws them. */
const SURGERY = { images: 2048, seed: 1 };
const RECIPE = {
  batch: 128,
  learningRate: 0.02,
  optimizer: { kind: "sgd", weightDecay: 5e-4 },
  augment: true,
} as const;

const { values: args } = parseArgs({
  options: {
    ...SETTING_OPTIONS,
    plan: { type: "string" },
    epochs: { type: "string", default: "3" },
    seeds: { type: "string", default: "2" },
    dtypes: { type: "string", default: "f32,bf16,f32-fast" },
    store: { type: "string" },
  },
});
if (!args.plan) throw new Error("expects --plan");
const normalisation = normalisations.imagenet;
const setting = await openSetting(args);
const { training, heldOut } = setting;
const test = await loaded(await openDataset(args.data!, "test"));
const epochs = Number(args.epochs);
const recipe = { ...RECIPE, epochs, warmupEpochs: defaultWarmup(epochs) };
const dtypes = args.dtypes.split(",").map((name) => z.enum(PRECISIONS).parse(name));
const planText = await readFile(args.plan, "utf8");

/** The channels that a plan.json keeps, as removals from the whole network. */
function removalsOf(graph: Graph): Removal[] {
  const plan = z.object({
    groups: z.array(z.object({ name: z.string(), kept: z.array(z.int().nonnegative()) })),
  }).parse(JSON.parse(planText));
  const kept = new Map(plan.groups.map(({ name, kept }) => [name, new Set(kept)]));
  return prunableGroups(graph, "all").map((group) => {
    const stay = kept.get(group.name);
    if (stay === undefined) throw new Error(`expects ${group.name} in ${args.plan}`);
    const players = group.players.map((_, player) => player);
    return { group, removed: players.filter((player) => !stay.has(player)) };
  });
}

async function startOf(graph: Graph): Promise<Graph> {
  const removals = removalsOf(graph);
  const pictures = calibrationSet(training, SURGERY.images, SURGERY.seed, "surgery");
  return await compensate(graph, cutGraph(graph, removals), removals, pictures, { normalisation });
}

type DType = (typeof dtypes)[number];

/** Loss and top-1 on both sets, of a network computed in one precision. */
async function measure(graph: Graph, dtype: DType) {
  const of = async (pictures: typeof test) => {
    const { loss, top1 } = await evaluate(graph, pictures, { normalisation, dtype });
    return { loss, top1 };
  };
  return { heldOut: await of(heldOut), test: await of(test) };
}

interface Run {
  readonly seed: number;
  readonly dtype: DType;
  /** Mean loss of the training pictures and held-out top-1, in the precision of training. */
  readonly perEpoch: readonly { readonly loss: number; readonly heldOut: number }[];
  /** Of training and the evaluations between epochs. */
  readonly seconds: number;
  readonly inF32: Awaited<ReturnType<typeof measure>>;
  readonly inOwn: Awaited<ReturnType<typeof measure>>;
}

const store = await StageStore.open(
  args.store ?? await mkdtemp(join(tmpdir(), "fine-tuning-")),
  JSON.stringify([args.weights, args.data, args["hold-out"], planText, recipe]),
  true,
);

async function runOf(start: Graph, seed: number, dtype: DType): Promise<Run> {
  const { last, history } = await train(start, {
    ...recipe,
    data: training,
    validation: heldOut,
    normalisation,
    seed,
    dtype,
    checkpoint: store.path(`${dtype} ${seed}`, ".safetensors"),
    resume: true,
    onProgress: ({ done, total, figures }) => {
      // An epoch's last batch is smaller, so that multiples are counted within epochs.
      if (done % training.count % (100 * RECIPE.batch) !== 0) return;
      console.error(seed, dtype, `${done}/${total}`, figures?.loss?.toFixed(3));
    },
  });
  const inF32 = await measure(last, "f32");
  return {
    seed,
    dtype,
    perEpoch: history.map(({ loss, validation }) => ({ loss, heldOut: validation!.top1! })),
    seconds: history.reduce((sum, epoch) => sum + epoch.seconds, 0),
    inF32,
    inOwn: dtype === "f32" ? inF32 : await measure(last, dtype),
  };
}

/** Mean and standard error. */
function meanOf(figures: readonly number[]) {
  const mean = figures.reduce((sum, figure) => sum + figure, 0) / figures.length;
  const squares = figures.reduce((sum, figure) => sum + (figure - mean) ** 2, 0);
  if (figures.length < 2) return { mean };
  return { mean, error: Math.sqrt(squares / (figures.length - 1) / figures.length) };
}

/** Top-1 of a precision less that of f32 at the same seed, in points, on both sets and in f32. */
function differences(runs: readonly Run[], dtype: DType) {
  const pairs = runs.filter((run) => run.dtype === dtype).flatMap((run) => {
    const base = runs.find((other) => other.dtype === "f32" && other.seed === run.seed);
    return base ? [{ run, base }] : [];
  });
  const on = (set: "heldOut" | "test") =>
    meanOf(pairs.map(({ run, base }) => 100 * (run.inF32[set].top1 - base.inF32[set].top1)));
  return pairs.length === 0
    ? []
    : [{ dtype, seeds: pairs.length, heldOut: on("heldOut"), test: on("test") }];
}

const start = await startOf(setting.graph);
const startInF32 = await store.once("start", () => measure(start, "f32"));
const cost = { whole: costOf(setting.graph), cut: costOf(start) };
const runs: Run[] = [];

async function writeResult(): Promise<void> {
  await writeExperiment(setting.out, {
    what: "accuracy after fine-tuning in each precision from one cut and compensated network, " +
      "evaluated in f32; differences from f32 in points of top-1",
    ...setting.about,
    heldOut: heldOut.count,
    test: test.count,
    macs: { whole: cost.whole.macs, cut: cost.cut.macs },
    recipe,
    surgery: SURGERY,
    startInF32,
    runs,
    differences: dtypes.filter((dtype) => dtype !== "f32")
      .flatMap((dtype) => differences(runs, dtype)),
  });
}

for (let seed = 1; seed <= Number(args.seeds); seed++) {
  for (const dtype of dtypes) {
    const run = await store.once(`${dtype} ${seed}`, () => runOf(start, seed, dtype));
    runs.push(run);
    const { heldOut, test } = run.inF32;
    console.log(seed, dtype, ...run.perEpoch.map((epoch) => epoch.heldOut), heldOut.top1, test);
    await writeResult();
  }
}
