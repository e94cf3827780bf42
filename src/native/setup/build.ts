/** Compiles the addon under a lock and renames it into place. */

import { mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { SecateurError } from "../../errors.ts";
import { runCommand } from "./install.ts";
import { addonPath, buildHash } from "./sources.ts";

/** flock's exit status when another process holds the lock. */
const BUSY = 75;

/**
 * Runs under the lock: another build may have finished the work while this one waited. A CMake
 * cache that belongs to another folder or compiler is thrown away once.
 */
const BUILD_SCRIPT = `
set -e
if grep -qsF "$HASH" "$ADDON"; then exit 0; fi
configure() {
  cmake -S "$ROOT/native" -B "$WORK" -G "Unix Makefiles" -DCMAKE_BUILD_TYPE=Release \\
    -DCMAKE_CXX_COMPILER="$COMPILER" -DSECATEUR_ONEDNN="$ONEDNN" -DSECATEUR_SOURCE_HASH="$HASH" \\
    -DNODE_MODULES="$ROOT/node_modules"
}
configure || { rm -rf "$WORK"; configure; }
cmake --build "$WORK" --target addon --parallel "$JOBS"
cp "$WORK/secateur.node" "$ADDON.new"
mv -f "$ADDON.new" "$ADDON"
`;

export interface BuildOptions {
  readonly root: string;
  readonly compiler: string;
  readonly withOneDnn: boolean;
  /** File descriptor of the log, from `openLog`. */
  readonly log: number;
  readonly say: (line: string) => void;
  /** Called with the share of the work done, 0 to 1. */
  readonly onProgress?: (share: number) => void;
}

/** Whether the addon in place was built from the sources at hand. */
export function isFresh(root: string, withOneDnn: boolean): boolean {
  try {
    return readFileSync(addonPath(root)).includes(buildHash(root, withOneDnn));
  } catch {
    return false;
  }
}

/** A file descriptor of `build/build.log`, emptied. */
export function openLog(root: string): number {
  mkdirSync(join(root, "build"), { recursive: true });
  return openSync(join(root, "build", "build.log"), "w");
}

/** The lines of the log that say what failed: the compiler's errors, else its last lines. */
export function failureLines(log: string): string[] {
  const lines = log.trimEnd().split("\n");
  const errors = lines.filter((line) => /\berror\b|undefined reference|Error:/i.test(line));
  return errors.length > 0 ? errors.slice(0, 12) : lines.slice(-12);
}

/**
 * Builds `build/secateur.node` from `native/`. Builds at the same time wait for each other: the
 * lock is the kernel's, held as long as a process of the build lives, so it is never stale.
 * Throws "addon-failed" with the compiler's complaint.
 */
export async function buildAddon(options: BuildOptions): Promise<void> {
  const { root, compiler, withOneDnn, log, say, onProgress } = options;
  const variables = {
    ROOT: root,
    WORK: join(root, "build", withOneDnn ? "onednn" : "portable"),
    ADDON: addonPath(root),
    HASH: buildHash(root, withOneDnn),
    COMPILER: compiler,
    ONEDNN: withOneDnn ? "ON" : "OFF",
    JOBS: String(availableParallelism()),
  };
  const assignments = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  const locked = (...flags: string[]) =>
    runCommand(
      ["flock", ...flags, join(root, "build", "lock"), "env", ...assignments]
        .concat("sh", "-c", BUILD_SCRIPT),
      log,
      (text) => {
        writeSync(log, text);
        const percent = [...text.matchAll(/^\[ *(\d+)%\]/gm)].at(-1)?.[1];
        if (percent) onProgress?.(Number(percent) / 100);
      },
    );
  let status = await locked("--nonblock", "--conflict-exit-code", String(BUSY));
  if (status === BUSY) {
    say("waiting for another build of the native addon");
    status = await locked();
  }
  if (status === 0) return;
  const lines = failureLines(readFileSync(join(root, "build", "build.log"), "utf8"));
  throw new SecateurError(
    "addon-failed",
    `The native addon could not be built:\n${lines.join("\n")}\n` +
      "The whole output is in build/build.log.",
  );
}
