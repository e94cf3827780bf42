/** Where a training run stands, as its checkpoint has it. */

import { z } from "zod";

/** Top-1 of classifiers alone. */
const score = z.object({ loss: z.number(), top1: z.number().optional() });

const epochRecord = z.object({
  epoch: z.number().int(),
  /** Mean training loss over the epoch's images. */
  loss: z.number(),
  /** Of its last step. */
  learningRate: z.number(),
  seconds: z.number(),
  validation: score.optional(),
  /** Of the moving average of the weights. */
  averaged: score.optional(),
});

const bestWeights = score.extend({
  /** 0 for the weights that training began with. */
  epoch: z.number().int(),
  /** They are the moving average. */
  averaged: z.boolean().optional(),
});

const divergence = z.object({
  epoch: z.number().int(),
  /** From 1; 0 where the network could no longer be evaluated after the epoch. */
  step: z.number().int(),
  learningRate: z.number(),
});

export const trainingPosition = z.object({
  /** The next step to do. */
  epoch: z.number().int(),
  step: z.number().int(),
  /** Sums over the current epoch. */
  lossSum: z.number(),
  images: z.number().int(),
  history: z.array(epochRecord),
  start: score.optional(),
  best: bestWeights.optional(),
  /** Highest top-1 on validation pictures so far. */
  highest: z.number().optional(),
  /** The start has been scored and the rate tried. */
  begun: z.boolean(),
  /** What the probe left of the learning rate. */
  rateShare: z.number(),
  /** Epochs and warm-up that the schedule was laid out for; more than once where a run was extended. */
  planned: z.array(z.object({ epochs: z.number().int(), warmup: z.number() })),
  diverged: divergence.optional(),
});

/** Loss, and top-1 of a classifier, on validation pictures. */
export type Score = Readonly<z.infer<typeof score>>;

/** One finished epoch. */
export type EpochRecord = Readonly<z.infer<typeof epochRecord>>;

/** Which weights were best on validation pictures, and how they did. */
export type BestWeights = Readonly<z.infer<typeof bestWeights>>;

/** The step at which the loss was no longer finite. */
export type Divergence = Readonly<z.infer<typeof divergence>>;

/** Where a training run stands. */
export type TrainingPosition = Readonly<z.infer<typeof trainingPosition>>;
