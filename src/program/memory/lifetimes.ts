/**
 * When the image values of an entry are alive. In the activations arena time counts in segments:
 * slices are at different points of a segment on different threads, so values of one segment are
 * all alive at once. In the slice arena time counts in instructions, and only values whose whole
 * life lies within one segment can be there.
 */

import { type Draft, type DraftEntry, kindOf } from "../draft.ts";
import type { OperationName } from "../operations.ts";
import { elementsOf } from "../program.ts";
import { segmentsOf } from "./segments.ts";

/**
 * Outputs that may lie where an input was, when that input is read there for the last time;
 * native/program/verify_arguments.cpp allows the same.
 */
const IN_PLACE: Partial<Record<OperationName, readonly (readonly [string, string])[]>> = {
  add: [["y", "a"], ["y", "b"]],
  relu: [["y", "x"]],
  relu_backward: [["dx", "dy"]],
  gate: [["y", "x"]],
  activation: [["y", "x"]],
  activation_backward: [["dx", "dy"]],
  batch_norm_apply: [["y", "x"], ["y", "residual"]],
  batch_norm_inference: [["y", "x"], ["y", "residual"]],
  batch_norm_backward_apply: [["dx", "dy"], ["dresidual", "dy"]],
};

/** A stretch of memory that one value, or several in place of each other, need for a time. */
export interface Buffer {
  readonly values: string[];
  readonly arena: "activations" | "slice";
  /** Inclusive; segments in activations, instructions in slice. */
  first: number;
  last: number;
}

interface Life {
  readonly value: string;
  firstInstruction: number;
  lastInstruction: number;
  firstSegment: number;
  lastSegment: number;
}

/** First and last use of every activation that belongs to this entry alone. */
function livesOf(draft: Draft, entry: DraftEntry, shared: ReadonlySet<string>): Map<string, Life> {
  const cut = segmentsOf(entry.instructions.map((instruction) => ({
    kind: kindOf(instruction),
    inputs: Object.values(instruction.inputs),
    outputs: Object.values(instruction.outputs),
  })));
  const lives = new Map<string, Life>();
  entry.instructions.forEach(({ inputs, outputs }, index) => {
    for (const name of [...Object.values(inputs), ...Object.values(outputs)]) {
      if (shared.has(name) || draft.get(name).place !== "activations") continue;
      const life = lives.get(name);
      if (life === undefined) {
        lives.set(name, {
          value: name,
          firstInstruction: index,
          lastInstruction: index,
          firstSegment: cut[index],
          lastSegment: cut[index],
        });
      } else {
        life.lastInstruction = index;
        life.lastSegment = cut[index];
      }
    }
  });
  return lives;
}

/**
 * The buffers an entry needs, in the order their first values are written. `shared` values have
 * places of their own.
 */
export function buffersOf(
  draft: Draft,
  entry: DraftEntry,
  shared: ReadonlySet<string>,
): Buffer[] {
  const lives = livesOf(draft, entry, shared);
  const bufferOf = new Map<string, Buffer>();
  const buffers: Buffer[] = [];
  for (const life of lives.values()) {
    const kept = entry.keep.has(life.value);
    const local = !kept && life.firstSegment === life.lastSegment &&
      draft.get(life.value).images === entry.images;
    const time = local
      ? { first: life.firstInstruction, last: life.lastInstruction }
      : { first: life.firstSegment, last: kept ? Infinity : life.lastSegment };
    const arena = local ? "slice" : "activations";
    const host = hostOf(draft, entry, life, lives, bufferOf);
    if (host?.arena === arena) {
      host.values.push(life.value);
      host.last = time.last;
      bufferOf.set(life.value, host);
    } else {
      const buffer: Buffer = { values: [life.value], arena, ...time };
      buffers.push(buffer);
      bufferOf.set(life.value, buffer);
    }
  }
  return buffers;
}

/** The buffer whose value ends in the instruction that writes this one, if it may be reused. */
function hostOf(
  draft: Draft,
  entry: DraftEntry,
  life: Life,
  lives: ReadonlyMap<string, Life>,
  bufferOf: ReadonlyMap<string, Buffer>,
): Buffer | undefined {
  const writer = entry.instructions[life.firstInstruction];
  for (const [output, input] of IN_PLACE[writer.op] ?? []) {
    const source = writer.inputs[input];
    if (writer.outputs[output] !== life.value || source === undefined) continue;
    const dies = lives.get(source)?.lastInstruction === life.firstInstruction &&
      !entry.keep.has(source);
    const a = draft.get(source), b = draft.get(life.value);
    const alike = a.dtype === b.dtype && a.images === b.images && elementsOf(a) === elementsOf(b);
    const host = bufferOf.get(source);
    // Another output of the same instruction may have taken the place.
    if (dies && alike && host?.values.at(-1) === source) return host;
  }
  return undefined;
}
