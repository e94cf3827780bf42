/** From options to pictures. */

import type { InputContract } from "../../data/contract.ts";
import type { PictureSet, SkippedPicture } from "../../data/dataset.ts";
import { readImageFolder } from "../../data/sources/image_folder.ts";
import { hasClasses } from "../../data/sources/pictures.ts";
import { labelsOf, relabel } from "../../data/sources/labels.ts";
import { DATA_SPECS, openDataset, type OpenDatasetOptions } from "../../data/sources/source.ts";
import { holdOutLastPerClass } from "../../data/split.ts";
import { SecateurError } from "../../errors.ts";
import { quoted, quotedPath } from "../../formats/bytes.ts";
import type { RunOptions } from "../../progress.ts";
import type { Console } from "../terminal/console.ts";
import type { DataValues, InputPlan } from "./input_plan.ts";
import type { ModelValues } from "./model.ts";

export const EMBEDDED_DATA = "generated";

const invalid = (sentence: string) => new SecateurError("option-invalid", sentence);

/** Whether --train or --val say where pictures are. Throws "option-invalid" where --data does too. */
function hasFolders({ data, train, val }: DataValues): boolean {
  const folders = train !== undefined || val !== undefined;
  if (!folders || data === undefined) return folders;
  const other = train === undefined ? "--val" : "--train";
  throw invalid(
    `Expected pictures from one place, got --data ${data} and ${other}; leave one out.`,
  );
}

/** Whether model and data are the embedded default. Throws "option-invalid" for half of each. */
export function isEmbedded(values: ModelValues & DataValues): boolean {
  const { model, weights, data } = values;
  const ownModel = model !== undefined || weights !== undefined;
  const folders = hasFolders(values);
  const ownData = folders || (data !== undefined && data.split(":")[0] !== EMBEDDED_DATA);
  if (ownModel && data === undefined && !folders) {
    throw invalid(
      `Expected --data beside --model and --weights: one of ${DATA_SPECS.join(", ")}; or --train ` +
        `and --val.`,
    );
  }
  if (ownData && !ownModel) {
    throw invalid(
      `Expected --weights beside ${data === undefined ? "--train and --val" : `--data ${data}`}: ` +
        `the embedded model knows generated data alone.`,
    );
  }
  return !ownModel;
}

/** The contract of a model made from these pictures: as planned, with their class names. */
export function contractOf({ contract }: InputPlan, pictures: PictureSet): InputContract {
  return hasClasses(pictures) ? { ...contract, labels: pictures.classes } : contract;
}

/** What the pictures are, for people: the options that name them. */
export function specOf({ data, train, val }: DataValues): string {
  return train === undefined ? data ?? EMBEDDED_DATA : `${train} and ${val}`;
}

async function open(
  values: DataValues,
  split: "train" | "test",
  options: OpenDatasetOptions,
): Promise<PictureSet> {
  if (!hasFolders(values)) return await openDataset(values.data ?? EMBEDDED_DATA, split, options);
  return await readImageFolder(folderOf(values, split), "whole", options);
}

/** The folder of a split. Throws "option-invalid" when the other alone is given. */
function folderOf({ train, val }: DataValues, split: "train" | "test"): string {
  const folder = split === "train" ? train : val;
  if (folder !== undefined) return folder;
  throw invalid(
    split === "train"
      ? `Expected --train beside --val ${val}: training pictures are needed too.`
      : `Expected --val beside --train ${train}: test pictures are needed too.`,
  );
}

/** Gives the pictures the labels of the plan's names. */
function labelled(dataset: PictureSet, { names }: InputPlan, console: Console): PictureSet {
  if (names === undefined) return dataset;
  const known = new Set(names.classes.flat());
  if (!names.asked && !dataset.classes.every((name) => known.has(name))) {
    console.text(
      `The classes of ${dataset.name} have other names than those in ${names.from}; they are ` +
        `numbered in their own order, by name, unless --labels gives the model's.`,
    );
    return dataset;
  }
  const { dataset: found, absent } = relabel(dataset, names.classes, names.from);
  if (absent.length > 0) {
    console.warn(
      `${dataset.name} has no pictures of ${absent.length} of the ${names.classes.length} classes ` +
        `in ${names.from}; the first is ${quoted(absent[0])}.`,
    );
  }
  return found;
}

/** Reasons that are told one by one. */
const TOLD_REASONS = 4;

/** How many files of a data set are no part of it, and why: the first of each reason by name. */
function leftOutSentence(
  { name, count }: PictureSet,
  skipped: readonly SkippedPicture[],
): string {
  const byReason = new Map<string, SkippedPicture[]>();
  for (const picture of skipped) {
    const same = byReason.get(picture.reason);
    if (same) same.push(picture);
    else byReason.set(picture.reason, [picture]);
  }
  const told = [...byReason].slice(0, TOLD_REASONS).map(([reason, [{ path }, ...others]]) =>
    `${quotedPath(path)}: ${reason}${others.length > 0 ? ` (and ${others.length} like it)` : ""}`
  );
  const untold = byReason.size - told.length;
  return `Left out ${skipped.length} of the ${skipped.length + count} files of ${name}; ` +
    `${told.join("; ")}${untold > 0 ? `; and for ${untold} other reasons` : ""}.`;
}

/** One split of the pictures, with a warning about those left out. */
export async function openPictures(
  values: DataValues,
  split: "train" | "test",
  plan: InputPlan,
  console: Console,
  options: RunOptions,
): Promise<PictureSet> {
  const { limit, strict } = values;
  const { resize, crop } = plan.contract;
  const dataset = await open(values, split, {
    ...options,
    strict,
    ...(plan.extent === undefined ? {} : { extent: plan.extent }),
    ...(resize === undefined ? {} : { resize }),
    ...(crop === undefined ? {} : { crop }),
    ...(limit === undefined ? {} : { limitPerClass: limit }),
    labelled: plan.names !== undefined,
    accept: (found) => {
      // Before any picture is read: what follows may take long.
      if (plan.names?.asked) labelsOf(found, plan.names.classes, plan.names.from);
    },
  });
  const { skipped = [] } = dataset;
  if (skipped.length > 0) console.warn(leftOutSentence(dataset, skipped));
  return labelled(dataset, plan, console);
}

/** The parts of a data set: one to learn from, one for every choice, one for reporting. */
export interface Pictures {
  readonly training: PictureSet;
  readonly heldOut?: PictureSet;
  readonly test: PictureSet;
  /** Files of both splits that were left out since they cannot be read as pictures. */
  readonly skipped: number;
}

/**
 * Opens both splits and holds out `holdOut` training pictures of each class. Throws
 * "data-mismatch" when the splits have different classes or sizes.
 */
export async function openParts(
  values: DataValues & { readonly holdOut?: number },
  plan: InputPlan,
  console: Console,
  options: RunOptions,
): Promise<Pictures> {
  if (hasFolders(values)) {
    for (const split of ["train", "test"] as const) folderOf(values, split);
  }
  const all = await openPictures(values, "train", plan, console, options);
  const test = await openPictures(values, "test", plan, console, options);
  requireAlike(all, test);
  const skipped = (all.skipped?.length ?? 0) + (test.skipped?.length ?? 0);
  return { ...splitTraining(all, values.holdOut), test, skipped };
}

/**
 * Training pictures in two: those to learn from, and `holdOut` of each class for every choice. Throws
 * "option-invalid" where a class has too few.
 */
export function splitTraining(
  all: PictureSet,
  holdOut: number | undefined,
): Pick<Pictures, "training" | "heldOut"> {
  const count = holdOutCount(all, holdOut);
  return count === 0 ? { training: all } : holdOutLastPerClass(all, count);
}

/** Throws "data-mismatch" when training and test pictures have other classes or sizes. */
function requireAlike(training: PictureSet, test: PictureSet): void {
  const own = new Set(training.classes), others = new Set(test.classes);
  const missing = training.classes.find((name) => !others.has(name));
  const unknown = test.classes.find((name) => !own.has(name));
  const odd = missing ?? unknown;
  if (odd !== undefined) {
    const [has, lacks] = missing === undefined ? [test, training] : [training, test];
    throw new SecateurError(
      "data-mismatch",
      `Expected ${training.name} and ${test.name} to have the same classes, but ${has.name} has ` +
        `${quoted(odd)} and ${lacks.name} has not; make the folders alike, or say with --labels ` +
        `which class has which number.`,
    );
  }
  if (training.height === test.height && training.width === test.width) return;
  throw new SecateurError(
    "data-mismatch",
    `Expected pictures of one size, but those of ${training.name} are ` +
      `${training.width}x${training.height} and those of ${test.name} ${test.width}x` +
      `${test.height}; give --resize and --crop, both the side that the model takes.`,
  );
}

/**
 * Pictures of each class to hold out: as asked, or a tenth of the smallest class, at most 500; none
 * where a class is too small to spare one.
 */
function holdOutCount(dataset: PictureSet, asked: number | undefined): number {
  if (asked !== undefined) return asked;
  const counts = new Int32Array(dataset.classes.length);
  for (const label of dataset.labels) counts[label] += 1;
  const smallest = counts.filter((count) => count > 0).reduce((a, b) => Math.min(a, b), Infinity);
  return Math.min(500, Math.max(Math.floor(smallest / 10), smallest > 1 ? 1 : 0));
}
