/** Loads the native addon, or explains in one sentence why that is not possible. */

import { existsSync, readFileSync } from "node:fs";
import process from "node:process";
import { reasonOf, SecateurError } from "../errors.ts";
import type { Addon } from "./addon.ts";
import { requirePlatform } from "./setup/platform.ts";
import { isCutOff, isSealed } from "./setup/seal.ts";
import { addonPath, sourceHash } from "./setup/sources.ts";

let loaded: Addon | undefined;

/**
 * The native addon, loaded once per thread. SECATEUR_ADDON names another file to load, such as
 * one built with a sanitizer, whose sources are then not compared.
 *
 * Throws "platform-unsupported", "addon-missing" when it was never built, and "addon-failed" when
 * it does not load or was built from other sources than those in `native/`.
 */
export function loadAddon(): Addon {
  if (loaded) return loaded;
  requirePlatform();
  const chosen = process.env.SECATEUR_ADDON;
  const addon = openAddon(chosen ?? addonPath(), chosen === undefined);
  if (!chosen) requireFresh(addon.sourceHash, sourceHash());
  return loaded = addon;
}

/**
 * Opens the addon in a file without comparing sources. One that is not `sealed` by a build is only
 * looked at for its length, since a library that was cut off ends the process.
 */
export function openAddon(path: string, sealed: boolean): Addon {
  if (!existsSync(path)) {
    throw new SecateurError(
      "addon-missing",
      `The native addon is expected at ${path}, but there is no such file; ` +
        "build it with `deno task build`.",
    );
  }
  requireWhole(path, sealed);
  const module: { exports: Partial<Addon> } = { exports: {} };
  try {
    process.dlopen(module, path);
  } catch (thrown) {
    throw new SecateurError(
      "addon-failed",
      `The native addon ${path} could not be loaded (${reasonOf(thrown).split("\n")[0]}); ` +
        "build it again with `deno task build`.",
      { cause: thrown },
    );
  }
  if (typeof module.exports.sourceHash !== "string") {
    throw new SecateurError(
      "addon-failed",
      `The native addon was expected in ${path}, but the file is another library; ` +
        "build the addon with `deno task build`.",
    );
  }
  return module.exports as Addon;
}

/** Throws "addon-failed" for a file that is not what was built. */
function requireWhole(path: string, sealed: boolean): void {
  let file;
  try {
    file = readFileSync(path);
  } catch (thrown) {
    throw new SecateurError(
      "addon-failed",
      `The native addon ${path} could not be read (${reasonOf(thrown)}); build it again with ` +
        "`deno task build`.",
      { cause: thrown },
    );
  }
  if (sealed ? isSealed(file) : !isCutOff(file)) return;
  throw new SecateurError(
    "addon-failed",
    `The native addon ${path} is not what was built: it was cut off or changed; build it again ` +
      "with `deno task build`.",
  );
}

/**
 * Throws "addon-failed" when an addon's `sourceHash`, "<digest>-<variant>", is not of these
 * sources. Sources that are absent cannot differ.
 */
export function requireFresh(embedded: string, sources: string | undefined): void {
  if (sources === undefined || embedded.split("-")[0] === sources) return;
  throw new SecateurError(
    "addon-failed",
    "The native addon was built from other sources than those in native/; " +
      "build it again with `deno task build`.",
  );
}
