/** Options of the commands that look at a model without changing it. */

import { RUNTIMES } from "../../latency/runtime.ts";
import { oneOf, side, text, whole } from "./values.ts";
import {
  COMPUTE_OPTIONS,
  DATA_OPTIONS,
  DEVICE_OPTION,
  HOLD_OUT_OPTION,
  JSON_OPTION,
  MODEL_OPTIONS,
} from "./shared.ts";

export const EVALUATE_OPTIONS = {
  ...MODEL_OPTIONS,
  ...DATA_OPTIONS,
  split: {
    schema: oneOf("test", "train", "held-out").optional(),
    value: "name",
    help:
      "test (default); train; or held-out, the training pictures that prune and train hold out, " +
      "which --hold-out alone means too (beside it, train is what they leave)",
  },
  ...HOLD_OUT_OPTION,
  batch: {
    schema: whole(1, 65536).default(256),
    value: "images",
    help: "pictures per pass (default 256)",
  },
  ...COMPUTE_OPTIONS,
  ...DEVICE_OPTION,
  ...JSON_OPTION,
} as const;

/** Which architecture. */
export const ARCHITECTURE_OPTIONS = {
  ...MODEL_OPTIONS,
  classes: {
    schema: whole(1, 1_000_000).optional(),
    value: "count",
    help: "classes of --model without --weights (default 10, or 1000 for ImageNet's models)",
  },
  size: {
    schema: side().optional(),
    value: "pixels",
    help: "height and width of the pictures --model takes (default the model's own)",
  },
} as const;

export const INSPECT_OPTIONS = { ...ARCHITECTURE_OPTIONS, ...JSON_OPTION } as const;

export const PROFILE_OPTIONS = {
  ...ARCHITECTURE_OPTIONS,
  runtime: {
    schema: oneOf(...RUNTIMES).default("secateur"),
    value: "name",
    help: `what will run the model: ${RUNTIMES.join(" or ")} (default secateur)`,
  },
  batch: {
    schema: whole(1, 65536).default(1),
    value: "images",
    help: "pictures per pass (default 1)",
  },
  roundTo: {
    schema: whole(1, 1024).default(1),
    value: "count",
    help: "time multiples of this many channels (default 1)",
  },
  out: {
    schema: text("a file").default("latency.json"),
    value: "file",
    help: "where the table is written (default latency.json)",
  },
  ...COMPUTE_OPTIONS,
  ...JSON_OPTION,
} as const;
