/** Whether a file's data has the form of job files, in sentences where it has not. */

import Ajv, { type ErrorObject } from "ajv/dist/2020.js";
import { quoted } from "../../formats/bytes.ts";
import { closestString } from "../../std.ts";
import { JOB_OPTIONS, type JobOption, type JobValue, refusal } from "./job_options.ts";
import { type Mistake, type Path, pathText } from "./located.ts";
import { JOB_FILE_SCHEMA } from "./schema.ts";

type Check = ((data: unknown) => boolean) & { errors?: ErrorObject[] | null };
let compiled: Check | undefined;

function structureCheck(): Check {
  const Constructor = Ajv as unknown as new (options: object) => { compile(schema: object): Check };
  return compiled ??= new Constructor({
    allErrors: true,
    allowUnionTypes: true,
    strictTypes: false,
    verbose: true,
  }).compile(JOB_FILE_SCHEMA);
}

function pathOf(data: unknown, pointer: string): Path {
  let at = data;
  return pointer.split("/").slice(1).map((escaped) => {
    const step = escaped.replaceAll("~1", "/").replaceAll("~0", "~");
    const key = Array.isArray(at) ? Number(step) : step;
    at = (at as Record<string | number, unknown>)[key];
    return key;
  });
}

const TYPES: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  integer: "a whole number",
  boolean: "true or false",
  object: "a table of names and values",
  array: "a list",
};

const typesInWords = (types: string | readonly string[]): string =>
  [types].flat().map((type) => TYPES[type]).join(" or ");

function shown(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  if (typeof value === "object") {
    return Object.keys(value).length === 0 ? "an empty table" : "a table";
  }
  return typeof value === "string" ? quoted(value) : String(value);
}

/** Keys that the batch itself sets, and what does their work. */
const OWN: Readonly<Record<string, string>> = {
  out: "jobs write to folders of the batch's own, below its out",
  resume: "a batch goes on by itself",
  json: "it is an option of batch",
};

function unknownKey(path: Path, { params, parentSchema }: ErrorObject): Mistake {
  const name = String(params.additionalProperty);
  const known = Object.keys((parentSchema as { properties?: object }).properties ?? {});
  const inner: Path = [...path, name];
  const reason = known.includes("cut-flops") ? OWN[name] : undefined;
  const advice = reason ?? `did you mean ${closestString(name, known)}?`.replace(/\?$/, "");
  const what = known.includes("cut-flops") ? "an option of prune" : `one of ${known.join(", ")}`;
  return { path: inner, key: true, sentence: `expected ${what}, got ${quoted(name)}; ${advice}` };
}

/** A validator's finding as a mistake. */
function mistakeOf(data: unknown, error: ErrorObject): Mistake {
  const path = pathOf(data, error.instancePath);
  const { keyword, params, data: got } = error;
  const mistake = (expected: string): Mistake => ({
    path,
    sentence: `expected ${expected}, got ${shown(got)}`,
  });
  switch (keyword) {
    case "additionalProperties":
      return unknownKey(path, error);
    case "type":
      return mistake(typesInWords(params.type));
    case "enum":
      return mistake(`one of ${params.allowedValues.join(", ")}`);
    case "const":
      return mistake(String(params.allowedValue));
    case "required":
      return {
        path,
        sentence: `expected ${params.missingProperty}, which says what form the file has: ` +
          `add "${params.missingProperty}: 1"`,
      };
    case "minItems":
      return mistake("at least one value");
    case "minProperties":
      return mistake("at least one name and value");
    case "minimum":
      return mistake(`a whole number from ${params.limit}`);
    case "pattern":
    case "propertyNames":
      return {
        path,
        key: true,
        sentence: `expected a name of letters, digits and . _ + -, got ${
          quoted(String(params.propertyName ?? error.propertyName ?? got))
        }`,
      };
    default:
      return { path, sentence: error.message ?? keyword };
  }
}

/** Options whose values prune would refuse, anywhere below; `option` is whose value `data` is. */
function valueMistakes(data: unknown, path: Path, option?: JobOption): Mistake[] {
  if (path[0] === "exclude") return [];
  const list = Array.isArray(data);
  if (typeof data !== "object" || data === null || (list && option?.takes === "list")) {
    const expected = option && refusal(option, data as JobValue);
    return expected === undefined
      ? []
      : [{ path, sentence: `expected ${expected}, got ${shown(data)}` }];
  }
  if (list) return data.flatMap((each, index) => valueMistakes(each, [...path, index], option));
  return Object.entries(data).flatMap(([name, value]) =>
    valueMistakes(
      value,
      [...path, name],
      isOwnForm(path, name) ? undefined : JOB_OPTIONS.get(name),
    )
  );
}

/** Places at which model, data and budget have a form of their own. */
function isOwnForm(path: Path, name: string): boolean {
  const place = pathText(path);
  return ["model", "data", "budget"].includes(name) &&
    (place === "matrix" || /^include\[\d+\]$/.test(place));
}

/** All that is wrong with the form of a file's data. */
export function formMistakes(data: unknown): Mistake[] {
  const check = structureCheck();
  if (!check(data)) {
    const told = new Set<string>();
    // A name that fails its pattern is told by both keywords.
    return check.errors!.map((error) => mistakeOf(data, error)).filter((mistake) => {
      const place = pathText(mistake.path);
      if (told.has(place)) return false;
      told.add(place);
      return true;
    });
  }
  return valueMistakes(data, []);
}
