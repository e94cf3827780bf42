/** From options to a graph, where only its layers matter: weights are not needed. */

import type { InputContract } from "../../data/contract.ts";
import type { FileForm } from "../../formats/onnx/file_form.ts";
import type { BehindNotes } from "../../formats/onnx/import/import.ts";
import type { Graph } from "../../graph/graph.ts";
import { createModel } from "../../models/models.ts";
import type { ARCHITECTURE_OPTIONS } from "../options/model.ts";
import type { OptionValues } from "../options/parse.ts";
import type { Console } from "../terminal/console.ts";
import { classesOf, graphOf, isOnnx, readSource } from "./model.ts";

/** A graph, and how pictures become its input where its file says so. */
export interface Architecture {
  readonly graph: Graph;
  readonly contract?: InputContract;
  /** What its file has around it. */
  readonly form?: FileForm;
  /** What of the file lies behind the graph. */
  readonly behind?: BehindNotes;
}

/** The model that options name, with its weights or freshly initialised. Throws as `readSource`. */
export async function architectureOf(
  values: OptionValues<typeof ARCHITECTURE_OPTIONS>,
  console: Pick<Console, "text">,
): Promise<Architecture> {
  const { model, weights, classes, size } = values;
  const given = size === undefined ? {} : { shape: [3, size, size] };
  if (model !== undefined && weights === undefined && !isOnnx(model)) {
    const small = createModel(model, { classes: CIFAR_CLASSES, ...given });
    const usual = small.input.shape[1] < LARGE ? CIFAR_CLASSES : IMAGENET_CLASSES;
    return { graph: createModel(model, { classes: classes ?? usual, ...given }) };
  }
  const source = await readSource(values, console);
  if ("graph" in source) return source;
  const { input: { shape } } = createModel(source.model, { classes: CIFAR_CLASSES, ...given });
  return {
    graph: graphOf(source, {
      classes: classes ?? classesOf(source, shape) ?? CIFAR_CLASSES,
      shape,
    }),
  };
}

/** Classes that models are published for, by the size of their pictures. */
const CIFAR_CLASSES = 10;
const IMAGENET_CLASSES = 1000;
const LARGE = 64;
