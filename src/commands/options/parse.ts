/** One table per command says what its options are called, take and mean; help and parsing follow. */

import { Command, Option } from "commander";
import { z } from "zod";
import { SecateurError } from "../../errors.ts";
import { quoted } from "../../formats/bytes.ts";
import { toKebabCase } from "../../std.ts";

/** One option; its name is its key in the table, "cutFlops" for --cut-flops. */
export interface OptionSpec<Schema extends z.ZodType = z.ZodType> {
  /** Checks and converts the text; carries the default. */
  readonly schema: Schema;
  readonly help: string;
  /** What stands for the value in help; none for options without one. */
  readonly value?: string;
  /** The option may be given several times; its schema takes a list. */
  readonly repeatable?: boolean;
  /** The option is spelt --no-name and turns the value off. */
  readonly negated?: boolean;
}

export type OptionTable = Readonly<Record<string, OptionSpec>>;

/** What a table's options parse to. */
export type OptionValues<Table extends OptionTable> = {
  readonly [Name in keyof Table]: z.output<Table[Name]["schema"]>;
};

/** "cutFlops" -> "--cut-flops". */
export function longFlag(name: string): string {
  return `--${toKebabCase(name)}`;
}

/** Declares a table's options to commander; values stay text until `parseOptions`. */
export function declareOptions(command: Command, table: OptionTable): Command {
  for (const [name, { help, value, negated, repeatable }] of Object.entries(table)) {
    const flag = negated ? longFlag(name).replace("--", "--no-") : longFlag(name);
    const option = new Option(value === undefined ? flag : `${flag} <${value}>`, help);
    if (repeatable) {
      option.argParser((text: string, given: readonly string[] = []) => [...given, text]);
    }
    command.addOption(option);
  }
  return command;
}

/** Making a schema takes far longer than parsing by it, and a batch parses thousands of times. */
const schemas = new WeakMap<OptionTable, z.ZodType>();

function schemaOf(table: OptionTable): z.ZodType {
  const known = schemas.get(table);
  if (known !== undefined) return known;
  const made = z.object(
    Object.fromEntries(Object.entries(table).map(([name, { schema }]) => [name, schema])),
  );
  schemas.set(table, made);
  return made;
}

/**
 * Checks and converts what commander collected. Throws "option-invalid" with one sentence for the
 * first option that is not what it should be.
 */
export function parseOptions<Table extends OptionTable>(
  table: Table,
  raw: Readonly<Record<string, unknown>>,
): OptionValues<Table> {
  const parsed = schemaOf(table).safeParse(raw);
  if (parsed.success) return parsed.data as OptionValues<Table>;
  const [issue] = parsed.error.issues;
  const [name, place] = issue.path.map(String);
  const given = raw[name];
  const got = Array.isArray(given) && place !== undefined ? given[Number(place)] : given;
  throw new SecateurError(
    "option-invalid",
    `Expected ${longFlag(name)} to be ${issue.message}, got ${quoted(String(got))}.`,
  );
}
