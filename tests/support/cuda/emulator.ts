/** The emulator of cuda/, built when a test first needs it. */

import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { beforeAll } from "vitest";
import type { Device } from "../../../src/native/session.ts";
import { ROOT } from "../../../src/native/setup/sources.ts";
import { findProgram } from "../../../src/native/setup/toolchain.ts";

/** Orders in which the emulator's blocks and threads take turns. */
export const ORDERS = ["forward", "backward", "random"] as const;

/** Why there is no emulator here, or undefined. */
export const missing: string | undefined = ["cmake", "flock"]
  .filter((program) => findProgram(program) === undefined)
  .map((program) => `${program} was not found`)[0];

/**
 * Configures and builds one of the targets of cuda/CMakeLists.txt, in a folder of its own below
 * `build/`; builds at the same time wait for each other. Throws what the compiler says.
 */
export function buildTarget(target: string, folder: string, ...definitions: string[]): string {
  const work = join(ROOT, "build", folder);
  mkdirSync(work, { recursive: true });
  const locked = (...command: string[]) => {
    const { status, stdout, stderr } = spawnSync("flock", [join(work, "lock"), ...command], {
      encoding: "utf8",
    });
    if (status !== 0) throw new Error(`${command.join(" ")}\n${stdout}${stderr}`);
  };
  locked("cmake", "-S", join(ROOT, "cuda"), "-B", work, "-G", "Unix Makefiles", ...definitions);
  locked("cmake", "--build", work, "--target", target, "--parallel", "2");
  return work;
}

/** Compiling takes a minute, and several on a busy machine: it has its own time before the tests. */
export function buildFirst(build: () => unknown): void {
  beforeAll(() => {
    if (missing === undefined) build();
  }, 20 * 60_000);
}

/** Milliseconds for an operation's emulated examples: seconds where the machine is idle. */
export const EMULATED_TIMEOUT = 5 * 60_000;

let built: Device | undefined;

export function emulator(): Device {
  return built ??= {
    plugin: join(buildTarget("emulator", "cuda"), "libsecateur_cuda_emulator.so"),
    index: 0,
  };
}

/** Runs `body` while the emulator's blocks and threads take turns in this order. */
export async function inOrder<T>(
  order: (typeof ORDERS)[number],
  body: () => Promise<T>,
): Promise<T> {
  const before = process.env.SECATEUR_EMULATOR_ORDER;
  process.env.SECATEUR_EMULATOR_ORDER = order;
  try {
    return await body();
  } finally {
    if (before === undefined) delete process.env.SECATEUR_EMULATOR_ORDER;
    else process.env.SECATEUR_EMULATOR_ORDER = before;
  }
}
