/** Options of `prune` as job files give them: without dashes, as text, numbers, switches or lists. */

import type { z } from "zod";
import { longFlag, type OptionSpec } from "../../commands/options/parse.ts";
import { PRUNE_OPTIONS } from "../../commands/options/prune.ts";
import { toKebabCase } from "../../std.ts";

/** What the batch says for its jobs. */
const OWN: ReadonlySet<string> = new Set(["out", "resume", "json"]);

export type JobValue = string | number | boolean | readonly (string | number)[];
/** By name without dashes, "cut-flops". */
export type JobOptions = Readonly<Record<string, JobValue>>;

/** An option of a job: as `prune` declares it, and its name there. */
export interface JobOption {
  readonly key: string;
  readonly spec: OptionSpec;
  /** flag: true or false; list: one or several; value: one. */
  readonly takes: "flag" | "list" | "value";
}

const takesOf = ({ value, repeatable }: OptionSpec): JobOption["takes"] =>
  value === undefined ? "flag" : repeatable ? "list" : "value";

/** Options that job files may give, by name. */
export const JOB_OPTIONS: ReadonlyMap<string, JobOption> = new Map(
  Object.entries<OptionSpec>(PRUNE_OPTIONS).filter(([key]) => !OWN.has(key))
    .map(([key, spec]) => [toKebabCase(key), { key, spec, takes: takesOf(spec) }]),
);

/** The words that an option chooses from, where it does. */
export function wordsOf({ schema }: OptionSpec): readonly string[] | undefined {
  let inner = schema;
  while ("innerType" in inner._zod.def) {
    inner = (inner._zod.def as unknown as { innerType: z.ZodType }).innerType;
  }
  return "options" in inner && inner._zod.def.type === "enum"
    ? inner.options as string[]
    : undefined;
}

/** What an option takes where that is not what it was given, in words; undefined where it is. */
export function refusal({ spec, takes }: JobOption, value: JobValue): string | undefined {
  if (takes === "flag") return typeof value === "boolean" ? undefined : "true or false";
  const given = takes === "list"
    ? (Array.isArray(value) ? value : [value]).map(String)
    : String(value);
  const parsed = spec.schema.safeParse(given);
  return parsed.success ? undefined : parsed.error.issues[0].message;
}

/** The command line's arguments for options. */
export function argumentsOf(options: JobOptions): string[] {
  return Object.entries(options).flatMap(([name, value]) => {
    const { key, spec, takes } = JOB_OPTIONS.get(name)!;
    if (takes === "flag") {
      const asks = spec.negated ? value === false : value === true;
      return asks ? [longFlag(spec.negated ? `no-${name}` : key)] : [];
    }
    const values = Array.isArray(value) ? value : [value];
    return values.flatMap((each) => [longFlag(key), String(each)]);
  });
}

/** The same as commander collects it. */
export function rawOf(options: JobOptions): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(options).map(([name, value]) => {
      const { key, takes } = JOB_OPTIONS.get(name)!;
      if (takes === "flag") return [key, value];
      if (takes === "list") return [key, (Array.isArray(value) ? value : [value]).map(String)];
      return [key, String(value)];
    }),
  );
}
