/** Two gathers in a row become one, such as the slice and channel map of option-A shortcuts. */

import { countReads, type Draft, type DraftInstruction } from "../draft.ts";

/**
 * Start and stride of second after first along one axis, or undefined when a cell outside of what
 * the first wrote (zero) would fall inside of what it read.
 */
function composeAxis(
  first: { start: number; stride: number; from: number; to: number },
  second: { start: number; stride: number; to: number },
): { start: number; stride: number } | undefined {
  const start = second.start * first.stride + first.start;
  const stride = second.stride * first.stride;
  for (let i = 0; i < second.to; i++) {
    const between = i * second.stride + second.start;
    const source = i * stride + start;
    const written = between >= 0 && between < first.to;
    if (!written && source >= 0 && source < first.from) return undefined;
  }
  return { start, stride };
}

function compose(
  draft: Draft,
  first: DraftInstruction,
  second: DraftInstruction,
): DraftInstruction | undefined {
  const a = first.attributes, b = second.attributes;
  const rows = composeAxis(
    { start: a.start_row, stride: a.stride_height, from: a.in_height, to: a.out_height },
    { start: b.start_row, stride: b.stride_height, to: b.out_height },
  );
  const columns = composeAxis(
    { start: a.start_column, stride: a.stride_width, from: a.in_width, to: a.out_width },
    { start: b.start_column, stride: b.stride_width, to: b.out_width },
  );
  if (rows === undefined || columns === undefined) return undefined;
  const inner = draft.constants.get(first.inputs.map)!;
  const outer = draft.constants.get(second.inputs.map)!;
  const map = Int32Array.from(outer, (channel) => channel < 0 ? -1 : inner[channel]);
  return {
    ...second,
    inputs: {
      x: first.inputs.x,
      map: draft.constant(second.inputs.map, [map.length], map),
    },
    attributes: {
      ...b,
      in_height: a.in_height,
      in_width: a.in_width,
      in_channels: a.in_channels,
      start_row: rows.start,
      start_column: columns.start,
      stride_height: rows.stride,
      stride_width: columns.stride,
    },
  };
}

/** Composes gathers whose only reader is a gather; `pinned` values must stay. */
export function composeGathers(
  draft: Draft,
  instructions: readonly DraftInstruction[],
  pinned: ReadonlySet<string>,
): DraftInstruction[] {
  const reads = countReads(instructions);
  const writers = new Map<string, DraftInstruction>();
  const kept: (DraftInstruction | undefined)[] = [];
  for (const instruction of instructions) {
    let current = instruction;
    const first = writers.get(instruction.inputs.x);
    if (
      instruction.op === "gather" && first?.op === "gather" &&
      reads.get(instruction.inputs.x) === 1 && !pinned.has(instruction.inputs.x)
    ) {
      const composed = compose(draft, first, instruction);
      if (composed !== undefined) {
        kept[kept.indexOf(first)] = undefined;
        current = composed;
      }
    }
    kept.push(current);
    for (const output of Object.values(current.outputs)) writers.set(output, current);
  }
  return kept.filter((instruction) => instruction !== undefined);
}
