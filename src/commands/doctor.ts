/** `doctor`: what was found on this machine, and what that means for secateur. */

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { reasonOf } from "../errors.ts";
import type { Addon } from "../native/addon.ts";
import { loadAddon } from "../native/binding.ts";
import { findGpu } from "../native/cuda.ts";
import { requirePlatform } from "../native/setup/platform.ts";
import { findProgram, findToolchain, oneDnnVersion } from "../native/setup/toolchain.ts";
import { printable, printableJson } from "../printable.ts";
import { standardOutput } from "./terminal/streams.ts";

/** One thing looked for. `found` is what is there, or undefined; `note` says what that means. */
export interface Finding {
  readonly name: string;
  readonly found: string | undefined;
  readonly note?: string;
}

export interface DoctorOptions {
  /** JSON lines, one per finding, then a result, in place of the table. */
  readonly json?: boolean;
  /** Receives each line; standard output unless given. */
  readonly write?: (line: string) => void;
}

/** Looks at this machine, prints the findings, and tells whether secateur can work here. */
export function doctor(options: DoctorOptions = {}): { ready: boolean; findings: Finding[] } {
  const { json = false, write = (line) => standardOutput.write(`${line}\n`) } = options;
  const { addon, problem } = tryAddon();
  const findings = [
    runtime(),
    platform(),
    ...toolchain(addon),
    {
      name: "native addon",
      found: addon ? "built from the sources at hand" : undefined,
      note: problem,
    },
    instructionSets(addon),
    bf16Products(addon),
    { name: "threads", found: String(availableParallelism()) },
    gpu(addon),
  ];
  const ready = addon !== undefined;
  if (json) {
    // What was not found is null rather than left out.
    const lines = findings.map(({ name, found = null, note }) => ({ name, found, note }));
    for (const line of lines) write(printableJson({ event: "finding", ...line }));
    write(printableJson({ event: "result", ready, findings: lines }));
  } else {
    for (const { name, found, note } of findings) {
      write(printable(`${name.padEnd(18)}${found ?? "not found"}${note ? `: ${note}` : ""}`));
    }
  }
  return { ready, findings };
}

function tryAddon(): { addon?: Addon; problem?: string } {
  try {
    return { addon: loadAddon() };
  } catch (thrown) {
    return { problem: reasonOf(thrown) };
  }
}

/** The first line a command prints, or undefined when it cannot be run. */
function firstLine(program: string, ...args: string[]): string | undefined {
  const path = findProgram(program);
  if (path === undefined) return undefined;
  const { status, stdout } = spawnSync(path, args, { encoding: "utf8", timeout: 10_000 });
  return status === 0 ? stdout.split("\n")[0]?.trim() : undefined;
}

function runtime(): Finding {
  const { deno } = process.versions;
  return { name: "runtime", found: deno ? `Deno ${deno}` : `Node ${process.versions.node}` };
}

function platform(): Finding {
  const found = `${process.platform} ${process.arch}`;
  try {
    requirePlatform();
    return { name: "platform", found };
  } catch (thrown) {
    return { name: "platform", found, note: reasonOf(thrown) };
  }
}

function toolchain(addon: Addon | undefined): Finding[] {
  const { compiler, cmake, make, oneDnn } = findToolchain();
  const builds = "`deno task build` needs it";
  const tool = (name: string, path: string | undefined): Finding => ({
    name,
    found: path && (firstLine(path, "--version") ?? path),
    note: path ? undefined : builds,
  });
  return [
    tool("compiler", compiler),
    tool("cmake", cmake),
    tool("make", make),
    oneDnnFinding(oneDnn, addon),
  ];
}

function oneDnnFinding(folder: string | undefined, addon: Addon | undefined): Finding {
  const name = "oneDNN";
  if (folder === undefined) {
    const note = "everything works without it, but slower; Debian's package is libdnnl-dev, " +
      "which `deno task build` uses once it is there";
    return { name, found: undefined, note };
  }
  const inUse = addon?.sourceHash.endsWith("-onednn");
  return {
    name,
    found: oneDnnVersion(folder),
    note: addon && !inUse ? "the addon was built without it; `deno task build` adds it" : undefined,
  };
}

/** Features kernels are chosen by, as the addon sees them; from lscpu while there is no addon. */
function instructionSets(addon: Addon | undefined): Finding {
  const name = "instruction sets";
  const model = cpus()[0]?.model;
  const note = model ? `of ${model}` : undefined;
  if (addon) {
    const usable = Object.entries(addon.cpuFeatures()).filter(([, present]) => present);
    return { name, found: usable.map(([feature]) => feature).join(" ") || "portable", note };
  }
  const lscpu = findProgram("lscpu");
  if (lscpu === undefined) {
    return { name, found: undefined, note: "neither the addon nor lscpu could tell" };
  }
  const flags = spawnSync(lscpu, { encoding: "utf8" }).stdout ?? "";
  const present = ["avx2", "avx512f", "avx512_bf16", "amx_bf16"].filter((flag) =>
    new RegExp(`\\b${flag}\\b`).test(flags)
  );
  return { name, found: present.join(" ") || "portable", note };
}

/** What convolutions in bf16 multiply with, and the measurement that decided it. */
function bf16Products(addon: Addon | undefined): Finding {
  const name = "bf16 products";
  if (addon === undefined) return { name, found: undefined, note: "measured by the addon" };
  const { amxBf16, bf16Dot, int16Dot } = addon.cpuFeatures();
  const found = amxBf16
    ? "tiles (AMX)"
    : bf16Dot
    ? "dot products of bf16 (AVX512_BF16)"
    : int16Dot
    ? "dot products of int16 (AVX512_VNNI)"
    : "as in f32";
  const rates = Object.entries(addon.productRates()).filter(([, rate]) => rate > 0)
    .map(([type, rate]) => `${(rate / 1e9).toFixed(0)} in ${type}`);
  if (rates.length === 0) return { name, found };
  const note = `a core does ${rates.join(", ")}, billions a second`;
  return { name, found, note };
}

/** GPUs and their driver, and whether programs run on them, or the reason why they do not. */
function gpu(addon: Addon | undefined): Finding {
  const name = "GPU";
  const served = "the CPU is used";
  const found = addon && findGpu(addon);
  if (found && "device" in found) {
    return {
      name,
      found: found.description,
      note:
        `--device cuda computes on it; without that ${served}, as nothing has been measured on GPUs`,
    };
  }
  const reason = found?.reason ?? "there is no native addon to ask";
  const device = firstLine(
    "nvidia-smi",
    "--query-gpu=name,driver_version",
    "--format=csv,noheader",
  );
  if (device) return { name, found: device, note: `${served}: ${reason}` };
  const folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib/wsl/lib"];
  const driver = folders.some((folder) => existsSync(join(folder, "libcuda.so.1")));
  return {
    name,
    found: undefined,
    note: driver
      ? `NVIDIA's driver is installed, but nvidia-smi shows no device; ${served}`
      : `NVIDIA's driver (libcuda.so.1) is not installed; ${served}`,
  };
}
