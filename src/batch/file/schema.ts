/**
 * The form of job files as JSON Schema (draft 2020-12): what docs/jobs.schema.json publishes for
 * editors, and what files are checked by.
 */

import { JOB_OPTIONS, type JobOption, wordsOf } from "./job_options.ts";

/** Number of the form; it grows when files would have to change. */
export const JOB_FILE_VERSION = 1;

/** What varies in a matrix, in the order of jobs' names. */
export const AXES = ["model", "data", "budget", "criterion", "ratios", "seed"] as const;
export type Axis = typeof AXES[number];

type Schema = Readonly<Record<string, unknown>>;

function optionSchema({ spec, takes }: JobOption): Schema {
  const description = spec.help;
  if (takes === "flag") return { description, type: "boolean" };
  const words = wordsOf(spec);
  if (words !== undefined) return { description, type: "string", enum: words };
  if (takes === "value") return { description, type: ["string", "number"] };
  const items = { type: ["string", "number"] };
  return { description, type: ["string", "array"], items };
}

const OPTION_SCHEMAS: Readonly<Record<string, Schema>> = Object.fromEntries(
  [...JOB_OPTIONS].map(([name, option]) => [name, optionSchema(option)]),
);

const USE: Schema = {
  description: "names of templates whose options come first",
  type: ["string", "array"],
  items: { type: "string" },
};

const NAME: Schema = {
  description: "what jobs are called by",
  type: "string",
  pattern: "^[A-Za-z0-9][\\w.+-]{0,63}$",
};

/** What stands in several places. */
const DEFINITIONS: Readonly<Record<"options" | "named", Schema>> = {
  options: { type: "object", properties: OPTION_SCHEMAS, additionalProperties: false },
  named: {
    type: ["string", "object"],
    minProperties: 1,
    properties: { name: NAME, use: USE, ...OPTION_SCHEMAS },
    additionalProperties: false,
  },
};

/** Options, by the names that prune gives them. */
const options = (description: string): Schema => ({ description, $ref: "#/$defs/options" });

/** A value of an axis: text, or options and perhaps a name. */
const named = (text: string): Schema => ({
  description: `${text}; or options, perhaps with a name`,
  $ref: "#/$defs/named",
});

const AXIS_VALUES: Readonly<Record<Axis, Schema>> = {
  model: named("a template's name, or default for the embedded model"),
  data: named("a template's name or a data set, such as cifar10:FOLDER"),
  budget: named('such as "flops 45.5%", "params 35%" or "latency 30%"'),
  criterion: OPTION_SCHEMAS.criterion,
  ratios: OPTION_SCHEMAS.ratios,
  seed: { description: OPTION_SCHEMAS.seed.description, type: "integer", minimum: 0 },
};

const eachAxis = (schema: (axis: Axis) => Schema) =>
  Object.fromEntries(AXES.map((axis) => [axis, schema(axis)]));

const SCALAR: Schema = { type: ["string", "number"] };

export const JOB_FILE_SCHEMA: Schema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "secateur jobs",
  description: "Pruning runs for secateur batch",
  type: "object",
  required: ["version"],
  additionalProperties: false,
  $defs: DEFINITIONS,
  properties: {
    $schema: { type: "string" },
    version: { description: "number of this form", const: JOB_FILE_VERSION },
    out: {
      description: "folder of everything written, from this file",
      type: "string",
      minLength: 1,
    },
    defaults: options("options of every job"),
    templates: {
      description: "options by a name that models, data, budgets and jobs use",
      type: "object",
      propertyNames: { pattern: NAME.pattern },
      additionalProperties: options("options"),
    },
    matrix: {
      description: "every combination of these is a job",
      type: "object",
      additionalProperties: false,
      minProperties: 1,
      properties: eachAxis((axis) => ({
        type: "array",
        minItems: 1,
        items: AXIS_VALUES[axis],
      })),
    },
    exclude: {
      description: "combinations of the matrix that are no job: values, or lists of them",
      type: "array",
      items: {
        type: "object",
        minProperties: 1,
        additionalProperties: false,
        properties: eachAxis(() => ({ type: ["string", "number", "array"], items: SCALAR })),
      },
    },
    include: {
      description: "jobs beside the matrix",
      type: "array",
      items: {
        type: "object",
        minProperties: 1,
        additionalProperties: false,
        properties: {
          name: NAME,
          use: USE,
          ...eachAxis((axis) => AXIS_VALUES[axis]),
          options: options("options of this job alone"),
        },
      },
    },
  },
};
