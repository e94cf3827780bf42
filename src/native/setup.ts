/**
 * Makes the machine ready: installs what the build needs where that is allowed, and builds the
 * native addon when it is missing or was built from other sources. Does nothing, quickly, when
 * all is in place. Tasks run this file before the program; everything it says goes to standard
 * error, which leaves standard output to `--json`.
 */

import { closeSync, existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { reasonOf, SecateurError } from "../errors.ts";
import { buildAddon, isFresh, openLog } from "./build.ts";
import { installPackages, rightsHere, runCommand } from "./install.ts";
import { requirePlatform } from "./platform.ts";
import { ROOT } from "./sources.ts";
import { findProgram, findToolchain, missingPackages, type Toolchain } from "./toolchain.ts";

function say(line: string): void {
  process.stderr.write(`secateur: ${line}\n`);
}

/** Throws "addon-missing" when something the set-up itself uses is absent. */
function requireHelpers(root: string): void {
  if (!existsSync(join(root, "node_modules", "node-addon-api"))) {
    throw new SecateurError(
      "addon-missing",
      "Building the native addon needs the npm packages of package.json in node_modules; " +
        "run `deno install`, then try again.",
    );
  }
  if (findProgram("flock") === undefined) {
    throw new SecateurError(
      "addon-missing",
      "Building the native addon needs the program flock of util-linux, which was not found; " +
        "install util-linux, then try again.",
    );
  }
}

/** Installs what the build lacks, one process at a time, and looks again at what there is. */
async function completeToolchain(root: string, log: number): Promise<Toolchain> {
  const lock = ["flock", join(root, "build", "lock")];
  await installPackages(
    missingPackages(findToolchain()),
    rightsHere(),
    say,
    (command) => runCommand([...lock, ...command], log),
  );
  return findToolchain();
}

/** A line that counts up on a terminal, and one plain line elsewhere. */
function progressLine(): { update: (share: number) => void; end: (line: string) => void } {
  const terminal = process.stderr.isTTY === true;
  const title = "building the native addon, once";
  if (!terminal) say(title);
  return {
    update: (share) => {
      if (terminal) process.stderr.write(`\rsecateur: ${title}: ${Math.round(share * 100)}% `);
    },
    end: (line) => {
      if (terminal) process.stderr.write("\r\x1b[K");
      say(line);
    },
  };
}

/** Leaves a fresh addon in `build/`, or throws a SecateurError that says what is in the way. */
export async function setUp(root: string = ROOT): Promise<void> {
  requirePlatform();
  if (isFresh(root, findToolchain().oneDnn !== undefined)) return;
  requireHelpers(root);
  const log = openLog(root);
  try {
    const { compiler = "c++", oneDnn } = await completeToolchain(root, log);
    const withOneDnn = oneDnn !== undefined;
    const started = performance.now();
    const line = progressLine();
    await buildAddon({ root, compiler, withOneDnn, log, say, onProgress: line.update });
    const seconds = ((performance.now() - started) / 1000).toFixed(0);
    line.end(`built the native addon in ${seconds} s${withOneDnn ? "" : ", without oneDNN"}`);
  } finally {
    closeSync(log);
  }
}

if (import.meta.main) {
  try {
    await setUp();
  } catch (thrown) {
    say(reasonOf(thrown));
    if (!(thrown instanceof SecateurError)) console.error(thrown);
    process.exitCode = 1;
  }
}
