/** What building the addon needs, where it is on this machine, and which packages bring the rest. */

import { accessSync, constants, existsSync, readFileSync, statSync } from "node:fs";
import { delimiter, isAbsolute, join } from "node:path";
import process from "node:process";

type Environment = Readonly<Record<string, string | undefined>>;

export interface Toolchain {
  readonly compiler: string | undefined;
  readonly cmake: string | undefined;
  readonly make: string | undefined;
  /** Folder of oneDNN's headers; undefined when it is not installed, or not wanted. */
  readonly oneDnn: string | undefined;
}

/** Path of an executable, searched as a shell does. */
export function findProgram(
  name: string,
  environment: Environment = process.env,
): string | undefined {
  const candidates = isAbsolute(name)
    ? [name]
    : (environment.PATH ?? "").split(delimiter).filter(isAbsolute).map((dir) => join(dir, name));
  return candidates.find((candidate) => {
    try {
      accessSync(candidate, constants.X_OK);
      return statSync(candidate).isFile();
    } catch {
      return false;
    }
  });
}

/** SECATEUR_ONEDNN=0 builds without oneDNN even where it is installed. */
function wantsOneDnn(environment: Environment): boolean {
  return environment.SECATEUR_ONEDNN !== "0";
}

export function findToolchain(environment: Environment = process.env): Toolchain {
  const firstOf = (...names: (string | undefined)[]) => {
    for (const name of names) {
      const found = name ? findProgram(name, environment) : undefined;
      if (found) return found;
    }
    return undefined;
  };
  const headers = ["/usr/local/include", "/usr/include"];
  return {
    compiler: firstOf(environment.CXX, "g++", "c++", "clang++"),
    cmake: firstOf("cmake"),
    make: firstOf("make", "gmake"),
    oneDnn: wantsOneDnn(environment)
      ? headers.find((folder) => existsSync(join(folder, "oneapi/dnnl/dnnl.hpp")))
      : undefined,
  };
}

/** oneDNN's version, from its headers. */
export function oneDnnVersion(folder: string): string {
  const header = readFileSync(join(folder, "oneapi/dnnl/dnnl_version.h"), "utf8");
  return ["MAJOR", "MINOR", "PATCH"]
    .map((part) => new RegExp(`DNNL_VERSION_${part}\\s+(\\d+)`).exec(header)?.[1] ?? "?")
    .join(".");
}

export interface Packages {
  /** Without these there is no build. */
  readonly required: readonly string[];
  /** Without these the build is slower at work. */
  readonly optional: readonly string[];
}

/** The Debian packages that bring what the toolchain lacks. */
export function missingPackages(
  toolchain: Toolchain,
  environment: Environment = process.env,
): Packages {
  const required = [];
  if (!toolchain.compiler) required.push("g++");
  if (!toolchain.cmake) required.push("cmake");
  if (!toolchain.make) required.push("make");
  const optional = !toolchain.oneDnn && wantsOneDnn(environment) ? ["libdnnl-dev"] : [];
  return { required, optional };
}
