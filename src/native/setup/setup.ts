/**
 * Makes the machine ready: installs what the build needs where that is allowed, and builds the
 * native addon when it is missing or was built from other sources. Does nothing, quickly, when
 * all is in place. Tasks run this file before the program; everything it says goes to standard
 * error, which leaves standard output to `--json`.
 */

import { closeSync, existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { reasonOf, SecateurError } from "../../errors.ts";
import { printable } from "../../printable.ts";
import { buildAddon, isFresh, openLog } from "./build.ts";
import { buildCudaPlugin } from "./cuda.ts";
import { installPackages, rightsHere, runCommand } from "./install.ts";
import { requirePlatform } from "./platform.ts";
import { ROOT } from "./sources.ts";
import { findProgram, findToolchain, missingPackages, type Toolchain } from "./toolchain.ts";

/** Lines may quote a compiler, and that what it reads. */
function say(lines: string): void {
  process.stderr.write(`secateur: ${lines.split("\n").map(printable).join("\n")}\n`);
}

/** Throws "addon-missing" when something the set-up itself uses is absent. */
function requireHelpers(root: string): void {
  const packages = ["cmake-js", "node-addon-api"].map((name) => join(root, "node_modules", name));
  if (!packages.every((path) => existsSync(path))) {
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

/** Where progress goes; a part of process.stderr. */
export interface ProgressOutput {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

/** Milliseconds between two lines where one line cannot count up. */
const LOG_INTERVAL = 10_000;

/** Tells how far the build is: in one line that counts up on a terminal, in a few lines elsewhere. */
export function buildProgress(out: ProgressOutput, now: () => number): {
  /** `share` of the work done, 0 to 1. */
  update: (share: number) => void;
  /** Leaves the terminal tidy. */
  end: () => void;
} {
  const title = "secateur: building the native addon, once";
  const clear = out.isTTY ? "\r\x1b[K" : "";
  let told = now();
  out.write(out.isTTY ? title : `${title}\n`);
  return {
    update: (share) => {
      const line = `${title}: ${Math.floor(share * 100)}%`;
      if (out.isTTY) out.write(`${clear}${line}`);
      else if (now() - told >= LOG_INTERVAL) {
        told = now();
        out.write(`${line}\n`);
      }
    },
    end: () => out.write(clear),
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
    const { update, end } = buildProgress(process.stderr, () => performance.now());
    const aside = (line: string) => {
      end();
      say(line);
    };
    try {
      await buildAddon({ root, compiler, withOneDnn, log, say: aside, onProgress: update });
    } finally {
      end();
    }
    const seconds = ((performance.now() - started) / 1000).toFixed(0);
    say(`built the native addon in ${seconds} s${withOneDnn ? "" : ", without oneDNN"}`);
  } finally {
    closeSync(log);
  }
}

/** Leaves a fresh plugin for GPUs in `build/`, or throws a SecateurError that says why not. */
export async function setUpCuda(root: string = ROOT): Promise<void> {
  const log = openLog(root);
  try {
    const started = performance.now();
    say("building the plugin for GPUs");
    await buildCudaPlugin(root, log);
    say(`built the plugin for GPUs in ${((performance.now() - started) / 1000).toFixed(0)} s`);
  } finally {
    closeSync(log);
  }
}

if (import.meta.main) {
  try {
    await setUp();
    if (process.argv.includes("--cuda")) await setUpCuda();
  } catch (thrown) {
    const known = thrown instanceof SecateurError;
    const reason = reasonOf(thrown);
    say(known ? reason : `the build went wrong (${reason}); SECATEUR_DEBUG=1 shows where`);
    if (process.env.SECATEUR_DEBUG) console.error(thrown);
    process.exitCode = 1;
  }
}
