/**
 * What the passes work on: instructions that name their values, and values without a place.
 * Image values are written once per entry; weights, statistics and optimizer state are updated in
 * place.
 */

import { SecateurError } from "../errors.ts";
import { type OperationKind, type OperationName, OPERATIONS } from "./operations.ts";
import type { DType } from "./program.ts";

/**
 * Where a value will live. Image values of "activations" may end up in the slice arena instead:
 * that is for allocate to decide.
 */
export type Place = "weights" | "state" | "feeds" | "activations";

/** A value without an offset; extents as in Value. */
export interface DraftValue {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly images: number;
  readonly place: Place;
}

/** One instruction; arguments and attributes go by the names of native/operations.def. */
export interface DraftInstruction {
  readonly op: OperationName;
  readonly inputs: Readonly<Record<string, string>>;
  readonly outputs: Readonly<Record<string, string>>;
  readonly attributes: Readonly<Record<string, number>>;
  readonly layer: string;
}

/** An entry before allocation. */
export interface DraftEntry {
  readonly name: string;
  readonly images: number;
  readonly slice: number;
  readonly instructions: readonly DraftInstruction[];
  /** Activations readable after a run, until another entry runs. */
  readonly keep: ReadonlySet<string>;
  /**
   * Activations this entry leaves for others to read: nothing is laid over them but the lasting
   * values of other games.
   */
  readonly lasting?: { readonly game: string; readonly values: ReadonlySet<string> };
}

/** Data a session must hold before the first run. */
export type Constant = Int32Array | Float32Array;

/** The values and constants of a program that is being compiled. */
export class Draft {
  readonly values: Map<string, DraftValue> = new Map();
  readonly constants: Map<string, Constant> = new Map();

  /** Declares a value and returns its name; declaring it again the same way is fine. */
  value(value: DraftValue): string {
    const known = this.values.get(value.name);
    if (known === undefined) this.values.set(value.name, value);
    else if (JSON.stringify(describe(known)) !== JSON.stringify(describe(value))) {
      throw new SecateurError(
        "program-invalid",
        `${value.name} is declared as ${describe(known).join(" ")} and as ${
          describe(value).join(" ")
        }; two values of a program may not share a name.`,
      );
    }
    return value.name;
  }

  /** Declares constant data of the given shape, under this name or a numbered variant of it. */
  constant(name: string, shape: readonly number[], data: Constant): string {
    for (let variant = 1;; variant++) {
      const candidate = variant === 1 ? name : `${name}#${variant}`;
      const known = this.constants.get(candidate);
      if (known === undefined) {
        this.constants.set(candidate, data);
        const dtype = data instanceof Int32Array ? "i32" : "f32";
        return this.value({ name: candidate, dtype, shape, images: 0, place: "state" });
      }
      const same = known.constructor === data.constructor && known.length === data.length &&
        known.every((element, index) => element === data[index]);
      if (same) return candidate;
    }
  }

  /** A declared value. */
  get(name: string): DraftValue {
    const value = this.values.get(name);
    if (value !== undefined) return value;
    throw new SecateurError(
      "program-invalid",
      `An instruction names ${name}, which was not declared.`,
    );
  }
}

function describe(value: DraftValue): (string | number)[] {
  return [value.dtype, `[${value.shape.join(", ")}]`, `x${value.images}`, value.place];
}

/** Whether an instruction works on slices of the batch or once. */
export function kindOf(instruction: { readonly op: OperationName }): OperationKind {
  return OPERATIONS[instruction.op].kind;
}

/** The instruction with values renamed. */
export function renamed(
  instruction: DraftInstruction,
  rename: (value: string) => string,
): DraftInstruction {
  const all = (values: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(values).map(([key, value]) => [key, rename(value)]));
  return { ...instruction, inputs: all(instruction.inputs), outputs: all(instruction.outputs) };
}

/** How many times each value is read. */
export function countReads(instructions: readonly DraftInstruction[]): Map<string, number> {
  const reads = new Map<string, number>();
  for (const instruction of instructions) {
    for (const value of Object.values(instruction.inputs)) {
      reads.set(value, (reads.get(value) ?? 0) + 1);
    }
  }
  return reads;
}
