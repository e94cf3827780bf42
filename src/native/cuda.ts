/** The executor for NVIDIA GPUs: where its plugin is, and whether it can be used here. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { reasonOf } from "../errors.ts";
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
