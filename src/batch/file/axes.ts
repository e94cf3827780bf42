/** What a value of an axis stands for: a name in jobs' names, and options. */

import { closestString } from "../../std.ts";
import { quoted } from "../../formats/bytes.ts";
import type { JobOptions, JobValue } from "./job_options.ts";
import type { Axis } from "./schema.ts";

/** The embedded model and its pictures: no options. */
const EMBEDDED = "default";

export type Templates = Readonly<Record<string, JobOptions>>;

/** An axis's value as it stands in a file. */
export type Given =
  | string
  | number
  | (JobOptions & { readonly name?: string; readonly use?: string | readonly string[] });

/** A value of an axis: its name, and what it asks of prune. */
export interface AxisValue {
  readonly name: string;
  /** The value as the file has it, where it is text or a number. */
  readonly text?: string;
  readonly options: JobOptions;
}

/** Text as a part of a file's name. */
export const fileSafe = (text: string): string =>
  text.replaceAll(/[^A-Za-z0-9.+_-]+/g, "-").replaceAll(/^-+|-+$/g, "").slice(0, 64);

/** Options of templates, in their order. Throws a sentence's end for one that there is not. */
export function templateOptions(
  use: string | readonly string[] | undefined,
  templates: Templates,
): JobOptions {
  const names = use === undefined ? [] : [use].flat();
  return Object.assign(
    {},
    ...names.map((name) => {
      if (Object.hasOwn(templates, name)) return templates[name];
      throw new AxisError(`expected ${templateNames(templates)}, got ${quoted(name)}`);
    }),
  );
}

/** What a value should have been. */
export class AxisError extends Error {
  override readonly name = "AxisError";
}

function templateNames(templates: Templates): string {
  const names = Object.keys(templates);
  return names.length === 0
    ? "a template, of which there are none"
    : `a template (${names.join(", ")})`;
}

const BUDGETS: Readonly<Record<string, string>> = {
  flops: "cut-flops",
  params: "cut-params",
  latency: "cut-latency",
};

/** "flops 45.5%" as an option. */
function budgetOf(text: string): AxisValue {
  const found = /^(\w+)\s+(\S+)$/.exec(text.trim());
  const option = BUDGETS[found?.[1] ?? ""];
  const share = found?.[2] ?? "";
  const value = share.endsWith("%") ? Number(share.slice(0, -1)) / 100 : Number(share);
  if (option === undefined || !(value > 0 && value < 1)) {
    throw new AxisError(
      `expected a budget such as "flops 45.5%", "params 35%" or "latency 30%", got ${quoted(text)}`,
    );
  }
  return {
    name: fileSafe(`${found![1]}${share.replace("%", "")}`),
    text,
    options: { [option]: share },
  };
}

function modelOf(text: string, templates: Templates): AxisValue {
  if (Object.hasOwn(templates, text)) return { name: text, text, options: templates[text] };
  if (text === EMBEDDED) return { name: text, text, options: {} };
  const names = [EMBEDDED, ...Object.keys(templates)];
  throw new AxisError(
    `expected the name of a template with the model's options, or ${EMBEDDED}, got ${
      quoted(text)
    }; there are ${names.join(", ")}, of which ${closestString(text, names)} is nearest`,
  );
}

function dataOf(text: string, templates: Templates): AxisValue {
  if (Object.hasOwn(templates, text)) return { name: text, text, options: templates[text] };
  const last = text.replace(/\/+$/, "").split(/[/:]/).at(-1)!;
  return { name: fileSafe(last) || "data", text, options: { data: text } };
}

/** The budget that options name, as names of jobs have it. */
function budgetName(options: JobOptions): string | undefined {
  for (const [name, option] of Object.entries(BUDGETS)) {
    if (options[option] !== undefined) {
      return fileSafe(`${name}${options[option]}`.replace("%", ""));
    }
  }
  return undefined;
}

function namedOptions(
  axis: Axis,
  { name, use, ...own }: Exclude<Given, string | number>,
  templates: Templates,
): AxisValue {
  const options = { ...templateOptions(use, templates), ...own as JobOptions };
  if (axis === "budget" && budgetName(options) === undefined) {
    throw new AxisError(`expected one of ${Object.values(BUDGETS).join(", ")} in a budget`);
  }
  const main: JobValue | undefined = options[axis] ?? options.weights;
  const found = name ?? (typeof use === "string" ? use : undefined) ??
    (axis === "budget" ? budgetName(options) : undefined) ??
    (main === undefined ? undefined : fileSafe(String(main).split(/[/:]/).at(-1)!));
  if (found !== undefined && found !== "") return { name: found, options };
  throw new AxisError("expected a name beside these options, which say none themselves");
}

/** What a value of an axis means. Throws AxisError. */
export function axisValue(axis: Axis, given: Given, templates: Templates): AxisValue {
  if (typeof given === "object") return namedOptions(axis, given, templates);
  const text = String(given);
  if (axis === "model") return modelOf(text, templates);
  if (axis === "data") return dataOf(text, templates);
  if (axis === "budget") return budgetOf(text);
  const name = axis === "seed" ? `s${text}` : text;
  return { name, text, options: { [axis]: given } };
}
