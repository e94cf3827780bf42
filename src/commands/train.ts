/** `train`: a model from pictures, from scratch or from weights. */

import { join } from "node:path";
import { contractMetadata, normalisationOf } from "../data/contract.ts";
import { makeFolder, writeFileAtomic } from "../formats/atomic.ts";
import { writeModel } from "../formats/model_file.ts";
import type { Graph } from "../graph/graph.ts";
import { createModel } from "../models/models.ts";
import { loadAddon } from "../native/binding.ts";
import type { RunOptions } from "../progress.ts";
import { activationMetadata } from "../pruning/answer.ts";
import { count, percent } from "../report/columns.ts";
import { evaluate, type TimedEvaluation } from "../training/evaluate.ts";
import { defaultWarmup } from "../training/schedule.ts";
import { train, type TrainResult } from "../training/train.ts";
import { type Console, openConsole } from "./terminal/console.ts";
import {
  EMBEDDED_MODEL,
  fitOf,
  graphOf,
  type ModelSource,
  readSource,
  requireModelName,
} from "./inputs/model.ts";
import { type OptionValues, parseOptions } from "./options/parse.ts";
import { OutputFolder, warnOfNothing } from "./terminal/output.ts";
import {
  contractOf,
  type InputPlan,
  openParts,
  type Pictures,
  planInput,
} from "./inputs/pictures.ts";
import { TRAIN_OPTIONS } from "./options/train.ts";

type TrainValues = OptionValues<typeof TRAIN_OPTIONS>;

/** Runs the command with commander's options. */
export async function runTrain(
  raw: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
): Promise<void> {
  const values = parseOptions(TRAIN_OPTIONS, raw);
  loadAddon();
  await using _folder = await OutputFolder.claim(values.out);
  const console = openConsole(values.json);
  const options = { signal, onProgress: console.progress.bind(console) };
  try {
    const { graph, source, plan, training, heldOut, test } = await load(values, console, options);
    const normalisation = normalisationOf(plan.contract);
    await makeFolder(values.out);
    const epochs = `epochs: ${values.epochs}, pictures in each: ${count(training.count)}`;
    const checkpoint = join(values.out, "training.safetensors");
    if (values.resume) warnOfNothing(checkpoint, console);
    console.stage("train", `${graph.name}; ${epochs}`);
    const trained = await train(graph, {
      ...options,
      data: training,
      ...(heldOut ? { validation: heldOut } : {}),
      normalisation,
      ...trainingOptions(values),
      checkpoint,
    });
    console.stage("evaluate", `${count(test.count)} test pictures`);
    const { dtype, threads } = values;
    const found = await evaluate(trained.best, test, { ...options, normalisation, dtype, threads });
    const metadata = {
      ...contractMetadata(contractOf(plan, training)),
      ...activationMetadata(source?.activation),
    };
    await writeResults(values.out, trained, found, metadata, console);
  } finally {
    console.close();
  }
}

function trainingOptions(values: TrainValues) {
  const { epochs, batch, optimizer, lr, warmup, smoothing, augment, seed, resume } = values;
  const { weightDecay, dtype, threads } = values;
  return {
    epochs,
    batch,
    optimizer: { kind: optimizer, weightDecay },
    learningRate: lr ?? (optimizer === "sgd" ? 0.1 : 0.001),
    warmupEpochs: warmup ?? defaultWarmup(epochs),
    smoothing,
    augment,
    seed,
    resume,
    dtype,
    threads,
  };
}

type Loaded = Pictures & {
  readonly graph: Graph;
  readonly source: ModelSource | undefined;
  readonly plan: InputPlan;
};

async function load(
  values: TrainValues,
  console: Console,
  options: RunOptions,
): Promise<Loaded> {
  if (values.model !== undefined) requireModelName(values.model);
  const source = values.weights === undefined ? undefined : await readSource(values, console);
  const plan = await planInput(values, source, console);
  const pictures = await openParts(values, plan, console, options);
  const fit = fitOf(pictures.training);
  const graph = source
    ? graphOf(source, fit)
    : createModel(values.model ?? EMBEDDED_MODEL, { ...fit, seed: values.seed });
  return { graph, source, plan, ...pictures };
}

/** model.safetensors holds the best epoch by held-out accuracy, the last without held-out. */
async function writeResults(
  folder: string,
  trained: TrainResult,
  test: TimedEvaluation,
  metadata: Readonly<Record<string, string>>,
  console: Console,
): Promise<void> {
  const { best, bestEpoch, history } = trained;
  const model = join(folder, "model.safetensors");
  const record = join(folder, "history.json");
  await writeModel(model, best, metadata);
  await writeFileAtomic(record, `${JSON.stringify({ bestEpoch, history, test }, null, 2)}\n`);
  console.result({ bestEpoch, history, test, files: [model, record] });
  console.text(
    `${best.name} after epoch ${bestEpoch}: ${count(test.correct)} of ${
      count(test.total)
    } test pictures right ` +
      `(${percent(test.top1)}), loss ${test.loss.toFixed(4)}.`,
    `Written: ${model}, ${record}`,
  );
}
