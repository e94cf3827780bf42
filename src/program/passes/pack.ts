/**
 * Gives convolutions their packed weights: a `pack_convolution` before each weight's first use at
 * these shapes, in the form the backend wants for them. Work that depends on weights alone then moves
 * out of the way: to "prepare" for inference, to the front of a training step.
 */

import { type Draft, type DraftInstruction, kindOf } from "../draft.ts";
import { OPERATIONS } from "../operations.ts";
import { type Precision, precisionInt } from "../precision.ts";

/** Bytes of the output of a pack_convolution with these ints: a question to the backend. */
export type PackedBytes = (ints: readonly number[]) => number;

/** What packing depends on besides the convolution. */
export interface PackOptions {
  readonly slice: number;
  readonly precision: Precision;
  readonly packedBytes: PackedBytes;
}

/** What a packed form depends on beside the weight: layers may share one at other sizes. */
function geometryOf(attributes: Readonly<Record<string, number>>): string {
  const pairs = GEOMETRY.map(([rows, columns]) => `${attributes[rows]}x${attributes[columns]}`);
  return [...pairs, attributes.groups].join(",");
}

const GEOMETRY = [
  ["in_height", "in_width"],
  ["out_height", "out_width"],
  ["stride_height", "stride_width"],
  ["pad_top", "pad_left"],
  ["dilation_height", "dilation_width"],
] as const;

/** The pack_convolution that `user` needs, its output declared. */
function packFor(draft: Draft, user: DraftInstruction, options: PackOptions): DraftInstruction {
  const backward = user.op === "convolution_backward_data";
  const weight = user.inputs.packed;
  const { relu: _relu, ...geometry } = user.attributes;
  const attributes: Record<string, number> = {
    ...geometry,
    direction: backward ? 1 : 0,
    precision: precisionInt(options.precision),
    slice: options.slice,
  };
  const ints = OPERATIONS.pack_convolution.ints.map((name) => attributes[name]);
  const packed = draft.value({
    name: `packed${backward ? "-backward" : ""}/${options.slice}/${geometryOf(geometry)}/${weight}`,
    dtype: "bytes",
    shape: [options.packedBytes(ints)],
    images: 0,
    place: "state",
  });
  return {
    op: "pack_convolution",
    inputs: { weight },
    outputs: { packed },
    attributes,
    layer: user.layer,
  };
}

/** Inserts packing; convolutions read packed weights from here on. */
export function pack(
  draft: Draft,
  instructions: readonly DraftInstruction[],
  options: PackOptions,
): DraftInstruction[] {
  const packed = new Set<string>();
  return instructions.flatMap((instruction) => {
    const { op } = instruction;
    if (op !== "convolution" && op !== "convolution_backward_data") return [instruction];
    const packing = packFor(draft, instruction, options);
    const name = packing.outputs.packed;
    const user = { ...instruction, inputs: { ...instruction.inputs, packed: name } };
    if (packed.has(name)) return [user];
    packed.add(name);
    return [packing, user];
  });
}

/**
 * Splits off the instructions that depend on weights and constants alone and change neither, in
 * order.
 */
export function hoist(
  draft: Draft,
  instructions: readonly DraftInstruction[],
): { readonly prepare: DraftInstruction[]; readonly rest: DraftInstruction[] } {
  const computed = new Set<string>();
  const prepare: DraftInstruction[] = [], rest: DraftInstruction[] = [];
  for (const instruction of instructions) {
    const inputs = Object.values(instruction.inputs), outputs = Object.values(instruction.outputs);
    const fixed = kindOf(instruction) === "whole" &&
      inputs.every((name) => !computed.has(name) && draft.get(name).place !== "feeds") &&
      outputs.every((name) => draft.get(name).place === "state" && !inputs.includes(name));
    if (fixed) prepare.push(instruction);
    else {
      rest.push(instruction);
      for (const output of outputs) computed.add(output);
    }
  }
  return { prepare, rest };
}
