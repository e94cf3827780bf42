/** Layers that were timed on this machine already, kept between runs in the cache folder. */

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { cpus } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { cacheFolder } from "../data/pictures/cache.ts";
import { makeFolder, writeFileAtomic } from "../formats/atomic.ts";
import { cpuFeatures } from "../native/session.ts";
import { CURVE, type Curve } from "./curve.ts";
import type { Runtime } from "./runtime.ts";

/** The processor and the instruction sets in use. */
export function machineName(): string {
  const features = Object.entries(cpuFeatures()).filter(([, present]) => present);
  const model = cpus()[0]?.model.trim() ?? "unknown processor";
  return [`${cpus().length} x ${model}`, ...features.map(([name]) => name)].join(" ");
}

const CONTENT = z.object({
  conditions: z.string(),
  /** What all curves are relative to: milliseconds of the reference. */
  reference: z.number().positive(),
  curves: z.record(z.string(), CURVE),
});

/** Curves by what was measured, for one machine, runtime, version, type, batch and threads. */
export class CurveCache {
  readonly #path: string;
  readonly #conditions: string;
  readonly #curves: Map<string, Curve>;
  #reference: number | undefined;

  private constructor(
    path: string,
    conditions: string,
    curves: Map<string, Curve>,
    reference: number | undefined,
  ) {
    this.#path = path;
    this.#conditions = conditions;
    this.#curves = curves;
    this.#reference = reference;
  }

  /** What is kept for these conditions; a file that is damaged counts as none. */
  static async open({ name, version, dtype, conditions }: Runtime): Promise<CurveCache> {
    const { batch, threads } = conditions;
    const key = JSON.stringify([machineName(), name, version, dtype, batch, threads]);
    const digest = createHash("sha256").update(key).digest("hex").slice(0, 32);
    const path = join(cacheFolder(), "latency", `${digest}.json`);
    const read = await readFile(path, "utf8").then((text) => CONTENT.parse(JSON.parse(text)))
      .catch(() => undefined);
    const kept = read?.conditions === key ? read : undefined;
    return new CurveCache(path, key, new Map(Object.entries(kept?.curves ?? {})), kept?.reference);
  }

  /** What the reference took when the first curve was measured. */
  get reference(): number | undefined {
    return this.#reference;
  }

  get(key: string): Curve | undefined {
    return this.#curves.get(key);
  }

  /** Adds a curve and writes the file. Throws "file-unwritable". */
  async add(key: string, curve: Curve, reference: number): Promise<void> {
    this.#curves.set(key, curve);
    this.#reference = reference;
    await makeFolder(join(cacheFolder(), "latency"));
    const content = {
      conditions: this.#conditions,
      reference,
      curves: Object.fromEntries(this.#curves),
    };
    await writeFileAtomic(this.#path, JSON.stringify(content));
  }
}
