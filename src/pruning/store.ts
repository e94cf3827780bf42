/**
 * What the stages of runs have finished, by what it depends on: each result lies under a digest of its
 * stage's inputs - options, model, pictures, what came before - so that a run with other options takes
 * what these do not concern, and nothing else. One JSON file a result, written beside and renamed; numbers
 * survive JSON exactly.
 */

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { copyFile, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { Buffer } from "node:buffer";
import { SecateurError } from "../errors.ts";
import { besideOf, makeFolder, unwritable, writeFileAtomic } from "../formats/atomic.ts";
import { readFileBytes } from "../formats/file.ts";
import { type Artefacts, digestOf } from "./artefacts.ts";

/** f64 arrays travel as base64, which is exact and shorter than digits. */
const FLOATS = "base64:f64:";

function encode(_key: string, value: unknown): unknown {
  if (!(value instanceof Float64Array)) return value;
  return FLOATS + Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64");
}

function decode(_key: string, value: unknown): unknown {
  if (typeof value !== "string" || !value.startsWith(FLOATS)) return value;
  const bytes = Uint8Array.from(Buffer.from(value.slice(FLOATS.length), "base64"));
  return new Float64Array(bytes.buffer);
}

/** Digits of a digest that file names carry; the whole one lies within. */
const DIGITS = 16;
/** Files that results are kept in, whatever their inputs. */
const KEPT = new RegExp(`-[0-9a-f]{${DIGITS}}(?:-\\d+)?\\.(?:json|safetensors)$`);

/** A stage's result, and how long it took to make. */
export interface Finished<T> {
  readonly value: T;
  readonly seconds: number;
}

/** What runs share, and the model that a run is about. */
export interface SharedStore {
  readonly artefacts: Artefacts;
  readonly about: string;
}

export interface ObtainOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called once where another run is making the result, which is waited for. */
  readonly onWait?: () => void;
  /** Results of more bytes than this are kept by nobody. */
  readonly largest?: number;
  /** Kept for all runs alone, where they share anything, and not in this run's folder. */
  readonly sharedOnly?: boolean;
}

/** Results of stages in a folder, for certain inputs, and among those that runs share. */
export class StageStore {
  readonly #folder: string;
  readonly #inputs: readonly unknown[];
  readonly #shared: SharedStore | undefined;

  private constructor(
    folder: string,
    inputs: readonly unknown[],
    shared: SharedStore | undefined,
  ) {
    this.#folder = folder;
    this.#inputs = inputs;
    this.#shared = shared;
  }

  /**
   * Opens `folder`, made when absent, for what all stages depend on: anything that JSON tells apart.
   * Without `resume`, what earlier runs left there is removed; what runs share stays.
   */
  static async open(
    folder: string,
    inputs: unknown,
    resume: boolean,
    shared?: SharedStore,
  ): Promise<StageStore> {
    await makeFolder(folder);
    if (!resume) {
      const kept = (await readdir(folder)).filter((name) => KEPT.test(name));
      for (const name of kept) await rm(join(folder, name), { force: true });
    }
    await writeJson(join(folder, "run.json"), { inputs });
    return new StageStore(folder, [inputs], shared);
  }

  /** The same folder for stages that depend on these inputs too. */
  with(inputs: unknown): StageStore {
    return new StageStore(this.#folder, [...this.#inputs, inputs], this.#shared);
  }

  /** What tells a stage's result from any other. */
  #digest(stage: string): string {
    return createHash("sha256").update(JSON.stringify([stage, ...this.#inputs])).digest("hex");
  }

  /** A file of a stage: its name, a digest of what it depends on, and an ending such as "-8.json". */
  path(stage: string, ending: string): string {
    return join(this.#folder, `${this.#prefix(stage)}${ending}`);
  }

  /** The stage as file names can have it, and the digest, which knows better. */
  #prefix(stage: string): string {
    return `${stage.replaceAll(/[^\w .-]/g, "_")}-${this.#digest(stage).slice(0, DIGITS)}`;
  }

  /** What a stage stored under these inputs, if it did. */
  async read<T>(stage: string): Promise<T | undefined> {
    const stored = await readJson(this.path(stage, ".json")) as
      | { digest: string; value: T }
      | undefined;
    return stored?.digest === this.#digest(stage) ? stored.value : undefined;
  }

  async write(stage: string, value: unknown): Promise<void> {
    await writeJson(this.path(stage, ".json"), { digest: this.#digest(stage), value });
  }

  /** The stored result of a stage, or the result of running it, stored. */
  async once<T>(stage: string, run: () => Promise<T>): Promise<T> {
    const stored = await this.read<T>(stage);
    if (stored !== undefined) return stored;
    const value = await run();
    await this.write(stage, value);
    return value;
  }

  /**
   * The result of a stage: this folder's, or the one that runs share, or else what `make` makes, kept in
   * both. One run at a time makes a shared result. Throws "cancelled" while it waits, and as `make`.
   */
  async obtain<T>(
    stage: string,
    make: () => Promise<Finished<T>>,
    options: ObtainOptions = {},
  ): Promise<Finished<T> & { readonly taken: boolean }> {
    const stored = await this.#find<T>(stage, options);
    if (stored !== undefined) return { ...stored, taken: true };
    await using lock = await this.#lock(stage, options);
    // Whoever had the lock may have made it.
    const made = lock && await this.#find<T>(stage, options);
    if (made !== undefined) return { ...made, taken: true };
    const { value, seconds } = await make();
    await this.#keep(stage, { value, seconds }, options);
    return { value, seconds, taken: false };
  }

  #key(stage: string, artefacts: Artefacts): string {
    return artefacts.key(this.#digest(stage));
  }

  async #lock(stage: string, { signal, onWait }: ObtainOptions) {
    if (this.#shared === undefined) return undefined;
    const { artefacts } = this.#shared;
    return await artefacts.lock(this.#key(stage, artefacts), {
      ...(signal ? { signal } : {}),
      ...(onWait ? { onWait } : {}),
    });
  }

  async #find<T>(stage: string, { sharedOnly }: ObtainOptions): Promise<Finished<T> | undefined> {
    const own = sharedOnly ? undefined : await this.read<Finished<T>>(stage);
    if (own !== undefined || this.#shared === undefined) return own;
    const { artefacts } = this.#shared;
    const text = await artefacts.read(this.#key(stage, artefacts));
    if (text === undefined) return undefined;
    const found = JSON.parse(text, decode) as Finished<T>;
    // So that the run's folder holds all of the run.
    if (!sharedOnly) await this.write(stage, found);
    return found;
  }

  async #keep<T>(
    stage: string,
    result: Finished<T>,
    { sharedOnly, largest = Infinity }: ObtainOptions,
  ): Promise<void> {
    if (!sharedOnly) await this.write(stage, result);
    if (this.#shared === undefined) return;
    const { artefacts, about } = this.#shared;
    if (sizeOf(result.value) > largest) return;
    const origin = { stage, about, seconds: result.seconds };
    await artefacts.write(this.#key(stage, artefacts), origin, JSON.stringify(result, encode));
  }

  /**
   * As `make` on a file that runs share and that grows while it is made, such as a checkpoint: whoever
   * comes after one that was stopped goes on with it. Where runs share nothing, on `own`, where a copy
   * of the finished file is left anyway.
   */
  async obtainFile<T>(
    stage: string,
    ending: string,
    own: string,
    make: (path: string) => Promise<Finished<T>>,
    options: Pick<ObtainOptions, "signal" | "onWait"> = {},
  ): Promise<T> {
    if (this.#shared === undefined || existsSync(own)) return (await make(own)).value;
    await using lock = await this.#lock(stage, options);
    if (lock === undefined) return (await make(own)).value;
    const { artefacts, about } = this.#shared;
    const key = this.#key(stage, artefacts), path = artefacts.path(key, ending);
    const known = await artefacts.read(key) !== undefined;
    const { value, seconds } = await make(path);
    const bytes = await readFileBytes(path, "a stage of the run");
    await writeFileAtomic(own, bytes);
    const file = { ending, bytes: bytes.length, sha256: digestOf(bytes) };
    if (!known) await artefacts.write(key, { stage, about, seconds, file }, "");
    return value;
  }

  /**
   * Where a stage that counts - epochs of training - keeps its state for so many. Where there is none yet,
   * that of the longest shorter one is put there, to go on from.
   */
  async longer(stage: string, count: number, ending: string): Promise<string> {
    const path = this.path(stage, `-${count}.${ending}`);
    if (existsSync(path)) return path;
    const prefix = `${this.#prefix(stage)}-`;
    const shorter = (await readdir(this.#folder))
      .filter((name) => name.startsWith(prefix) && name.endsWith(`.${ending}`))
      .map((name) => ({ name, count: Number(name.slice(prefix.length, -ending.length - 1)) }))
      .filter((found) => found.count < count)
      .sort((a, b) => b.count - a.count);
    if (shorter.length === 0) return path;
    const beside = besideOf(path);
    try {
      await copyFile(join(this.#folder, shorter[0].name), beside);
      await rename(beside, path);
    } catch (thrown) {
      await rm(beside, { force: true });
      throw unwritable(path, thrown);
    }
    return path;
  }
}

/** Bytes of the numbers in a result, of which large ones consist. */
function sizeOf(value: unknown): number {
  if (value instanceof Float64Array) return value.byteLength;
  if (typeof value !== "object" || value === null) return 8;
  return Object.values(value).reduce((sum: number, each) => sum + sizeOf(each), 0);
}

async function readJson(path: string): Promise<unknown> {
  if (!existsSync(path)) return undefined;
  const text = Buffer.from(await readFileBytes(path, "a stage of the run")).toString();
  try {
    return JSON.parse(text, decode);
  } catch {
    throw new SecateurError(
      "format-corrupt",
      `${path} should hold a finished stage as JSON but does not parse: remove it, or start ` +
        `anew without --resume.`,
    );
  }
}

async function writeJson(path: string, value: unknown): Promise<void> {
  await writeFileAtomic(path, JSON.stringify(value, encode));
}
