/** `evaluate`: loss and accuracy of a model on a data set. */

import { normalisationOf } from "../data/contract.ts";
import { loadAddon } from "../native/binding.ts";
import { count, percent } from "../report/columns.ts";
import { evaluate } from "../training/evaluate.ts";
import { type Console, openConsole } from "./terminal/console.ts";
import { EVALUATE_OPTIONS } from "./options/model.ts";
import { fitOf, graphOf, readSource } from "./inputs/model.ts";
import { parseOptions } from "./options/parse.ts";
import { isEmbedded, openPictures, planInput } from "./inputs/pictures.ts";

/** Runs the command with commander's options. */
export async function runEvaluate(
  raw: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
): Promise<void> {
  const values = parseOptions(EVALUATE_OPTIONS, raw);
  isEmbedded(values);
  loadAddon();
  const console: Console = openConsole(values.json);
  const options = { signal, onProgress: console.progress.bind(console) };
  try {
    const source = await readSource(values, console);
    const plan = await planInput(values, source, console);
    const pictures = await openPictures(values, values.split, plan, console, options);
    const graph = graphOf(source, fitOf(pictures));
    const { batch, dtype, threads } = values;
    const found = await evaluate(graph, pictures, {
      ...options,
      normalisation: normalisationOf(plan.contract),
      batch,
      dtype,
      threads,
      stage: "evaluate",
    });
    console.result(found);
    console.text(
      `${graph.name} on ${pictures.name}: ${count(found.correct)} of ${count(found.total)} right ` +
        `(top-1 ${percent(found.top1)}, top-5 ${percent(found.top5)}), loss ` +
        `${found.loss.toFixed(4)}; ${found.dtype} on the ${found.device.toUpperCase()}, ` +
        `${found.seconds.toFixed(1)} s.`,
    );
  } finally {
    console.close();
  }
}
