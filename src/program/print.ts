/** A program as text: one line an instruction, then what each arena takes. */

import { formatBytes } from "../std.ts";
import { OPERATIONS } from "./operations.ts";
import { ARENAS, bytesOf, type Entry, type Instruction, type Program } from "./program.ts";

function printValue(program: Program, entry: Entry, index: number): string {
  const value = program.values[index];
  const extent = `${value.images > 0 ? ` ${value.images}x` : ""}[${value.shape.join(",")}]`;
  const place = `${value.arena}@${value.offset}`;
  return `${value.name} ${value.dtype}${extent} ${place} ${
    formatBytes(bytesOf(value, entry.slice))
  }`;
}

function printArguments(
  program: Program,
  entry: Entry,
  names: readonly string[],
  indices: readonly number[],
): string {
  return names.flatMap((name, position) =>
    indices[position] < 0
      ? []
      : [`${name.replace("?", "")}=${printValue(program, entry, indices[position])}`]
  ).join(", ");
}

function printInstruction(program: Program, entry: Entry, instruction: Instruction): string {
  const { inputs, outputs, ints, floats } = OPERATIONS[instruction.op];
  const attributes = [
    ...ints.map((name, i) => `${name}=${instruction.ints[i]}`),
    ...floats.map((name, i) => `${name}=${instruction.floats[i]}`),
  ];
  return `${instruction.op} ${instruction.layer}: ` +
    `${printArguments(program, entry, inputs, instruction.inputs)} -> ` +
    printArguments(program, entry, outputs, instruction.outputs) +
    (attributes.length === 0 ? "" : ` {${attributes.join(" ")}}`);
}

/** Prints a whole program. */
export function print(program: Program): string {
  const lines: string[] = [];
  for (const entry of program.entries) {
    lines.push(`${entry.name}: ${entry.images} images in slices of ${entry.slice}`);
    for (let i = 0; i < entry.count; i++) {
      const instruction = program.instructions[entry.first + i];
      lines.push(`  ${i} ${printInstruction(program, entry, instruction)}`);
    }
  }
  for (const arena of ARENAS) lines.push(`${arena}: ${formatBytes(program.arenas[arena])}`);
  return lines.join("\n") + "\n";
}
