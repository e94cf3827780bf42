/**
 * Re-checks a program's places without knowing how they were chosen. Runs every entry over a map
 * of who owns which bytes: a value read must still own all of its bytes. Values that a segment
 * uses and that share bytes must share them image by image, since slices of a segment run at the
 * same time; and the slice arena forgets everything between segments.
 */

import { SecateurError } from "../errors.ts";
import { OPERATIONS } from "./operations.ts";
import {
  type Arena,
  ARENAS,
  bytesOf,
  DTYPE_BYTES,
  elementsOf,
  type Entry,
  type Program,
  type Value,
} from "./program.ts";
import { segmentsOf } from "./memory/segments.ts";

type Owners = Map<Arena, Map<number, Value>>;

function invalid(sentence: string): SecateurError {
  return new SecateurError("program-invalid", sentence);
}

function checkPlace(program: Program, value: Value, slice: number): void {
  const end = value.offset + bytesOf(value, slice);
  if (value.offset % 64 !== 0 || value.offset < 0 || end > program.arenas[value.arena]) {
    throw invalid(
      `${value.name} lies at bytes ${value.offset} to ${end} of ${value.arena}, which has ` +
        `${program.arenas[value.arena]}; places start at multiples of 64 inside their arena.`,
    );
  }
}

/** Checks one entry's accesses in order; `owners` carries what earlier entries left. */
class EntryCheck {
  readonly program: Program;
  readonly entry: Entry;
  readonly owners: Owners;
  readonly inSegment: Map<number, Value> = new Map();
  /** `[values]`: where each ends in its arena. Reckoned once, since every pair is compared. */
  readonly #ends: Float64Array;

  constructor(program: Program, entry: Entry, owners: Owners) {
    this.program = program;
    this.entry = entry;
    this.owners = owners;
    this.#ends = Float64Array.from(
      program.values,
      (value) => value.offset + bytesOf(value, entry.slice),
    );
  }

  #overlap(a: number, b: number): boolean {
    const first = this.program.values[a], second = this.program.values[b];
    return first.arena === second.arena && first.offset < this.#ends[b] &&
      second.offset < this.#ends[a];
  }

  startSegment(): void {
    this.inSegment.clear();
    this.owners.get("slice")!.clear();
  }

  /** `updated`: the reader writes the value as well, so it may find what earlier runs left. */
  read(index: number, updated: boolean): void {
    const value = this.program.values[index];
    this.share(index, value);
    const outside = value.arena === "weights" || value.arena === "feeds";
    const across = outside || (value.arena === "state" && updated);
    if (!across && !this.owners.get(value.arena)!.has(index)) {
      throw invalid(
        `${this.entry.name} reads ${value.name} where it was not written or was overwritten.`,
      );
    }
  }

  write(index: number): void {
    const value = this.program.values[index];
    this.share(index, value);
    const owners = this.owners.get(value.arena)!;
    for (const other of owners.keys()) {
      if (other !== index && this.#overlap(other, index)) owners.delete(other);
    }
    owners.set(index, value);
  }

  /** Two values of one segment may share bytes of activations only image by image. */
  share(index: number, value: Value): void {
    checkPlace(this.program, value, this.entry.slice);
    if (this.inSegment.has(index)) return;
    for (const [place, other] of this.inSegment) {
      if (value.arena === "slice" || !this.#overlap(index, place)) continue;
      const imageBytes = (v: Value) => elementsOf(v) * DTYPE_BYTES[v.dtype];
      const together = value.offset === other.offset && value.images === other.images &&
        value.images > 0 && imageBytes(value) === imageBytes(other);
      if (!together) {
        throw invalid(`${this.entry.name} has ${value.name} and ${other.name} share bytes.`);
      }
    }
    this.inSegment.set(index, value);
  }
}

/** State written by entries without images, which run before all others. */
function preparedBy(program: Program): Set<number> {
  const prepared = new Set<number>();
  for (const { images, first, count } of program.entries) {
    if (images > 0) continue;
    for (const { outputs } of program.instructions.slice(first, first + count)) {
      for (const output of outputs) prepared.add(output);
    }
  }
  return prepared;
}

/**
 * Throws "program-invalid" when a value may be overwritten before its last read, or is read though
 * nothing wrote it. `given` values are taken as written before: constants, and what earlier entries
 * leave for others; `keep` must survive to the end of the named entry.
 */
export function verify(
  program: Program,
  given: ReadonlySet<string>,
  keep: ReadonlyMap<string, ReadonlySet<string>>,
): void {
  const prepared = preparedBy(program);
  for (const entry of program.entries) {
    const owners: Owners = new Map(ARENAS.map((arena) => [arena, new Map()]));
    program.values.forEach((value, index) => {
      const known = given.has(value.name) || (entry.images > 0 && prepared.has(index));
      if (known) owners.get(value.arena)!.set(index, value);
    });
    const check = new EntryCheck(program, entry, owners);
    const range = program.instructions.slice(entry.first, entry.first + entry.count);
    const present = (values: readonly number[]) => values.filter((value) => value >= 0);
    const cut = segmentsOf(range.map(({ op, inputs, outputs }) => ({
      kind: OPERATIONS[op].kind,
      inputs: present(inputs),
      outputs: present(outputs),
    })));
    range.forEach(({ inputs, outputs }, position) => {
      if (position === 0 || cut[position] !== cut[position - 1]) check.startSegment();
      for (const input of present(inputs)) check.read(input, outputs.includes(input));
      for (const output of present(outputs)) check.write(output);
    });
    program.values.forEach((value, index) => {
      const wanted = keep.get(entry.name)?.has(value.name) === true;
      if (wanted && !owners.get(value.arena)!.has(index)) {
        throw invalid(`${value.name} is to be read after ${entry.name}, which overwrites it.`);
      }
    });
  }
}
