/**
 * What the stages of a run have finished, so that a stopped run goes on from there. One JSON file
 * a stage, written beside and renamed; numbers survive JSON exactly.
 */

import { createHash, randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Buffer } from "node:buffer";
import { SecateurError } from "../errors.ts";
import { makeFolder, writeFileAtomic } from "../formats/atomic.ts";
import { readFileBytes } from "../formats/file.ts";
import type { Graph } from "../graph/graph.ts";
import type { PruneOptions } from "./options.ts";

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

/**
 * A digest of everything that decides the results of a run: not threads, not where it writes, and not
 * whether a control is trained beside it, which changes no other stage and may be asked for later.
 */
export function fingerprintOf(graph: Graph, options: PruneOptions, data: unknown): string {
  const { threads: _threads, out: _out, resume: _resume, control: _control, ...deciding } = options;
  const hash = createHash("sha256").update(JSON.stringify([graph.nodes, deciding, data]));
  for (const [name, { data }] of graph.parameters) {
    hash.update(name).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest("hex");
}

/** Which run a folder belongs to; a new one gets a new id, so that older stages no longer count. */
interface RunMark {
  readonly fingerprint: string;
  readonly id: string;
}

/** Finished stages of one run in a folder of its own. */
export class StageStore {
  readonly #folder: string;
  readonly #id: string;

  private constructor(folder: string, id: string) {
    this.#folder = folder;
    this.#id = id;
  }

  /**
   * Opens `folder`, made when absent. Without `resume`, what an earlier run left there is not read.
   * Throws "checkpoint-mismatch" when resuming a run with other options, model or data.
   */
  static async open(folder: string, fingerprint: string, resume: boolean): Promise<StageStore> {
    await makeFolder(folder);
    const mark = resume
      ? await readJson(join(folder, "run.json")) as RunMark | undefined
      : undefined;
    if (mark === undefined) {
      const id = randomUUID();
      await writeJson(join(folder, "run.json"), { fingerprint, id } satisfies RunMark);
      return new StageStore(folder, id);
    }
    if (mark.fingerprint === fingerprint) return new StageStore(folder, mark.id);
    throw new SecateurError(
      "checkpoint-mismatch",
      `The unfinished run in ${folder} had other options, data or weights: repeat the options ` +
        `it was started with, or leave out --resume to start anew.`,
    );
  }

  /** A file of this run that a stage keeps itself, such as a training checkpoint. */
  path(name: string): string {
    return join(this.#folder, name);
  }

  /** What a stage stored, if it did in this run. */
  async read<T>(stage: string): Promise<T | undefined> {
    const stored = await readJson(this.path(`${stage}.json`)) as
      | { run: string; value: T }
      | undefined;
    return stored?.run === this.#id ? stored.value : undefined;
  }

  async write(stage: string, value: unknown): Promise<void> {
    await writeJson(this.path(`${stage}.json`), { run: this.#id, value });
  }

  /** The stored result of a stage, or the result of running it, stored. */
  async once<T>(stage: string, run: () => Promise<T>): Promise<T> {
    const stored = await this.read<T>(stage);
    if (stored !== undefined) return stored;
    const value = await run();
    await this.write(stage, value);
    return value;
  }
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
