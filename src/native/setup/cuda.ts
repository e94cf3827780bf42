/** Builds the plugin for NVIDIA GPUs from `cuda/`. */

import { copyFileSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { SecateurError } from "../../errors.ts";
import { failureLines } from "./build.ts";
import { runCommand } from "./install.ts";
import { findProgram } from "./toolchain.ts";

/** nvcc of the PATH, or of the toolkit's usual folder. */
export function findNvcc(): string | undefined {
  return findProgram("nvcc") ?? findProgram("/usr/local/cuda/bin/nvcc");
}

/**
 * Compiles the plugin and renames it to `build/libsecateur_cuda.so`. Output goes to the file
 * descriptor `log` of `build/build.log`.
 * @throws SecateurError `addon-missing` without nvcc, `addon-failed` with the compiler's complaint.
 */
export async function buildCudaPlugin(root: string, log: number): Promise<void> {
  if (findNvcc() === undefined) {
    throw new SecateurError(
      "addon-missing",
      "Building the plugin for GPUs needs nvcc of CUDA 13, which was found neither on the PATH " +
        "nor in /usr/local/cuda/bin; install the CUDA toolkit, then try again.",
    );
  }
  const work = join(root, "build", "cuda");
  mkdirSync(work, { recursive: true });
  const locked = (...command: string[]) =>
    runCommand(["flock", join(work, "lock"), ...command], log);
  const configured = await locked("cmake", "-S", join(root, "cuda"), "-B", work);
  const jobs = String(availableParallelism());
  const built = configured === 0
    ? await locked("cmake", "--build", work, "--target", "plugin", "--parallel", jobs)
    : 1;
  if (built !== 0) {
    const lines = failureLines(readFileSync(join(root, "build", "build.log"), "utf8"));
    throw new SecateurError(
      "addon-failed",
      `The plugin for GPUs could not be built:\n${lines.join("\n")}\n` +
        "The whole output is in build/build.log.",
    );
  }
  const plugin = join(root, "build", "libsecateur_cuda.so");
  copyFileSync(join(work, "libsecateur_cuda.so"), `${plugin}.new`);
  renameSync(`${plugin}.new`, plugin);
}
