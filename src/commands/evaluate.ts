/** `evaluate`: loss and accuracy of a model on a data set. */

import { normalisationOf } from "../data/contract.ts";
import type { PictureSet } from "../data/dataset.ts";
import { SecateurError } from "../errors.ts";
import { computeOf } from "../native/loaded_model.ts";
import type { RunOptions } from "../progress.ts";
import { count, percent } from "../report/columns.ts";
import { evaluate } from "../training/evaluate.ts";
import { type Console, openConsole } from "./terminal/console.ts";
import { openDevice } from "./inputs/device.ts";
import { EVALUATE_OPTIONS } from "./options/model.ts";
import { fitOf, graphOf, readSource } from "./inputs/model.ts";
import { type OptionValues, parseOptions } from "./options/parse.ts";
import { type InputPlan, planInput } from "./inputs/input_plan.ts";
import { isEmbedded, openPictures, splitTraining } from "./inputs/pictures.ts";

/** The pictures asked for. Throws "option-invalid" where none are held out. */
async function openSplit(
  values: OptionValues<typeof EVALUATE_OPTIONS>,
  plan: InputPlan,
  console: Console,
  options: RunOptions,
): Promise<PictureSet> {
  const { holdOut, split = holdOut === undefined ? "test" : "held-out" } = values;
  if (split === "test") return await openPictures(values, "test", plan, console, options);
  const all = await openPictures(values, "train", plan, console, options);
  if (split === "train" && holdOut === undefined) return all;
  const parts = splitTraining(all, holdOut);
  if (split === "train") return parts.training;
  if (parts.heldOut !== undefined) return parts.heldOut;
  throw new SecateurError(
    "option-invalid",
    `Expected pictures of ${all.name} to be held out, but there are none: use --hold-out with at ` +
      `least 1, and data with at least 2 pictures of each class.`,
  );
}

/** Runs the command with commander's options. */
export async function runEvaluate(
  raw: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
): Promise<void> {
  const values = parseOptions(EVALUATE_OPTIONS, raw);
  isEmbedded(values);
  const console: Console = openConsole(values.json);
  const options = { signal, onProgress: console.progress.bind(console) };
  try {
    const compute = computeOf({ ...values, device: openDevice(values, console) });
    const source = await readSource(values, console);
    const plan = await planInput(values, source, console);
    const pictures = await openSplit(values, plan, console, options);
    const graph = graphOf(source, fitOf(pictures, plan.contract));
    const found = await evaluate(graph, pictures, {
      ...options,
      normalisation: normalisationOf(plan.contract),
      batch: values.batch,
      ...compute,
      stage: "evaluate",
    });
    console.result(found);
    console.text(
      `${graph.name} on ${pictures.name}: ${count(found.correct)} of ${count(found.total)} right ` +
        `(top-1 ${percent(found.top1)}, top-5 ${percent(found.top5)}), loss ` +
        `${found.loss.toFixed(4)}; ${found.dtype} on the ${
          found.device === "cpu" ? "CPU" : `GPU (${found.device})`
        }, ` +
        `${found.seconds.toFixed(1)} s.`,
    );
  } finally {
    console.close();
  }
}
