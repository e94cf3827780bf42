/** The folder that a command was typed in, which is what its relative paths mean. */

import process from "node:process";
import { fileURLToPath } from "node:url";
import { reasonInWords } from "../../formats/atomic.ts";
import { SecateurError } from "../../errors.ts";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));

/**
 * Goes to the folder that the command was typed in, so that every path means what it means there:
 * options, environment variables, and what messages name. `deno task` goes to the repository's root
 * before it starts a program, and leaves in INIT_CWD where it came from; whoever starts the program
 * elsewhere has typed it there.
 * @throws SecateurError `file-missing` when that folder is gone or may not be entered.
 */
export function enterTypedFolder(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): void {
  const typed = environment.INIT_CWD;
  if (!typed || `${process.cwd()}/` !== ROOT) return;
  try {
    process.chdir(typed);
  } catch (thrown) {
    throw new SecateurError(
      "file-missing",
      `${typed}: expected the folder that the command was typed in, but ${
        reasonInWords(thrown)
      }; ` +
        `go to one that exists.`,
      { cause: thrown },
    );
  }
}
