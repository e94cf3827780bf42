/** Files that say which class has which index, as models and data sets come with them. */
import { Buffer } from "node:buffer";
import { SecateurError } from "../../errors.ts";
import { quoted } from "../../formats/bytes.ts";
import { readFileBytes } from "../../formats/file.ts";
import type { PictureSet } from "../dataset.ts";

/** Class by index; each may be known by several names, of which the first is its own. */
export type ClassNames = readonly (readonly string[])[];

const MOST_CLASSES = 1_000_000;

function refused(path: string, finding: string): SecateurError {
  return new SecateurError(
    "format-corrupt",
    `${path}: expected class names by index, one a line, or as a JSON list or an object from index ` +
      `to name (or to a list of names), but ${finding}; correct the file given with --labels.`,
  );
}

/** The names that one JSON value gives a class; undefined when it gives none. */
function namesOf(value: unknown): readonly string[] | undefined {
  const names = Array.isArray(value) ? value : [value];
  const valid = names.length > 0 && names.every((name) => typeof name === "string" && name !== "");
  return valid ? names as string[] : undefined;
}

function fromJson(text: string, path: string): ClassNames {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw refused(path, "it starts like JSON and does not parse");
  }
  const isList = Array.isArray(json);
  const byIndex = new Map(Object.entries(json as Record<string, unknown>));
  return Array.from({ length: byIndex.size }, (_, index) => {
    const names = namesOf(byIndex.get(String(index)));
    if (names !== undefined) return names;
    const what = isList || byIndex.has(String(index)) ? "is no name" : "is missing";
    throw refused(path, `entry ${index} of ${byIndex.size} ${what}`);
  });
}

/** "n01440764 tench, Tinca tinca" names a class by its WordNet id as well. */
function fromLine(line: string): readonly string[] {
  const id = /^(n\d{8})\s+(.+)$/.exec(line);
  return id === null ? [line] : [id[1], id[2]];
}

/**
 * Class names from a file: one a line, a JSON list, or a JSON object from index to name or to a
 * list of names, as ImageNet's class index has it.
 * @throws SecateurError `file-missing`, `file-unreadable`; `format-corrupt` for anything else.
 */
export async function readClassNames(path: string): Promise<ClassNames> {
  const text = Buffer.from(await readFileBytes(path, "a file of class names")).toString().trim();
  const names = /^[[{]/.test(text)
    ? fromJson(text, path)
    : text.split(/\r?\n/).map((line) => fromLine(line.trim()));
  if (text === "" || names.length === 0) throw refused(path, "it is empty");
  if (names.length > MOST_CLASSES) throw refused(path, `it has ${names.length} entries`);
  const seen = new Map<string, number>();
  names.forEach(([name], index) => {
    if (name === "") throw refused(path, `line ${index + 1} is empty`);
    const first = seen.get(name);
    if (first !== undefined) throw refused(path, `${first} and ${index} are both ${quoted(name)}`);
    seen.set(name, index);
  });
  return names;
}

/** Index of every name that only one class has. */
function indexByName(names: ClassNames): Map<string, number> {
  const index = new Map<string, number>();
  const shared = new Set<string>();
  names.forEach((own, label) => {
    for (const name of new Set(own)) {
      if (index.has(name)) shared.add(name);
      index.set(name, label);
    }
  });
  // Two ImageNet classes are called "crane"; the classes' first names differ.
  for (const name of shared) index.delete(name);
  names.forEach(([name], label) => index.set(name, label));
  return index;
}

const listed = (names: readonly string[]): string => {
  const shown = names.slice(0, 3).map(quoted).join(", ");
  return names.length > 3 ? `${shown} and ${names.length - 3} more` : shown;
};

/** A data set with the labels of `names`, and the names that it has no class for. */
export interface Relabelled {
  readonly dataset: PictureSet;
  readonly absent: readonly string[];
}

/**
 * The label of every class of a data set among `names`. `source` says where the names are from, for
 * the sentence.
 * @throws SecateurError `data-mismatch` naming classes of the data set that are not among them.
 */
export function labelsOf(
  dataset: Pick<PictureSet, "name" | "classes">,
  names: ClassNames,
  source: string,
): readonly number[] {
  const index = indexByName(names);
  const unknown = dataset.classes.filter((name) => !index.has(name));
  if (unknown.length > 0) {
    throw new SecateurError(
      "data-mismatch",
      `Expected the ${names.length} classes of ${source} in ${dataset.name}, but ` +
        `${unknown.length} of its ${dataset.classes.length} classes are not among them ` +
        `(${listed(unknown)}): rename the folders, or give the right file with --labels.`,
    );
  }
  const label = dataset.classes.map((name) => index.get(name)!);
  if (new Set(label).size < label.length) {
    const twice = dataset.classes.find((_, i) => label.indexOf(label[i]) < i)!;
    throw new SecateurError(
      "data-mismatch",
      `Expected one class of ${dataset.name} for each class of ${source}, but ${
        quoted(twice)
      } is ` +
        `another name of one that is there already: join the two folders.`,
    );
  }
  return label;
}

/** Gives a data set the labels that its classes have in `names`. Throws what labelsOf throws. */
export function relabel(dataset: PictureSet, names: ClassNames, source: string): Relabelled {
  const label = labelsOf(dataset, names, source);
  const taken = new Set(label);
  return {
    dataset: {
      ...dataset,
      classes: names.map(([name]) => name),
      labels: dataset.labels.map((old) => label[old]),
    },
    absent: names.flatMap(([name], i) => taken.has(i) ? [] : [name]),
  };
}
