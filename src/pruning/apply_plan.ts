import { readFile } from "node:fs/promises";
import type { Plan } from "./plan.ts";

const SOURCE = new URL("./apply_plan.py", import.meta.url);
/** Where apply_plan.py holds the plan: a raw string of JSON. */
const PLACE = 'json.loads(r"""{}""")';

/**
 * ASCII that stands in a raw string between three double quotes as it is. JSON never has three
 * quotes in a row: those inside of strings are escaped, and strings are parted by other characters.
 */
function asciiJson(plan: unknown): string {
  return JSON.stringify(plan).replaceAll(
    /[^\x20-\x7e]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** apply_plan.py with a plan in it: a Python file that needs torch alone. */
export async function applyPlanSource(plan: Plan): Promise<string> {
  const source = await readFile(SOURCE, "utf8");
  if (!source.includes(PLACE)) throw new Error("apply_plan.py has no place for the plan");
  return source.replace(PLACE, () => `json.loads(r"""${asciiJson(plan)}""")`);
}
