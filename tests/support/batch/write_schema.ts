/** Writes docs/jobs.schema.json from the form that job files are checked by; `deno task docs` runs it. */

import { writeFileSync } from "node:fs";
import { JOB_FILE_SCHEMA } from "../../../src/batch/file/schema.ts";

writeFileSync(
  new URL("../../../docs/jobs.schema.json", import.meta.url),
  `${JSON.stringify(JOB_FILE_SCHEMA, null, 2)}\n`,
);
