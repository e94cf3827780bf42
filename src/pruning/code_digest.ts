/** What a stage's result depends on beside its inputs: the code that makes it. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { filesUnder, ROOT } from "../native/setup/sources.ts";

/** Rooms that say what is done and show what was found; no result depends on them. */
const TELLING = new Set(["batch", "commands", "report", "cli.ts"]);

let known: string | undefined;

/**
 * SHA-256 over the names and contents of the sources that results depend on, and of the versions of what
 * they use, in hexadecimal. The native part has a digest of its own, which every stage depends on.
 */
export function codeDigest(): string {
  if (known !== undefined) return known;
  const hash = createHash("sha256").update(readFileSync(join(ROOT, "package.json")));
  const folder = join(ROOT, "src");
  for (const path of filesUnder(folder)) {
    const name = relative(folder, path).split(sep).join("/");
    if (TELLING.has(name.split("/")[0])) continue;
    const content = readFileSync(path);
    hash.update(`${name}\0${content.length}\0`).update(content);
  }
  return known = hash.digest("hex");
}
