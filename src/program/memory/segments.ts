/**
 * Segments: the units in which native code runs an entry. Consecutive image and reduction
 * instructions form one, executed slice by slice, the whole segment per slice; it ends where the
 * combined output of one of its reductions is read. A `whole` instruction is a segment of its own.
 * native/program/schedule.cpp cuts the same way.
 */

import type { OperationKind } from "../operations.ts";

/** What cutting needs to know of an instruction; values are names or indices. */
export interface Cuttable<V> {
  readonly kind: OperationKind;
  readonly inputs: readonly V[];
  readonly outputs: readonly V[];
}

/** The segment of each instruction of an entry, counted from 0. */
export function segmentsOf<V>(instructions: readonly Cuttable<V>[]): number[] {
  const combined = new Set<V>();
  let segment = -1;
  let open = false;
  return instructions.map(({ kind, inputs, outputs }) => {
    const cut = !open || kind === "whole" || inputs.some((input) => combined.has(input));
    if (cut) {
      segment++;
      combined.clear();
    }
    open = kind !== "whole";
    if (kind === "reduction") { for (const output of outputs) combined.add(output); }
    return segment;
  });
}
