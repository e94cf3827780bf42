/**
 * The multi-mask path. Splits a gated entry at its first gates: the prefix runs once a batch and
 * leaves the values that cross; the suffix replays what depends on the gates for many coalitions
 * stacked as one batch, coalition-major: image i of coalition c is image c * images + i.
 */

import { SecateurError } from "../../errors.ts";
import { type Draft, type DraftInstruction, kindOf, renamed } from "../draft.ts";

/** The two halves; suffixes of several coalition counts share one prefix. */
export interface Split {
  /** What does not depend on gates; still to be freed of what `boundary` does not need. */
  readonly prefix: readonly DraftInstruction[];
  /** Image values that suffixes read from the prefix. */
  readonly boundary: ReadonlySet<string>;
  readonly dependent: readonly DraftInstruction[];
  /** Work on weights, such as folding, that either half may need. */
  readonly weights: readonly DraftInstruction[];
}

/** Splits instructions into those that depend on a gate and the rest. */
export function splitAtGates(
  draft: Draft,
  instructions: readonly DraftInstruction[],
): Split {
  const moved = new Set<string>();
  const prefix: DraftInstruction[] = [], dependent: DraftInstruction[] = [];
  for (const instruction of instructions) {
    const inputs = Object.values(instruction.inputs);
    if (instruction.op === "gate" || inputs.some((name) => moved.has(name))) {
      dependent.push(instruction);
      for (const output of Object.values(instruction.outputs)) moved.add(output);
    } else prefix.push(instruction);
  }
  const boundary = new Set(
    dependent.flatMap(({ inputs }) => Object.values(inputs)).filter((name) =>
      !moved.has(name) && draft.get(name).images > 0
    ),
  );
  const weights = prefix.filter((instruction) => kindOf(instruction) === "whole");
  return { prefix, boundary, dependent, weights };
}

/** What one suffix replays. */
export interface SuffixOptions {
  readonly entry: string;
  /** The entry that `split` was lowered for; its prefix of value names is replaced. */
  readonly source: string;
  readonly coalitions: number;
}

/** One suffix: a copy of the dependent instructions over coalitions * images images. */
export interface Suffix {
  readonly instructions: readonly DraftInstruction[];
  /** A gated value of the source entry in this suffix; throws "program-invalid" for others. */
  readonly valueOf: (name: string) => string;
}

/** Builds the suffix for one number of coalitions. */
export function suffixOf(draft: Draft, split: Split, options: SuffixOptions): Suffix {
  const { entry, source, coalitions } = options;
  const local = (name: string) => `${entry}${name.slice(source.length)}`;
  const moved = new Set(split.dependent.flatMap(({ outputs }) => Object.values(outputs)));
  const instructions: DraftInstruction[] = [...split.weights];
  const repeated = new Set<string>();

  const stack = (name: string, newName: string) => {
    const value = draft.get(name);
    const images = value.images * coalitions;
    return draft.value({ ...value, name: newName, images, place: "activations" });
  };
  /** A boundary value once per coalition: a gate whose only row is all ones. */
  const repeat = (name: string, layer: string) => {
    const y = stack(name, `${local(name)}:repeated`);
    if (repeated.has(name)) return y;
    repeated.add(name);
    const channels = draft.get(name).shape.at(-1)!;
    const ones = new Float32Array(channels).fill(1);
    const gates = draft.constant(`ones/${channels}`, [1, channels], ones);
    instructions.push({
      op: "gate",
      inputs: { x: name, gates },
      outputs: { y },
      attributes: {},
      layer,
    });
    return y;
  };
  for (const instruction of split.dependent) {
    for (const output of Object.values(instruction.outputs)) stack(output, local(output));
    instructions.push(renamed(instruction, (name) => {
      if (moved.has(name)) return local(name);
      const value = draft.get(name);
      if (name === instruction.inputs.gates && value.place === "feeds") {
        const shape = [coalitions, value.shape[1]];
        return draft.value({ ...value, shape, name: local(name) });
      }
      const crosses = split.boundary.has(name) && instruction.op !== "gate";
      return crosses ? repeat(name, instruction.layer) : name;
    }));
  }
  const valueOf = (name: string) => {
    if (moved.has(name)) return local(name);
    throw new SecateurError("program-invalid", `${name} does not depend on any gate of ${source}.`);
  };
  return { instructions, valueOf };
}
