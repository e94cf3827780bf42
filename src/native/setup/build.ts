/** Has cmake-js compile the addon under a lock, seals it and renames it into place. */

import { mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { SecateurError } from "../../errors.ts";
import { unwritable } from "../../formats/atomic.ts";
import { runCommand } from "./install.ts";
import { isSealed, SEAL_LENGTH, SEAL_MARK } from "./seal.ts";
import { addonPath, buildHash } from "./sources.ts";

/** flock's exit status when another process holds the lock. */
const BUSY = 75;

/**
 * Runs under the lock, with cmake-js as its arguments: another build may have finished the work while
 * this one waited. A CMake cache that belongs to another folder or compiler is thrown away once. A
 * library that a killed linker left, or an object that a power cut emptied, would count as made: both
 * are made anew.
 */
const BUILD_SCRIPT = `
set -e
digest() { sha256sum | cut -c 1-64; }
if grep -qsF "$HASH" "$ADDON"; then
  sealed="$SEAL_MARK$(head -c "-$SEAL_LENGTH" "$ADDON" | digest)"
  if [ "$(tail -c "$SEAL_LENGTH" "$ADDON" | tr -d '\\0')" = "$sealed" ]; then exit 0; fi
fi
library="$WORK/Release/secateur.node"
if [ -d "$WORK" ]; then
  rm -f "$library"
  find "$WORK" -name '*.o' -empty -delete
fi
cmake_js() {
  step="$1"
  shift
  "$@" "$step" --log-level warn --directory "$ROOT" --out "$WORK" --target addon \\
    --parallel "$JOBS" --generator "Unix Makefiles" --cc "$COMPILER" --cxx "$COMPILER" \\
    "--CDSECATEUR_ONEDNN=$ONEDNN" "--CDSECATEUR_SOURCE_HASH=$HASH"
}
cmake_js configure "$@" || { rm -rf "$WORK"; cmake_js configure "$@"; }
cmake_js build "$@"
cp "$library" "$ADDON.new"
echo "$SEAL_MARK$(digest < "$library")" >> "$ADDON.new"
mv -fT "$ADDON.new" "$ADDON"
`;

/**
 * The command that runs cmake-js in this runtime. Under Deno it may not use the network: package.json
 * says that the addon is built against Node-API alone, so there is nothing to download.
 */
export function cmakeJs(root: string): string[] {
  const program = join(root, "node_modules", "cmake-js", "bin", "cmake-js");
  const deno = ["run", "--quiet", "--no-prompt", "-R", "-W", "-E", "-S", "--allow-run"];
  return [process.execPath, ...(process.versions.deno === undefined ? [] : deno), program];
}

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

/** Whether the addon in place is what was built from the sources at hand. */
export function isFresh(root: string, withOneDnn: boolean): boolean {
  try {
    const file = readFileSync(addonPath(root));
    return isSealed(file) && file.includes(buildHash(root, withOneDnn));
  } catch {
    return false;
  }
}

/**
 * A file descriptor of `build/build.log`, emptied.
 * @throws SecateurError `file-unwritable` when nothing can be written there.
 */
export function openLog(root: string): number {
  const folder = join(root, "build");
  const log = join(folder, "build.log");
  const advice = "the native addon is built there, so make it a folder that you may write to";
  try {
    mkdirSync(folder, { recursive: true });
  } catch (thrown) {
    throw unwritable(folder, thrown, advice);
  }
  try {
    return openSync(log, "w");
  } catch (thrown) {
    throw unwritable(log, thrown, advice);
  }
}

/** What cmake-js says of a command that failed after saying itself why. */
const ECHO = /^ERROR OMG Process terminated/;

/** The lines of the log that say what failed: the compiler's errors, else its last lines. */
export function failureLines(log: string): string[] {
  const lines = log.trimEnd().split("\n").filter((line) => !ECHO.test(line));
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
    SEAL_MARK,
    SEAL_LENGTH: String(SEAL_LENGTH),
    COMPILER: compiler,
    ONEDNN: withOneDnn ? "ON" : "OFF",
    JOBS: String(availableParallelism()),
  };
  const assignments = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
  const locked = (...flags: string[]) =>
    runCommand(
      ["flock", ...flags, join(root, "build", "lock"), "env", ...assignments]
        .concat("sh", "-c", BUILD_SCRIPT, "sh", ...cmakeJs(root)),
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
