/** `train`: a model from pictures, from scratch or from weights. */

import { join } from "node:path";
import { contractMetadata, normalisationOf } from "../data/contract.ts";
import { makeFolder, writeFileAtomic } from "../formats/atomic.ts";
import { writeModel } from "../formats/model_file.ts";
import { formMetadata } from "../formats/onnx/form_metadata.ts";
import type { Graph } from "../graph/graph.ts";
import { createModel } from "../models/models.ts";
import { computeOf } from "../native/loaded_model.ts";
import type { RunOptions } from "../progress.ts";
import { columns, count, percent } from "../report/columns.ts";
import { epochName, epochText, scored, trainingSentences } from "../report/training.ts";
import type { Score } from "../training/checkpoint_position.ts";
import { evaluate, type TimedEvaluation } from "../training/evaluate.ts";
import type { Distillation, TrainOptions, TrainResult } from "../training/options.ts";
import { mixingOf } from "../training/mix.ts";
import { defaultWarmup } from "../training/schedule.ts";
import { train } from "../training/train.ts";
import { type Console, openConsole } from "./terminal/console.ts";
import {
  EMBEDDED_MODEL,
  fitOf,
  graphOf,
  isOnnx,
  type ModelSource,
  readSource,
  requireModelName,
} from "./inputs/model.ts";
import { type OptionValues, parseOptions } from "./options/parse.ts";
import { OutputFolder, warnOfNothing } from "./terminal/output.ts";
import { type InputPlan, planInput } from "./inputs/input_plan.ts";
import { contractOf, openParts, type Pictures } from "./inputs/pictures.ts";
import { openDevice } from "./inputs/device.ts";
import { distillationOf, readTeacher } from "./inputs/teacher.ts";
import { TRAIN_OPTIONS } from "./options/train.ts";

type TrainValues = OptionValues<typeof TRAIN_OPTIONS>;

/** What a run works on. */
interface Loaded extends Pictures {
  readonly graph: Graph;
  readonly source: ModelSource | undefined;
  readonly plan: InputPlan;
  readonly distillation?: Distillation;
}

/** Runs the command with commander's options. */
export async function runTrain(
  raw: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
): Promise<void> {
  const values = parseOptions(TRAIN_OPTIONS, raw);
  const console = openConsole(values.json);
  const options = { signal, onProgress: console.progress.bind(console) };
  try {
    const compute = computeOf({ ...values, device: openDevice(values, console) });
    await using _folder = await OutputFolder.claim(values.out);
    const loaded = await load(values, console, options);
    const { graph, source, plan, training, test } = loaded;
    await makeFolder(values.out);
    const epochs = `epochs: ${values.epochs}, pictures in each: ${count(training.count)}`;
    const checkpoint = join(values.out, "training.safetensors");
    if (values.resume) warnOfNothing(checkpoint, console);
    console.stage("train", `${graph.name}; ${epochs}`);
    const trained = await train(graph, {
      ...options,
      ...compute,
      ...trainingOptions(values, loaded),
      checkpoint,
      onNote: (sentence) => console.warn(sentence),
      onStart: (start) => console.stage("start", `held-out ${scored(start)}`),
      onEpoch: (record) =>
        console.stage(`epoch ${record.epoch} of ${values.epochs}`, epochText(record)),
    });
    console.stage("evaluate", `${count(test.count)} test pictures`);
    const normalisation = normalisationOf(plan.contract);
    const tested = async (tried: Graph) =>
      await evaluate(tried, test, { ...options, normalisation, ...compute });
    const best = await tested(trained.best);
    const last = trained.last.parameters === trained.best.parameters
      ? best
      : await tested(trained.last);
    const metadata = {
      ...contractMetadata(contractOf(plan, training)),
      ...formMetadata(source?.form),
    };
    await writeResults(values.out, trained, { last, best }, metadata, console);
  } finally {
    console.close();
  }
}

function trainingOptions(
  values: TrainValues,
  { training, heldOut, plan, distillation }: Loaded,
): TrainOptions {
  const { epochs, batch, optimizer, lr, warmup, smoothing, augment, seed, resume } = values;
  const { weightDecay, clip, ema } = values;
  return {
    data: training,
    ...(heldOut ? { validation: heldOut } : {}),
    normalisation: normalisationOf(plan.contract),
    epochs,
    batch,
    optimizer: { kind: optimizer, weightDecay },
    learningRate: lr ?? (optimizer === "sgd" ? 0.1 : 0.001),
    warmupEpochs: warmup ?? defaultWarmup(epochs),
    clip,
    probe: true,
    average: ema,
    ...(distillation ? { distillation } : {}),
    smoothing,
    mixing: mixingOf(values),
    augment,
    seed,
    resume,
  };
}

async function load(values: TrainValues, console: Console, options: RunOptions): Promise<Loaded> {
  const { model, weights } = values;
  const bare = weights === undefined && (model === undefined || !isOnnx(model));
  if (bare && model !== undefined) requireModelName(model);
  const source = bare ? undefined : await readSource(values, console);
  const teacher = await readTeacher(values, console);
  // A student that knows no form of pictures yet takes its teacher's.
  const plan = await planInput(values, source?.contract ? source : teacher ?? source, console);
  const pictures = await openParts(values, plan, console, options);
  const fit = fitOf(pictures.training, plan.contract);
  const graph = source
    ? graphOf(source, fit)
    : createModel(values.model ?? EMBEDDED_MODEL, { ...fit, seed: values.seed });
  const distillation = teacher &&
    distillationOf(teacher, values, pictures.training, plan.contract);
  return { graph, source, plan, ...pictures, ...(distillation ? { distillation } : {}) };
}

/** On test pictures, which choose nothing. */
interface Tested {
  readonly last: TimedEvaluation;
  readonly best: TimedEvaluation;
}

/** What was measured, a row each. */
function summary({ history, outcome, bestEpoch }: TrainResult, { last, best }: Tested): string[] {
  const row = (
    name: string,
    heldOut: Score | undefined,
    test?: TimedEvaluation,
  ) => [
    name,
    heldOut ? percent(heldOut.top1 ?? NaN) : "-",
    heldOut ? heldOut.loss.toFixed(4) : "-",
    test ? percent(test.top1) : "-",
    test ? test.loss.toFixed(4) : "-",
  ];
  const ended = history.at(-1);
  const trainedOn = ended !== undefined && outcome.diverged === undefined;
  return columns({
    heads: [
      { title: "weights", align: "left" },
      ...["held-out top-1", "loss", "test top-1", "loss"].map((title) => ({ title })),
    ],
    rows: [
      row("start", outcome.start, bestEpoch === 0 ? best : undefined),
      ...(trainedOn ? [row(`last, epoch ${ended.epoch}`, ended.validation, last)] : []),
      ...(outcome.best && bestEpoch > 0
        ? [row(`best, ${epochName(outcome.best, history.length)}`, outcome.best, best)]
        : []),
    ],
  });
}

/** model.safetensors holds the best weights on held-out pictures, the last without held-out. */
async function writeResults(
  folder: string,
  trained: TrainResult,
  tested: Tested,
  metadata: Readonly<Record<string, string>>,
  console: Console,
): Promise<void> {
  const { best, bestEpoch, history, outcome } = trained;
  const model = join(folder, "model.safetensors");
  const record = join(folder, "history.json");
  await writeModel(model, best, metadata);
  const found = { bestEpoch, history, outcome, test: tested.best, testOfLast: tested.last };
  await writeFileAtomic(record, `${JSON.stringify(found, null, 2)}\n`);
  console.result({ ...found, files: [model, record] });
  const { correct, total, top1, loss } = tested.best;
  const which = bestEpoch === 0
    ? `${best.name} as it was before training`
    : `${best.name} after ${epochName({ ...outcome.best, epoch: bestEpoch }, history.length)}`;
  console.text(
    ...summary(trained, tested),
    `${which}: ${count(correct)} of ${count(total)} test pictures right (${percent(top1)}), loss ` +
      `${loss.toFixed(4)}.`,
    ...trainingSentences(history, outcome),
    `Written: ${model}, ${record}`,
  );
}
