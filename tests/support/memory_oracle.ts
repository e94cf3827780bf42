/**
 * Runs a program's places, not its arithmetic: every piece remembers which image of which
 * value was written there last, slices of a segment run on several threads in random interleavings,
 * and whatever an instruction reads must still be there.
 */

import { OPERATIONS } from "../../src/program/operations.ts";
import {
  bytesOf,
  DTYPE_BYTES,
  elementsOf,
  type Entry,
  type Program,
  type Value,
} from "../../src/program/program.ts";
import type { RandomStream } from "../../src/random.ts";

/** Who wrote each piece of an arena; pieces are as small as the smallest element. */
class Memory {
  #owner: Int32Array = new Int32Array(1 << 12);
  readonly #tokens: Map<string, number> = new Map();

  write(from: number, to: number, token: string): void {
    let id = this.#tokens.get(token);
    if (id === undefined) this.#tokens.set(token, id = this.#tokens.size + 1);
    const last = Math.ceil(to / PIECE);
    while (last > this.#owner.length) {
      const grown = new Int32Array(2 * this.#owner.length);
      grown.set(this.#owner);
      this.#owner = grown;
    }
    this.#owner.fill(id, from / PIECE, last);
  }

  holds(from: number, to: number, token: string): boolean {
    const id = this.#tokens.get(token);
    if (id === undefined) return false;
    for (let at = from / PIECE; at < to / PIECE; at++) if (this.#owner[at] !== id) return false;
    return true;
  }
}

/** Bytes per piece: f32 values fill whole pieces; packed weights and bf16 at worst round up. */
const PIECE = 4;

const present = (values: readonly number[]) => values.filter((value) => value >= 0);

class Run {
  readonly program: Program;
  readonly entry: Entry;
  readonly memories: Map<string, Memory>;
  readonly problems: string[] = [];
  /** What each value holds: changes with every instruction that writes it. */
  readonly written: Map<number, number>;

  constructor(
    program: Program,
    entry: Entry,
    memories: Map<string, Memory>,
    written: Map<number, number>,
  ) {
    this.program = program;
    this.entry = entry;
    this.memories = memories;
    this.written = written;
  }

  memory(value: Value, thread: number): Memory {
    const name = value.arena === "slice" ? `slice of thread ${thread}` : value.arena;
    let memory = this.memories.get(name);
    if (memory === undefined) this.memories.set(name, memory = new Memory());
    return memory;
  }

  /** Byte ranges and tokens of a value's part in one slice; the whole value when slice < 0. */
  ranges(index: number, version: number, slice: number): [number, number, string][] {
    const value = this.program.values[index];
    const bytes = elementsOf(value) * DTYPE_BYTES[value.dtype];
    if (value.images === 0) {
      return [[value.offset, value.offset + bytes, `${value.name}~${version}`]];
    }
    const sliced = slice >= 0 && value.images === this.entry.images;
    const first = sliced ? slice * this.entry.slice : 0;
    const last = sliced ? Math.min(value.images, first + this.entry.slice) : value.images;
    const base = value.arena === "slice" ? first : 0;
    return Array.from({ length: last - first }, (_, i) => {
      const image = first + i;
      const from = value.offset + (image - base) * bytes;
      return [from, from + bytes, `${value.name}~${version} image ${image}`];
    });
  }

  read(index: number, version: number, slice: number, thread: number, by: number): void {
    const value = this.program.values[index];
    for (const [from, to, token] of this.ranges(index, version, slice)) {
      if (!this.memory(value, thread).holds(from, to, token)) {
        this.problems.push(`${this.entry.name} instruction ${by} finds no ${token}`);
      }
    }
  }

  write(index: number, version: number, slice: number, thread: number): void {
    const value = this.program.values[index];
    for (const [from, to, token] of this.ranges(index, version, slice)) {
      this.memory(value, thread).write(from, to, token);
    }
  }
}

/** Segments straight from the definition in native/cpu/backend.h. */
function segments(program: Program, entry: Entry): number[][] {
  const result: number[][] = [];
  let open: number[] | undefined;
  for (let i = entry.first; i < entry.first + entry.count; i++) {
    const { op, inputs } = program.instructions[i];
    const needsCombined = open?.some((earlier) =>
      OPERATIONS[program.instructions[earlier].op].kind === "reduction" &&
      program.instructions[earlier].outputs.some((output) => inputs.includes(output))
    );
    if (OPERATIONS[op].kind === "whole") {
      result.push([i]);
      open = undefined;
    } else if (open === undefined || needsCombined) result.push(open = [i]);
    else open.push(i);
  }
  return result;
}

/** Runs one segment with its slices on `threads` threads in a random interleaving. */
function runSegment(
  run: Run,
  segment: readonly number[],
  threads: number,
  random: RandomStream,
): void {
  const { program, entry } = run;
  const kind = OPERATIONS[program.instructions[segment[0]].op].kind;
  const versions = segment.map((at) => {
    const { inputs, outputs } = program.instructions[at];
    const before = present(inputs).map((index) => [index, run.written.get(index) ?? -1] as const);
    const after = present(outputs).map((index) => [index, at] as const);
    for (const [index, version] of after) run.written.set(index, version);
    return { before, after };
  });
  const execute = (step: number, slice: number, thread: number) => {
    const { before, after } = versions[step];
    for (const [index, version] of before) run.read(index, version, slice, thread, segment[step]);
    const reduces = OPERATIONS[program.instructions[segment[step]].op].kind === "reduction";
    if (!reduces) {
      for (const [index, version] of after) {
        run.write(index, version, slice, thread);
      }
    }
  };
  if (kind === "whole") {
    execute(0, -1, 0);
    return;
  }
  const slices = Math.ceil(entry.images / entry.slice);
  let next = 0;
  const busy = Array.from({ length: threads }, () => ({ slice: -1, step: segment.length }));
  for (;;) {
    for (const thread of busy) {
      if (thread.step === segment.length && next < slices) {
        thread.slice = next++;
        thread.step = 0;
      }
    }
    const working = busy.filter(({ step }) => step < segment.length);
    if (working.length === 0) break;
    const thread = working[random.integer(working.length)];
    execute(thread.step++, thread.slice, busy.indexOf(thread));
  }
  segment.forEach((at, step) => {
    if (OPERATIONS[program.instructions[at].op].kind !== "reduction") return;
    for (const [index, version] of versions[step].after) run.write(index, version, -1, 0);
  });
}

/**
 * Runs entries one after another and names everything that was overwritten before it was read.
 * `keep` lists values that must still be there after the named entry.
 */
export function memoryProblems(
  program: Program,
  order: readonly string[],
  random: RandomStream,
  keep: ReadonlyMap<string, ReadonlySet<string>> = new Map(),
  threads = 3,
): string[] {
  const memories = new Map<string, Memory>();
  const written = new Map<number, number>();
  const problems: string[] = [];
  const setUp = new Run(program, program.entries[0], memories, written);
  program.values.forEach((value, index) => {
    const end = value.offset + bytesOf(value, Math.max(1, ...program.entries.map((e) => e.slice)));
    if (value.arena !== "slice" && end > program.arenas[value.arena]) {
      problems.push(`${value.name} ends outside of ${value.arena}`);
    }
    if (value.arena === "activations" || value.arena === "slice") return;
    written.set(index, -1);
    setUp.write(index, -1, -1, 0);
  });
  for (const name of order) {
    const entry = program.entries.find((candidate) => candidate.name === name)!;
    const run = new Run(program, entry, memories, written);
    for (const segment of segments(program, entry)) runSegment(run, segment, threads, random);
    program.values.forEach((value, index) => {
      if (keep.get(name)?.has(value.name)) run.read(index, written.get(index) ?? -1, -1, 0, -1);
    });
    problems.push(...run.problems);
  }
  return problems;
}
