/** Where the native addon and its sources are, and the digest that ties one to the other. */

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository's root folder. */
export const ROOT: string = fileURLToPath(new URL("../../../", import.meta.url));

/** Where a build leaves the addon. */
export function addonPath(root: string = ROOT): string {
  return join(root, "build", "secateur.node");
}

/**
 * SHA-256 over the names and contents of everything in `native/`, in hexadecimal; undefined where
 * the sources were left out. The addon carries the digest it was built from, so that a stale one
 * is noticed.
 */
export function sourceHash(root: string = ROOT): string | undefined {
  const folder = join(root, "native");
  const hash = createHash("sha256");
  const files = filesUnder(folder);
  if (files.length === 0) return undefined;
  for (const file of files) {
    const content = readFileSync(file);
    hash.update(`${relative(folder, file).split(sep).join("/")}\0${content.length}\0`);
    hash.update(content);
  }
  return hash.digest("hex");
}

/** The files below a folder in the order of their names; none when there is no such folder. */
export function filesUnder(folder: string): string[] {
  let entries;
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch {
    return [];
  }
  return entries
    .filter((entry) => !entry.name.startsWith("."))
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      return entry.isDirectory() ? filesUnder(path) : entry.isFile() ? [path] : [];
    })
    .sort();
}

/**
 * What the addon exports as `sourceHash`: the sources' digest, and whether oneDNN was compiled in,
 * since installing or removing oneDNN calls for another build too.
 */
export function buildHash(root: string, withOneDnn: boolean): string {
  return `${sourceHash(root)}-${withOneDnn ? "onednn" : "portable"}`;
}
