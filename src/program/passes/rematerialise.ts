/**
 * Rematerialisation (Chen, Xu, Zhang & Guestrin, "Training Deep Nets with Sublinear Memory Cost",
 * arXiv 1604.06174; for batch norm: Rota Bulo, Porzi & Kontschieder, arXiv 1712.02616): values of
 * the forward pass that are cheap to compute from values kept anyhow are computed again where the
 * backward pass reads them, by a copy of the same instruction, and so are the same to the bit. Each
 * segment that reads such a value has a copy of its own, so that it stays in the cache with its
 * slice; only what a segment's first instruction reads comes from the segment before.
 */

import { type Draft, type DraftInstruction, kindOf } from "../draft.ts";
import type { OperationName } from "../operations.ts";
import { segmentsOf } from "../memory/segments.ts";

/** Operations that take little longer than reading their result from memory would. */
const CHEAP: ReadonlySet<OperationName> = new Set([
  "activation",
  "add",
  "batch_norm_apply",
  "batch_norm_inference",
  "cast",
  "gather",
  "multiply",
  "prelu",
  "relu",
]);
/** Instructions that computing one value again may take, where its inputs are recomputed too. */
const LONGEST_CHAIN = 2;

/** What to work on. */
export interface RematerialiseOptions {
  /** How many of the instructions belong to the forward pass; they come first. */
  readonly forward: number;
  /** Values that must stay readable after the run. */
  readonly pinned: ReadonlySet<string>;
}

class Rematerialisation {
  readonly draft: Draft;
  readonly instructions: readonly DraftInstruction[];
  readonly forward: number;
  /** Segment of each instruction. */
  readonly cut: readonly number[];
  /** Positions of the instructions that write, and that read, each value; ascending. */
  readonly writes: Map<string, number[]> = new Map();
  readonly reads: Map<string, number[]> = new Map();
  /** Values to compute again, and what writes them. */
  readonly chosen: Map<string, DraftInstruction> = new Map();
  readonly #out: DraftInstruction[] = [];
  /** The copies that the segment being written can read. */
  readonly #copies: Map<string, string> = new Map();

  constructor(draft: Draft, instructions: readonly DraftInstruction[], forward: number) {
    this.draft = draft;
    this.instructions = instructions;
    this.forward = forward;
    this.cut = segmentsOf(instructions.map((instruction) => ({
      kind: kindOf(instruction),
      inputs: Object.values(instruction.inputs),
      outputs: Object.values(instruction.outputs),
    })));
    instructions.forEach(({ inputs, outputs }, position) => {
      for (const value of Object.values(inputs)) append(this.reads, value, position);
      for (const value of Object.values(outputs)) append(this.writes, value, position);
    });
  }

  /** The last segment that needs a value whether or not it is computed again. */
  lastForward(value: string): number {
    const writer = this.writes.get(value)![0];
    const reader = this.reads.get(value)?.findLast((position) => position < this.forward);
    return this.cut[reader ?? writer];
  }

  /** Copies it takes to have a value of the forward pass at `position`; Infinity if impossible. */
  cost(value: string, position: number): number {
    const { images, place } = this.draft.get(value);
    if (images === 0 || place === "feeds") {
      const changed = this.writes.get(value)?.some((writer) =>
        writer >= this.forward && writer < position
      );
      return changed === true ? Infinity : 0;
    }
    const writer = this.chosen.get(value);
    if (writer !== undefined) return this.costOfCopy(writer, position);
    const last = this.reads.get(value)?.at(-1) ?? -1;
    return this.cut[last] >= this.cut[position] ? 0 : Infinity;
  }

  costOfCopy(writer: DraftInstruction, position: number): number {
    return Object.values(writer.inputs).reduce(
      (sum, input) => sum + this.cost(input, position),
      1,
    );
  }

  choose(pinned: ReadonlySet<string>): void {
    for (const instruction of this.instructions.slice(0, this.forward)) {
      const { y } = instruction.outputs;
      if (!CHEAP.has(instruction.op) || pinned.has(y)) continue;
      const last = this.reads.get(y)?.at(-1);
      if (last === undefined || this.cut[last] <= this.lastForward(y)) continue;
      if (this.costOfCopy(instruction, last) <= LONGEST_CHAIN) this.chosen.set(y, instruction);
    }
  }

  /** What an instruction of `segment` reads in place of `value`. */
  #valueIn(segment: number, value: string): string {
    const writer = this.chosen.get(value);
    if (writer === undefined || segment <= this.lastForward(value)) return value;
    const known = this.#copies.get(value);
    if (known !== undefined) return known;
    const inputs = this.#inputsIn(segment, writer);
    let name = "";
    for (let n = 2; name === "" || this.draft.values.has(name); n++) name = `${value}#${n}`;
    this.draft.value({ ...this.draft.get(value), name });
    this.#out.push({ ...writer, inputs, outputs: { y: name } });
    this.#copies.set(value, name);
    return name;
  }

  #inputsIn(segment: number, { inputs }: DraftInstruction): Record<string, string> {
    return Object.fromEntries(
      Object.entries(inputs).map(([key, value]) => [key, this.#valueIn(segment, value)]),
    );
  }

  #keepOnly(copies: readonly string[]): void {
    for (const [value, copy] of this.#copies) {
      if (!copies.includes(copy)) this.#copies.delete(value);
    }
  }

  /** The instructions with every copy right before what first reads it. */
  rewrite(): DraftInstruction[] {
    this.instructions.forEach((instruction, position) => {
      const segment = this.cut[position];
      const inputs = this.#inputsIn(segment, instruction);
      // What the first instruction reads is computed before it, so still in the segment before.
      if (segment !== this.cut[position - 1]) this.#keepOnly(Object.values(inputs));
      this.#out.push({ ...instruction, inputs });
    });
    return this.#out;
  }
}

function append(positions: Map<string, number[]>, value: string, position: number): void {
  const known = positions.get(value);
  if (known === undefined) positions.set(value, [position]);
  else known.push(position);
}

/** Rewrites one step's instructions, forward and backward; see the head of this file. */
export function rematerialise(
  draft: Draft,
  instructions: readonly DraftInstruction[],
  { forward, pinned }: RematerialiseOptions,
): DraftInstruction[] {
  const pass = new Rematerialisation(draft, instructions, forward);
  pass.choose(pinned);
  return pass.rewrite();
}
