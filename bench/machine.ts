/** What a measurement depends on beside the code: written into every result. */

import { spawnSync } from "node:child_process";
import { availableParallelism, cpus, loadavg, totalmem } from "node:os";
import process from "node:process";
import type { ProductRates } from "../src/native/addon.ts";
import { loadAddon } from "../src/native/binding.ts";
import { cpuFeatures, describeDevice, type Device } from "../src/native/session.ts";
import { ROOT } from "../src/native/setup/sources.ts";
import { findToolchain, oneDnnVersion } from "../src/native/setup/toolchain.ts";

export interface Machine {
  readonly cpu: string;
  /** What kernels may use, after SECATEUR_ISA. */
  readonly instructionSets: readonly string[];
  /** Multiply-accumulates a second of one core, by which products of bf16 are chosen. */
  readonly productRates: ProductRates;
  readonly cores: number;
  readonly memoryBytes: number;
  /** Work of others in the minute before: figures taken above a tenth or so are noise. */
  readonly load: number;
  /** What computed in the processor's place. */
  readonly gpu?: string;
}

export interface Provenance {
  readonly commit: string | null;
  /** Whether files differed from that commit. */
  readonly modified: boolean | null;
  readonly machine: Machine;
  readonly versions: Readonly<Record<string, string>>;
}

function git(...args: string[]): string | null {
  const { status, stdout } = spawnSync("git", ["-C", ROOT, ...args], { encoding: "utf8" });
  return status === 0 ? stdout.trim() : null;
}

export function provenance(
  peerVersions: Readonly<Record<string, string>> = {},
  device?: Device,
): Provenance {
  const changes = git("status", "--porcelain", "--untracked-files=no");
  const { oneDnn } = findToolchain();
  const { deno, node } = process.versions;
  const withOneDnn = loadAddon().sourceHash.endsWith("-onednn") && oneDnn !== undefined;
  return {
    commit: git("rev-parse", "HEAD"),
    modified: changes === null ? null : changes !== "",
    machine: {
      cpu: cpus()[0]?.model ?? "unknown",
      instructionSets: Object.entries(cpuFeatures()).filter(([, usable]) => usable)
        .map(([name]) => name),
      productRates: loadAddon().productRates(),
      cores: availableParallelism(),
      memoryBytes: totalmem(),
      load: loadavg()[0],
      ...(device === undefined ? {} : { gpu: describeDevice(device) }),
    },
    versions: {
      ...(deno ? { deno } : { node }),
      addon: loadAddon().sourceHash.slice(0, 12),
      ...(withOneDnn ? { oneDNN: oneDnnVersion(oneDnn) } : {}),
      ...peerVersions,
    },
  };
}
