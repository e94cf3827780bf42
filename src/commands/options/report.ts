/** Options of `report`. */

import { text } from "./values.ts";
import { JSON_OPTION } from "./shared.ts";

export const REPORT_OPTIONS = {
  out: {
    schema: text("a folder").optional(),
    value: "folder",
    help: "where runs.html, runs.csv and runs.json are written (default: the first folder)",
  },
  ...JSON_OPTION,
} as const;
