/**
 * Finished stages that any run on this machine may take: each under a digest of its stage, of all that
 * stage depends on and of the code that made it, in the cache folder or one on a shared path. A file is
 * a line of JSON that says what it is, and the result. It is written beside and renamed, and carries a
 * checksum: one that is damaged counts as none. While one run makes a result, others that want it wait.
 */

import { createHash } from "node:crypto";
import { readFile, rm, utimes } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import process from "node:process";
import { cacheFolder } from "../data/pictures/cache.ts";
import { makeFolder, writeFileAtomic } from "../formats/atomic.ts";
import { FileLock } from "../formats/file_lock.ts";
import { stopIfAsked } from "../progress.ts";
import { codeDigest } from "./code_digest.ts";

/** What an artefact is, for whoever lists them. */
export interface ArtefactHeader {
  readonly format: 1;
  /** Digest of the code that made it. */
  readonly code: string;
  readonly stage: string;
  /** The model it belongs to. */
  readonly about: string;
  /** ISO 8601, UTC. */
  readonly created: string;
  /** How long it took to make. */
  readonly seconds: number;
  /** Bytes of the result, and their SHA-256. */
  readonly bytes: number;
  readonly sha256: string;
  /** Where the result is a file of its own: its ending, size and SHA-256. */
  readonly file?: Readonly<{ ending: string; bytes: number; sha256: string }>;
}

/** What the maker says of an artefact. */
export type ArtefactOrigin = Pick<ArtefactHeader, "stage" | "about" | "seconds" | "file">;

/** Ending of artefacts' own files. */
export const ENDING = ".artefact";
/** Milliseconds between two looks whether another run is done with what both want. */
const PATIENCE = 100;

export const digestOf = (content: string | Uint8Array): string =>
  createHash("sha256").update(content).digest("hex");

/** Header and result of an artefact's text; undefined where it is not whole. */
export function parseArtefact(
  text: string,
): { header: ArtefactHeader; result: string } | undefined {
  const end = text.indexOf("\n");
  try {
    const header = JSON.parse(text.slice(0, end)) as ArtefactHeader;
    const result = text.slice(end + 1);
    const whole = header.format === 1 && header.sha256 === digestOf(result);
    return whole ? { header, result } : undefined;
  } catch {
    return undefined;
  }
}

/** Where commands keep them: `SECATEUR_ARTEFACTS`, else a folder of the cache. */
export function artefactFolder(): string {
  return process.env.SECATEUR_ARTEFACTS || join(cacheFolder(), "stages");
}

export class Artefacts {
  readonly folder: string;
  readonly code: string;

  /** Those below `folder` that this code made, unless `code` says which. */
  constructor(folder: string = artefactFolder(), code: string = codeDigest()) {
    this.folder = folder;
    this.code = code;
  }

  /** What a stage's result is kept under, by a digest of what it depends on. */
  key(inputs: string): string {
    return digestOf(JSON.stringify([this.code, inputs]));
  }

  /** A file of an artefact. */
  path(key: string, ending: string = ENDING): string {
    return join(this.folder, key.slice(0, 2), key + ending);
  }

  /** The result kept under a key; noted as used. */
  async read(key: string): Promise<string | undefined> {
    const path = this.path(key);
    const text = await readFile(path, "utf8").catch(() => undefined);
    const found = text === undefined ? undefined : parseArtefact(text);
    if (found === undefined) return undefined;
    const now = new Date();
    await utimes(path, now, now).catch(() => undefined);
    return found.result;
  }

  /** Keeps a result. A cache that cannot be written to is none, and no error. */
  async write(key: string, origin: ArtefactOrigin, result: string): Promise<void> {
    const header: ArtefactHeader = {
      format: 1,
      code: this.code,
      ...origin,
      created: new Date().toISOString(),
      bytes: new TextEncoder().encode(result).length,
      sha256: digestOf(result),
    };
    try {
      await this.#makeRoom(key);
      await writeFileAtomic(this.path(key), `${JSON.stringify(header)}\n${result}`);
    } catch {
      await rm(this.path(key), { force: true }).catch(() => undefined);
    }
  }

  async #makeRoom(key: string): Promise<void> {
    await makeFolder(join(this.folder, key.slice(0, 2)));
  }

  /**
   * The right to make what is kept under a key, once nobody else has it; `onWait` is called once where
   * another run is at it. Throws "cancelled".
   */
  async lock(
    key: string,
    { signal, onWait }: { signal?: AbortSignal; onWait?: () => void } = {},
  ): Promise<AsyncDisposable | undefined> {
    for (let told = false;;) {
      let lock: FileLock | undefined;
      try {
        await this.#makeRoom(key);
        lock = await FileLock.take(this.path(key, ".lock"));
      } catch {
        return undefined;
      }
      if (lock !== undefined) return lock;
      if (!told) onWait?.();
      told = true;
      await setTimeout(PATIENCE);
      stopIfAsked(signal);
    }
  }
}
