/** How many images go through a segment at a time. */

import { type Draft, type DraftInstruction, kindOf } from "../draft.ts";
import { bytesOf } from "../program.ts";

/** What the largest instruction may touch, so that a slice stays in a core's 2 MB of L2. */
const WORKING_SET_BYTES = 1 << 20;
const SMALLEST = 8;
const LARGEST = 32;
/** At least this many slices, so that a few threads have equal work. */
const SLICES = 8;

/** Images per slice for an entry; part of the program, so results do not depend on threads. */
export function chooseSlice(
  draft: Draft,
  instructions: readonly DraftInstruction[],
  images: number,
): number {
  let largest = 1;
  for (const instruction of instructions) {
    if (kindOf(instruction) === "whole") continue;
    let bytes = 0;
    for (
      const name of [...Object.values(instruction.inputs), ...Object.values(instruction.outputs)]
    ) {
      const value = draft.get(name);
      if (value.images > 0) bytes += bytesOf({ ...value, images: 1, arena: "activations" }, 1);
    }
    largest = Math.max(largest, bytes);
  }
  const fitting = Math.floor(WORKING_SET_BYTES / largest);
  const wanted = Math.min(LARGEST, Math.max(SMALLEST, fitting), Math.ceil(images / SLICES));
  // Powers of two, so that entries agree on few sizes and share packed weights.
  return 2 ** Math.floor(Math.log2(Math.max(1, wanted)));
}
