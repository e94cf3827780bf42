/** Options of `batch`. */

import { flag, text, whole } from "./values.ts";
import { JSON_OPTION } from "./shared.ts";
import { QUEUE_OPTION } from "./worker.ts";

export const BATCH_OPTIONS = {
  dryRun: { schema: flag(), help: "show the jobs and what they share; run nothing" },
  init: { schema: flag(), help: "write a job file with comments to begin from; run nothing" },
  atOnce: {
    schema: whole(1, 1024).optional(),
    value: "count",
    help: "jobs at a time, as memory allows (default: one a processor, up to 16)",
  },
  out: {
    schema: text("a folder").optional(),
    value: "folder",
    help: "where everything is written (default: as the file says, or its name and -results)",
  },
  ...QUEUE_OPTION,
  ...JSON_OPTION,
} as const;
