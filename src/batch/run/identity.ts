/** What tells a job from every other: its options, and the files that these name. */

import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { resolve } from "node:path";
import type { Job } from "../file/jobs.ts";

/** Options that may name files whose content decides a job's result. */
const FILES = ["model", "weights", "labels", "runtime"] as const;

/** The digest of a regular file's content; undefined where there is none, as for a model's name. */
async function contentDigest(path: string): Promise<string | undefined> {
  const status = await stat(path).catch(() => undefined);
  if (!status?.isFile()) return undefined;
  return createHash("sha256").update(await readFile(path)).digest("hex");
}

/**
 * A digest of a job, 64 hexadecimal digits; threads do not count, nor what it is called. Files are taken
 * from `folder` and digested once for all jobs.
 */
export class JobDigests {
  readonly #folder: string;
  readonly #known = new Map<string, Promise<string | undefined>>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  async of({ options }: Pick<Job, "options">): Promise<string> {
    const { threads: _threads, ...deciding } = options;
    const files: Record<string, string> = {};
    for (const name of FILES) {
      const path = options[name];
      if (typeof path !== "string") continue;
      const digest = await this.#file(resolve(this.#folder, path));
      if (digest !== undefined) files[name] = digest;
    }
    const sorted = Object.entries(deciding).sort(([a], [b]) => a < b ? -1 : 1);
    return createHash("sha256").update(JSON.stringify([sorted, files])).digest("hex");
  }

  #file(path: string): Promise<string | undefined> {
    const known = this.#known.get(path) ?? contentDigest(path);
    this.#known.set(path, known);
    return known;
  }
}
