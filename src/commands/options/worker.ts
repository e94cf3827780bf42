/** Options of `worker`. */

import { text, whole } from "./values.ts";

export const QUEUE_OPTION = {
  queue: {
    schema: text("an address such as redis://localhost:6379").optional(),
    value: "address",
    help: "Redis or Valkey that holds the jobs, such as redis://localhost:6379; workers run them",
  },
} as const;

export const WORKER_OPTIONS = {
  ...QUEUE_OPTION,
  atOnce: {
    schema: whole(1, 1024).optional(),
    value: "count",
    help: "jobs at a time (default: one a processor, up to 16)",
  },
} as const;
