/** Removes instructions whose results nobody reads. */

import type { Draft, DraftInstruction } from "../draft.ts";

/**
 * Keeps what `wanted` values depend on, and whatever changes weights (running statistics, updates).
 */
export function removeDead(
  draft: Draft,
  instructions: readonly DraftInstruction[],
  wanted: Iterable<string>,
): DraftInstruction[] {
  const needed = new Set(wanted);
  return instructions.toReversed().filter(({ inputs, outputs }) => {
    const alive = Object.values(outputs).some((name) =>
      needed.has(name) || draft.get(name).place === "weights"
    );
    if (alive) { for (const name of Object.values(inputs)) needed.add(name); }
    return alive;
  }).reverse();
}
