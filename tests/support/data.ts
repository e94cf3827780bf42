/** Where tests find the real images and weights, which are too large for the repository. */

import { existsSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";

/**
 * The folder of SECATEUR_DATA, else `../shared/data` beside the checkout; undefined when absent.
 * Tests that need it use `it.skipIf(dataFolder() === undefined)`.
 */
export function dataFolder(): string | undefined {
  const folder = process.env.SECATEUR_DATA ??
    fileURLToPath(new URL("../../../shared/data", import.meta.url));
  return existsSync(folder) ? folder : undefined;
}
