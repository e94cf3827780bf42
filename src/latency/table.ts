/** The times of a model's layers on one machine, as a file. */

import { z } from "zod";
import { reasonOf, SecateurError } from "../errors.ts";
import { writeFileAtomic } from "../formats/atomic.ts";
import { quoted } from "../formats/bytes.ts";
import { readFileBytes } from "../formats/file.ts";
import { CURVE, type Curve } from "./curve.ts";
import { RUNTIMES } from "./runtime.ts";

/** Changes when older tables can no longer be read. */
const FORMAT = 1;

const milliseconds = z.number().positive();
const width = z.number().int().positive();

const TABLE = z.object({
  format: z.literal(FORMAT),
  /** Processor, and instruction sets in use. */
  machine: z.string(),
  runtime: z.enum(RUNTIMES),
  version: z.string(),
  dtype: z.string(),
  batch: width,
  threads: width,
  model: z.string(),
  layers: z.array(z.object({
    name: z.string(),
    /** All but widths; another model's layer of the same name has another. */
    geometry: z.string(),
    inWidth: width,
    outWidth: width,
    /** Its place in `curves`. */
    curve: z.number().int().nonnegative(),
  })).min(1),
  curves: z.array(CURVE),
  /** Milliseconds of a pass are overhead + scale * the sum over layers. */
  overhead: z.number(),
  scale: z.number().positive(),
  /** What that was fitted to: the model at shares of its widths. */
  whole: z.array(z.object({ share: z.number(), layers: milliseconds, measured: milliseconds })),
}).refine(
  ({ layers, curves }) => layers.every(({ curve }) => curve < curves.length),
  "a curve for every layer",
);

export type LatencyTable = Readonly<
  Omit<z.output<typeof TABLE>, "curves"> & { curves: readonly Curve[] }
>;

/** Where in the file an issue lies, such as curves[3].byIn. */
const placeOf = (path: readonly PropertyKey[]): string =>
  path.map((step) => typeof step === "number" ? `[${step}]` : `.${String(step)}`).join("")
    .replace(/^\./, "") || "the whole";

/** A table from a file's text. Throws "format-corrupt" with what is wrong where. */
export function parseTable(text: string, path: string): LatencyTable {
  const advice = "write it anew with `secateur profile` on the machine that will run the model.";
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (thrown) {
    throw new SecateurError(
      "format-corrupt",
      `${path}: expected a table of layer times as JSON, but ${
        quoted(reasonOf(thrown))
      }; ${advice}`,
    );
  }
  const parsed = TABLE.safeParse(content);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new SecateurError(
    "format-corrupt",
    `${path}: expected a table of layer times of format ${FORMAT}, but ${placeOf(issue.path)} is ` +
      `wrong (${issue.message}); ${advice}`,
  );
}

/** Reads a table. Throws "file-missing", "file-unreadable" or "format-corrupt". */
export async function readTable(path: string): Promise<LatencyTable> {
  const bytes = await readFileBytes(path, "a table of layer times");
  return parseTable(new TextDecoder().decode(bytes), path);
}

/** Writes a table, whole or not at all. Throws "file-unwritable". */
export async function writeTable(path: string, table: LatencyTable): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(table, undefined, 1)}\n`);
}
