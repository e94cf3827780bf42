/** Whole pruning runs of a small network on small pictures, in a second or two. */

import { expect } from "vitest";
import { pruneOptions } from "../../src/commands/options/prune.ts";
import { normalisations } from "../../src/data/dataset.ts";
import type { Graph } from "../../src/graph/graph.ts";
import type { PruneOptions } from "../../src/pruning/options.ts";
import {
  prune,
  type Pruned,
  type PruneInput,
  type PruneRunOptions,
} from "../../src/pruning/pipeline.ts";
import { train } from "../../src/training/train.ts";
import { smallNetwork, smallPictures } from "./pictures/small.ts";

const PICTURES = {
  training: smallPictures(96),
  heldOut: smallPictures(40, 2),
  test: smallPictures(40, 3),
  normalisation: normalisations.cifar,
};

/** Options of such a run, but for where it writes. */
export const SMALL_OPTIONS: Omit<PruneOptions, "out"> = {
  ...pruneOptions({}, false),
  budget: { kind: "flops", cut: 0.3 },
  rankImages: 16,
  entropyImages: 32,
  calibration: 16,
  pairs: 4,
  epochs: 2,
  warmup: 0.5,
  batch: 16,
  dtype: "f32",
  threads: 2,
};

/** The network, trained for a moment, and its pictures. */
export async function smallInput(): Promise<PruneInput> {
  const { best } = await train(smallNetwork(), {
    data: PICTURES.training,
    normalisation: PICTURES.normalisation,
    epochs: 4,
    batch: 16,
    optimizer: { kind: "sgd", weightDecay: 1e-4 },
    learningRate: 0.1,
    seed: 0,
    dtype: "f32",
  });
  return { graph: best, ...PICTURES };
}

/** A run, the stages that were run and taken, and what was said. */
export interface SmallRun {
  readonly pruned: Pruned;
  readonly ran: readonly string[];
  readonly taken: readonly string[];
  readonly notes: readonly string[];
  /** Epochs that were trained, the pruned model's and the control's. */
  readonly epochs: number;
}

export async function smallRun(
  input: PruneInput,
  options: PruneOptions,
  more: PruneRunOptions = {},
): Promise<SmallRun> {
  const ran: string[] = [], taken: string[] = [], notes: string[] = [];
  let epochs = 0;
  const pruned = await prune(input, options, {
    ...more,
    onStage: (start) => {
      if (!start.awaited) (start.taken ? taken : ran).push(start.stage);
      more.onStage?.(start);
    },
    onNote: (note) => notes.push(note),
    onEpoch: (record) => {
      epochs++;
      more.onEpoch?.(record);
    },
  });
  return { pruned, ran, taken, notes, epochs };
}

/** A graph's weights, to compare. */
export const weightsOf = ({ parameters }: Graph) => [...parameters];

/** The same network and figures; seconds aside. */
export function expectSameRun({ pruned: on }: SmallRun, { pruned: scratch }: SmallRun): void {
  expect(weightsOf(on.graph)).toEqual(weightsOf(scratch.graph));
  expect([...on.measured]).toEqual([...scratch.measured]);
  expect(on.ratios).toEqual(scratch.ratios);
  expect(on.rankings).toEqual(scratch.rankings);
}
