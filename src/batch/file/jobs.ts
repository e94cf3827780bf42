/** From a job file to its jobs. */

import { readFile } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import { SecateurError } from "../../errors.ts";
import { isEmbedded } from "../../commands/inputs/pictures.ts";
import { DATA_OPTIONS, MODEL_OPTIONS } from "../../commands/options/shared.ts";
import { parseOptions } from "../../commands/options/parse.ts";
import { pruneOptions } from "../../commands/options/prune.ts";
import { quoted } from "../../formats/bytes.ts";
import { readFileBytes } from "../../formats/file.ts";
import type { PruneOptions } from "../../pruning/options.ts";
import {
  AxisError,
  type AxisValue,
  axisValue,
  type Given,
  templateOptions,
  type Templates,
} from "./axes.ts";
import { formMistakes } from "./check.ts";
import { argumentsOf, type JobOptions, rawOf } from "./job_options.ts";
import { LocatedFile, type Mistake, type Path } from "./located.ts";
import { AXES, type Axis } from "./schema.ts";

/** One pruning run of a batch. */
export interface Job {
  /** Of letters that files' names may have; no two jobs share one. */
  readonly name: string;
  /** Names of its values on the axes that it has one on. */
  readonly axes: Readonly<Partial<Record<Axis, string>>>;
  readonly options: JobOptions;
  /** Arguments of `prune`. */
  readonly arguments: readonly string[];
  /** Options as prune will take them; `out` and `resume` are not the job's. */
  readonly prune: PruneOptions;
}

export interface JobFile {
  readonly jobs: readonly Job[];
  /** Absolute: what relative paths in the file start from, and where results go. */
  readonly folder: string;
  readonly out: string;
}

/** The file's data, once its form is checked. */
interface Content {
  readonly out?: string;
  readonly defaults?: JobOptions;
  readonly templates?: Templates;
  readonly matrix?: Readonly<Partial<Record<Axis, readonly Given[]>>>;
  readonly exclude?: readonly Exclusion[];
  readonly include?: readonly Inclusion[];
}
type Scalar = string | number;
type Exclusion = Readonly<Partial<Record<Axis, Scalar | readonly Scalar[]>>>;
type Inclusion = Readonly<Partial<Record<Axis, Given>>> & {
  readonly name?: string;
  readonly use?: string | readonly string[];
  readonly options?: JobOptions;
};

const SOURCE_TABLE = { ...MODEL_OPTIONS, ...DATA_OPTIONS } as const;

/** More would be a slip: a sweep of years. */
const MOST_JOBS = 100_000;

/** Several mistakes, each with its place. */
export class JobFileError extends AggregateError {
  override readonly name = "JobFileError";
  declare readonly errors: SecateurError[];
}

/** Builds jobs and gathers what is wrong on the way. */
class Expansion {
  readonly mistakes: Mistake[] = [];
  readonly jobs: Job[] = [];
  readonly #content: Content;
  readonly #places = new Map<string, Path>();

  constructor(content: Content) {
    this.#content = content;
    this.#matrix();
    content.include?.forEach((each, index) => this.#inclusion(each, ["include", index]));
    if (this.jobs.length > 0 || this.mistakes.length > 0) return;
    const [path, what]: [Path, string] = content.matrix
      ? [["exclude"], "exclude leaves none of the matrix's"]
      : [[], "there is neither a matrix nor an include"];
    this.mistakes.push({ path, sentence: `expected at least one job, but ${what}` });
  }

  get #templates(): Templates {
    return this.#content.templates ?? {};
  }

  /** What `work` returns, or undefined and a mistake at `path`. */
  #attempt<T>(path: Path, work: () => T): T | undefined {
    try {
      return work();
    } catch (thrown) {
      if (!(thrown instanceof AxisError)) throw thrown;
      this.mistakes.push({ path, sentence: thrown.message });
      return undefined;
    }
  }

  #matrix(): void {
    const { matrix, exclude = [] } = this.#content;
    if (matrix === undefined) return;
    const axes = AXES.filter((axis) => matrix[axis] !== undefined);
    const values = axes.map((axis) =>
      matrix[axis]!.map((given, index) =>
        this.#attempt(
          ["matrix", axis, index],
          () => axisValue(axis, given, this.#templates),
        )
      ).filter((value) => value !== undefined)
    );
    const count = values.reduce((product, each) => product * each.length, 1);
    if (count > MOST_JOBS) {
      const sentence = `expected at most ${MOST_JOBS} jobs, got ${count}`;
      this.mistakes.push({ path: ["matrix"], sentence });
      return;
    }
    this.#checkExclusions(axes, values);
    if (this.mistakes.length > 0) return;
    for (const combination of product(values)) {
      const chosen = new Map(axes.map((axis, index) => [axis, combination[index]]));
      if (exclude.some((exclusion) => excludes(exclusion, chosen))) continue;
      this.#add(chosen, {}, ["matrix"]);
    }
  }

  /** Every excluded value must be one of the matrix, or a slip would exclude nothing. */
  #checkExclusions(axes: readonly Axis[], values: readonly (readonly AxisValue[])[]): void {
    this.#content.exclude?.forEach((exclusion, index) => {
      for (const [axis, wanted] of Object.entries(exclusion)) {
        const known = values[axes.indexOf(axis as Axis)] ?? [];
        for (const each of [wanted].flat()) {
          if (known.some((value) => isValue(value, each as Scalar))) continue;
          const names = known.map(({ text, name }) => text ?? name).join(", ");
          this.mistakes.push({
            path: ["exclude", index, axis],
            sentence: known.length === 0
              ? `expected an axis of the matrix, which has no ${axis}`
              : `expected a value of matrix.${axis} (${names}), got ${quoted(String(each))}`,
          });
        }
      }
    });
  }

  #inclusion(inclusion: Inclusion, path: Path): void {
    const { name, use, options: own = {} } = inclusion;
    const before = this.mistakes.length;
    const chosen = new Map<Axis, AxisValue>();
    for (const axis of AXES) {
      const given = inclusion[axis];
      if (given === undefined) continue;
      const found = this.#attempt(
        [...path, axis],
        () => axisValue(axis, given, this.#templates),
      );
      if (found) chosen.set(axis, found);
    }
    const used = this.#attempt([...path, "use"], () => templateOptions(use, this.#templates));
    if (this.mistakes.length > before) return;
    this.#add(chosen, { ...used, ...own }, path, name);
  }

  #add(chosen: ReadonlyMap<Axis, AxisValue>, own: JobOptions, path: Path, given?: string): void {
    const values = [...chosen.values()];
    const options: JobOptions = Object.assign(
      {},
      this.#content.defaults,
      ...values.map((value) => value.options),
      own,
    );
    const name = given ?? (values.map((value) => value.name).join("-") || "job");
    const other = this.#places.get(name);
    if (other !== undefined) {
      const sentence = `expected jobs of different names, but two are called ${quoted(name)}; ` +
        `give one a name of its own`;
      this.mistakes.push({ path, sentence });
      return;
    }
    this.#places.set(name, path);
    try {
      const axes = Object.fromEntries([...chosen].map(([axis, value]) => [axis, value.name]));
      this.jobs.push({
        name,
        axes,
        options,
        arguments: argumentsOf(options),
        prune: taken(options),
      });
    } catch (thrown) {
      if (!(thrown instanceof SecateurError)) throw thrown;
      // Many jobs may have one mistake.
      const sentence = `job ${name}: ${thrown.message.replace(/\.$/, "")}`;
      this.mistakes.push({ path, sentence });
    }
  }
}

/** Options as prune takes them. Throws as it does. */
function taken(options: JobOptions): PruneOptions {
  const raw = rawOf(options);
  const values = parseOptions(SOURCE_TABLE, raw);
  return pruneOptions(raw, isEmbedded(values));
}

const isValue = ({ name, text }: AxisValue, wanted: Scalar): boolean =>
  [name, text].includes(String(wanted));

function excludes(exclusion: Exclusion, chosen: ReadonlyMap<Axis, AxisValue>): boolean {
  return Object.entries(exclusion).every(([axis, wanted]) => {
    const value = chosen.get(axis as Axis);
    return value !== undefined && [wanted].flat().some((each) => isValue(value, each as Scalar));
  });
}

function* product<T>(lists: readonly (readonly T[])[]): Generator<T[]> {
  if (lists.length === 0) return yield [];
  const [first, ...others] = lists;
  for (const value of first) {
    for (const rest of product(others)) yield [value, ...rest];
  }
}

const unique = (mistakes: readonly Mistake[]): Mistake[] => {
  const told = new Set<string>();
  return mistakes.filter(({ path, sentence }) => {
    const text = JSON.stringify([path, sentence.replace(/^job \S+: /, "")]);
    return told.has(text) ? false : told.add(text);
  });
};

/**
 * The jobs of a text; `name` is the file's for messages.
 * @throws SecateurError `format-corrupt` with line and column; JobFileError for several mistakes.
 */
export function parseJobs(name: string, text: string): { jobs: readonly Job[]; out?: string } {
  const file = new LocatedFile(name, text);
  const form = formMistakes(file.data);
  const expansion = form.length > 0 ? undefined : new Expansion(file.data as Content);
  const mistakes = unique(expansion?.mistakes ?? form);
  if (mistakes.length > 0) {
    const errors = mistakes.toSorted((a, b) => file.compare(a, b))
      .map((mistake) => file.refuse(mistake));
    throw errors.length === 1 ? errors[0] : new JobFileError(errors);
  }
  const { out } = file.data as Content;
  return { jobs: expansion!.jobs, ...(out === undefined ? {} : { out }) };
}

/** Reads a job file. Throws as `parseJobs` and `readFileBytes`. */
export async function readJobs(path: string): Promise<JobFile> {
  await readFileBytes(path, "a job file");
  const { jobs, out } = parseJobs(path, await readFile(path, "utf8"));
  const folder = resolve(dirname(path));
  const stem = basename(path).replace(/\.(ya?ml|json)$/i, "");
  return { jobs, folder, out: resolve(folder, out ?? `${stem}-results`) };
}
