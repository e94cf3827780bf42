/** What a run is after: how a model is judged on pictures, and by what loss it is trained. */

import type { Normalisation, PictureSet } from "../data/dataset.ts";
import type { Graph } from "../graph/graph.ts";
import type { ComputeOptions } from "../native/loaded_model.ts";
import type { RunOptions } from "../progress.ts";
import { evaluate, requireFit, requirePictures } from "../training/evaluate.ts";
import type { Figures } from "./figures.ts";
import { evaluateMatch, type Matching } from "./matching.ts";

export const OBJECTIVES = ["classify", "match"] as const;
export type ObjectiveName = typeof OBJECTIVES[number];

export interface JudgeOptions extends RunOptions, ComputeOptions {
  readonly normalisation: Normalisation;
  /** Name of the stage in progress reports. */
  readonly stage?: string;
}

export interface Objective {
  readonly name: ObjectiveName;
  /** Throws "data-mismatch" where pictures are not what the model takes and the objective needs. */
  requireFit(graph: Graph, pictures: PictureSet, normalisation: Normalisation): void;
  /** How a model does on pictures; choices go by its loss. */
  judge(
    graph: Graph,
    pictures: PictureSet,
    options: JudgeOptions,
  ): Promise<Figures & { readonly seconds: number }>;
  /** What training matches outputs to, in place of labels. */
  readonly matching?: Matching;
}

/** Classes: cross entropy against labels, and how many answers are right. */
export const classify: Objective = {
  name: "classify",
  requireFit,
  judge: async (graph, pictures, options) => {
    const { loss, top1, top5, correct, total, seconds } = await evaluate(graph, pictures, options);
    return { loss, top1, top5, correct, total, seconds };
  },
};

/** The original's outputs, whatever they mean. */
export const match = (matching: Matching): Objective => ({
  name: "match",
  matching,
  requireFit: requirePictures,
  judge: async (graph, pictures, options) => {
    requirePictures(graph, pictures, options.normalisation);
    return await evaluateMatch(graph, matching, pictures, options);
  },
});
