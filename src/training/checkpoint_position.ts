/** Where a training run stands, as its checkpoint has it. */

import { z } from "zod";

const evaluation = z.object({ loss: z.number(), top1: z.number() });

const epochRecord = z.object({
  epoch: z.number().int(),
  /** Mean training loss over the epoch's images. */
  loss: z.number(),
  /** Of its last step. */
  learningRate: z.number(),
  seconds: z.number(),
  validation: evaluation.optional(),
});

export const trainingPosition = z.object({
  /** The next step to do. */
  epoch: z.number().int(),
  step: z.number().int(),
  /** Sums over the current epoch. */
  lossSum: z.number(),
  images: z.number().int(),
  history: z.array(epochRecord),
  best: evaluation.extend({ epoch: z.number().int() }).optional(),
});

/** One finished epoch. */
export type EpochRecord = Readonly<z.infer<typeof epochRecord>>;

/** Where a training run stands. */
export type TrainingPosition = Readonly<z.infer<typeof trainingPosition>>;
