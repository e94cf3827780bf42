/** The replay that a build left beside the addon. */

import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../../../src/native/setup/sources.ts";

/** The newest one, undefined where only the addon was brought along. */
export const replay: string | undefined = ["onednn", "portable"]
  .map((variant) => join(ROOT, "build", variant, "replay"))
  .filter((path) => existsSync(path))
  .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0];
