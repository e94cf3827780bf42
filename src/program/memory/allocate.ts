/**
 * Gives every value its place. Weights, state and feeds follow one another and are shared by all
 * entries. Activations of all entries overlay each other, above those that entries leave for one
 * another; so do slices, of which every thread has its own. Buffers go in by falling size, each at
 * the lowest offset free during its life.
 */

import type { Draft, DraftEntry, DraftInstruction } from "../draft.ts";
import { SecateurError } from "../../errors.ts";
import { buffersOf } from "./lifetimes.ts";
import { OPERATIONS } from "../operations.ts";
import { type Arena, bytesOf, type Instruction, type Program, type Value } from "../program.ts";

/** Offsets are multiples of this: a cache line, and an AVX-512 register. */
export const ALIGNMENT = 64;

function align(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

/** Something to place: bytes, alive from first to last inclusive. */
export interface Request {
  readonly bytes: number;
  readonly first: number;
  readonly last: number;
}

/** Offsets of requests such as no two alive at once overlap, and the bytes needed in all. */
export function place(requests: readonly Request[]): { offsets: number[]; bytes: number } {
  const offsets = new Array<number>(requests.length).fill(0);
  const order = requests.map((_, index) => index).sort((a, b) =>
    requests[b].bytes - requests[a].bytes || a - b
  );
  const placed: number[] = [];
  let total = 0;
  for (const index of order) {
    const { bytes, first, last } = requests[index];
    const obstacles = placed
      .filter((other) => requests[other].first <= last && first <= requests[other].last)
      .sort((a, b) => offsets[a] - offsets[b]);
    let offset = 0;
    for (const other of obstacles) {
      if (offset + bytes <= offsets[other]) break;
      offset = Math.max(offset, align(offsets[other] + requests[other].bytes));
    }
    offsets[index] = offset;
    placed.push(index);
    total = Math.max(total, align(offset + bytes));
  }
  return { offsets, bytes: total };
}

class Allocation {
  readonly draft: Draft;
  readonly entries: readonly DraftEntry[];
  readonly arenas: Record<Arena, number> = {
    weights: 0,
    state: 0,
    feeds: 0,
    activations: 0,
    slice: 0,
  };
  readonly places: Map<string, { arena: Arena; offset: number }> = new Map();

  constructor(draft: Draft, entries: readonly DraftEntry[]) {
    this.draft = draft;
    this.entries = entries;
  }

  /** Values outside of activations, one after another in the order given. */
  placePersistent(names: Iterable<string>): void {
    for (const name of names) {
      const value = this.draft.get(name);
      if (value.place === "activations") continue;
      const offset = this.arenas[value.place];
      this.places.set(name, { arena: value.place, offset });
      this.arenas[value.place] = offset + align(bytesOf({ ...value, arena: value.place }, 0));
    }
  }

  /** Values that entries leave for others; those of different games overlay each other. */
  placeLasting(): Set<string> {
    const ends = new Map<string, number>();
    const all = new Set<string>();
    for (const { lasting } of this.entries) {
      for (const name of lasting?.values ?? []) {
        if (all.has(name)) continue;
        all.add(name);
        const offset = ends.get(lasting!.game) ?? 0;
        this.places.set(name, { arena: "activations", offset });
        const bytes = bytesOf({ ...this.draft.get(name), arena: "activations" }, 0);
        ends.set(lasting!.game, offset + align(bytes));
      }
    }
    this.arenas.activations = Math.max(0, ...ends.values());
    return all;
  }

  /** The rest of one entry's values, above `base` in activations. */
  placeEntry(entry: DraftEntry, lasting: ReadonlySet<string>, base: number): void {
    const buffers = buffersOf(this.draft, entry, lasting);
    for (const arena of ["activations", "slice"] as const) {
      const start = arena === "activations" ? base : 0;
      const own = buffers.filter((buffer) => buffer.arena === arena);
      const { offsets, bytes } = place(own.map((buffer) => ({
        bytes: bytesOf({ ...this.draft.get(buffer.values[0]), arena }, entry.slice),
        first: buffer.first,
        last: buffer.last,
      })));
      own.forEach((buffer, index) => {
        for (const name of buffer.values) {
          if (this.places.has(name)) throw twoEntries(name);
          this.places.set(name, { arena, offset: start + offsets[index] });
        }
      });
      this.arenas[arena] = Math.max(this.arenas[arena], start + bytes);
    }
  }
}

function twoEntries(name: string): SecateurError {
  return new SecateurError(
    "program-invalid",
    `${name} is used by two entries but does not last from one to the other.`,
  );
}

/** Names of values in the order instructions first use them. */
function usedValues(entries: readonly DraftEntry[]): Set<string> {
  const used = new Set<string>();
  for (const { instructions } of entries) {
    for (const { inputs, outputs } of instructions) {
      for (const name of [...Object.values(inputs), ...Object.values(outputs)]) used.add(name);
    }
  }
  return used;
}

/** Arguments by position, as Program has them. */
function encode(
  instruction: DraftInstruction,
  indices: ReadonlyMap<string, number>,
): Instruction {
  const { op, layer, attributes } = instruction;
  const operation = OPERATIONS[op];
  const refuse = (what: string) =>
    new SecateurError("program-invalid", `${layer} (${op}) ${what}, unlike operations.def.`);
  const positions = (names: readonly string[], given: Readonly<Record<string, string>>) => {
    const known = new Set(names.map((name) => name.replace("?", "")));
    for (const name of Object.keys(given)) if (!known.has(name)) throw refuse(`has ${name}`);
    return names.map((name) => {
      const value = given[name.replace("?", "")];
      if (value !== undefined) return indices.get(value)!;
      if (name.endsWith("?")) return -1;
      throw refuse(`lacks ${name}`);
    });
  };
  const numbers = (names: readonly string[]) =>
    names.map((name) => {
      if (attributes[name] === undefined) throw refuse(`lacks ${name}`);
      return attributes[name];
    });
  const attributeCount = operation.ints.length + operation.floats.length;
  if (Object.keys(attributes).length !== attributeCount) throw refuse("has other attributes");
  return {
    op,
    inputs: positions(operation.inputs, instruction.inputs),
    outputs: positions(operation.outputs, instruction.outputs),
    ints: numbers(operation.ints),
    floats: numbers(operation.floats),
    layer,
  };
}

/**
 * Allocates entries into one program. `always` values exist even when no instruction uses them.
 * Throws "program-invalid" when instructions do not fit operations.def.
 */
export function allocate(
  draft: Draft,
  entries: readonly DraftEntry[],
  always: readonly string[] = [],
): Program {
  const allocation = new Allocation(draft, entries);
  const names = new Set([...always, ...usedValues(entries)]);
  allocation.placePersistent(names);
  const lasting = allocation.placeLasting();
  const base = allocation.arenas.activations;
  for (const entry of entries) allocation.placeEntry(entry, lasting, base);
  const indices = new Map([...names].map((name, index) => [name, index]));
  const values: Value[] = [...names].map((name) => {
    const { dtype, shape, images } = draft.get(name);
    return { name, dtype, shape, images, ...allocation.places.get(name)! };
  });
  const instructions: Instruction[] = [];
  const ranges = entries.map((entry) => {
    const first = instructions.length;
    for (const instruction of entry.instructions) instructions.push(encode(instruction, indices));
    const { name, images, slice } = entry;
    return { name, first, count: entry.instructions.length, images, slice };
  });
  return { values, arenas: allocation.arenas, instructions, entries: ranges };
}
