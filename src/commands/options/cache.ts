/** Options of `cache`. */

import { byteSize, flag, positive, text } from "./values.ts";
import { JSON_OPTION } from "./shared.ts";

export const CACHE_OPTIONS = {
  verify: { schema: flag(), help: "read everything and say what is damaged" },
  prune: {
    schema: flag(),
    help: "remove what is damaged, and what another version of secateur made",
  },
  unusedFor: {
    schema: positive(36_500).optional(),
    value: "days",
    help: "remove also what no run has used for so many days",
  },
  largest: {
    schema: byteSize().optional(),
    value: "size",
    help: "remove also the longest unused until no more than this is left, such as 2GB",
  },
  all: { schema: flag(), help: "remove everything" },
  folder: {
    schema: text("a folder").optional(),
    value: "folder",
    help: "where finished stages are (default: SECATEUR_ARTEFACTS, or stages in the cache folder)",
  },
  ...JSON_OPTION,
} as const;
