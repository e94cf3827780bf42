/** The executor for NVIDIA GPUs: where its plugin is, and whether it can be used here. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { reasonOf, SecateurError } from "../errors.ts";
import type { Addon } from "./addon.ts";
import { ROOT } from "./setup/sources.ts";
import type { Device } from "./session.ts";

/** Where a build leaves the plugin; SECATEUR_CUDA_PLUGIN names another file. */
export function cudaPluginPath(root: string = ROOT): string {
  return process.env.SECATEUR_CUDA_PLUGIN ?? join(root, "build", "libsecateur_cuda.so");
}

/** A GPU that programs can run on, or the reason why there is none. */
export type FoundGpu =
  | { readonly device: Device; readonly description: string }
  | { readonly reason: string };

/** Looks for GPU number `index` through the plugin. */
export function findGpu(addon: Addon, index = 0): FoundGpu {
  const plugin = cudaPluginPath();
  if (!existsSync(plugin)) {
    return {
      reason: "the plugin for GPUs was not built; `deno task build --cuda` builds it where nvcc is",
    };
  }
  try {
    return { device: { plugin, index }, description: addon.describePlugin(plugin, index) };
  } catch (thrown) {
    return { reason: reasonOf(thrown).replace(/\.$/, "") };
  }
}

/** Where to compute: on the CPU without a device; `note` says to people what was chosen and why. */
export interface ChosenDevice {
  readonly device?: Device;
  readonly note?: string;
}

/**
 * What "auto", "cpu", "cuda" or "cuda:1" means here. "auto" is the CPU until kernels have been measured
 * on a GPU, and says why; where nobody asked (undefined) or built the plugin, there is nothing to say.
 * Throws "device-missing" for a GPU that cannot be used.
 */
export function chooseDevice(addon: Addon, asked: string | undefined): ChosenDevice {
  if (asked === "cpu") return {};
  if (asked === undefined || asked === "auto") {
    if (asked === undefined && !existsSync(cudaPluginPath())) return {};
    const found = findGpu(addon);
    return {
      note: "reason" in found
        ? `Computing on the CPU: ${found.reason}.`
        : `Computing on the CPU, because nothing has been measured on GPUs yet; --device cuda ` +
          `computes on ${found.description}.`,
    };
  }
  const found = findGpu(addon, Number(asked.split(":")[1] ?? 0));
  if ("device" in found) {
    return { device: found.device, note: `Computing on ${asked}: ${found.description}.` };
  }
  throw new SecateurError(
    "device-missing",
    `Expected a GPU for --device ${asked}, but there is none to use (${found.reason}); leave ` +
      `--device out to compute on the CPU.`,
  );
}
