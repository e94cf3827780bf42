/** Options of `train`. */

import { between, oneOf, positive, text, unlessRefused, whole } from "./values.ts";
import {
  DATA_OPTIONS,
  JSON_OPTION,
  LOSS_OPTIONS,
  MODEL_OPTIONS,
  RUN_OPTIONS,
  TRAINING_OPTIONS,
} from "./shared.ts";

export const TRAIN_OPTIONS = {
  ...MODEL_OPTIONS,
  ...DATA_OPTIONS,
  epochs: {
    schema: whole(1, 100_000).default(30),
    value: "count",
    help: "epochs (default 30)",
  },
  lr: {
    schema: positive(100).optional(),
    value: "rate",
    help: "peak learning rate (default 0.1 for sgd, 0.001 for adamw)",
  },
  optimizer: {
    schema: oneOf("sgd", "adamw").default("sgd"),
    value: "name",
    help: "sgd with Nesterov momentum 0.9 (default) or adamw",
  },
  ...TRAINING_OPTIONS,
  teacher: {
    schema: text("a file").optional(),
    value: "file",
    help: "weights or model to learn from beside the labels, as --weights takes them",
  },
  teacherModel: {
    schema: text("a model's name").optional(),
    value: "name",
    help: "architecture of --teacher, where its file does not say, as --model takes it",
  },
  distill: {
    schema: between(0, 1).optional(),
    value: "share",
    help: "share of the loss taken from --teacher (default 0.9)",
  },
  ...LOSS_OPTIONS,
  augment: {
    schema: unlessRefused(),
    negated: true,
    help: "train on the pictures as they are, without random crops and mirroring",
  },
  ...RUN_OPTIONS,
  ...JSON_OPTION,
} as const;
