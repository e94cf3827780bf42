// Small hand-made programs for the tests of native code.

import type { OperationName } from "../../src/program/operations.ts";
import {
  type Arena,
  type DType,
  DTYPE_BYTES,
  elementsOf,
  type Entry,
  type Instruction,
  type Program,
  type Value,
} from "../../src/program/program.ts";

export interface ValueSpec {
  readonly name: string;
  readonly arena: Arena;
  readonly shape: readonly number[];
  readonly images?: number;
  readonly dtype?: DType;
}

export interface InstructionSpec {
  readonly op: OperationName;
  readonly inputs: readonly (string | undefined)[];
  readonly outputs: readonly (string | undefined)[];
  readonly ints?: readonly number[];
  readonly floats?: readonly number[];
}

/** A program whose values follow one another in their arenas, with one entry "main" over it all. */
export function programOf(
  values: readonly ValueSpec[],
  instructions: readonly InstructionSpec[],
  images: number,
  slice: number,
): Program {
  const arenas: Record<Arena, number> = {
    weights: 0,
    state: 0,
    feeds: 0,
    activations: 0,
    slice: 0,
  };
  const placed = values.map((spec): Value => {
    const value = { dtype: "f32" as DType, images: 0, ...spec, offset: arenas[spec.arena] };
    const held = value.images === 0 ? 1 : spec.arena === "slice" ? slice : value.images;
    const bytes = elementsOf(value) * DTYPE_BYTES[value.dtype] * held;
    arenas[spec.arena] += Math.ceil(bytes / 64) * 64;
    return value;
  });
  const indexOf = (name: string | undefined) => placed.findIndex((value) => value.name === name);
  const encoded = instructions.map((spec, position): Instruction => ({
    op: spec.op,
    inputs: spec.inputs.map(indexOf),
    outputs: spec.outputs.map(indexOf),
    ints: spec.ints ?? [],
    floats: spec.floats ?? [],
    layer: `layer${position}`,
  }));
  const main: Entry = { name: "main", first: 0, count: encoded.length, images, slice };
  return { values: placed, arenas, instructions: encoded, entries: [main] };
}

/** y = relu(relu(x)) through the slice arena; x and y are [4] an image. */
export function reluProgram(images: number, slice: number): Program {
  return programOf(
    [
      { name: "x", arena: "feeds", shape: [4], images },
      { name: "between", arena: "slice", shape: [4], images },
      { name: "y", arena: "activations", shape: [4], images },
    ],
    [
      { op: "relu", inputs: ["x"], outputs: ["between"] },
      { op: "relu", inputs: ["between"], outputs: ["y"] },
    ],
    images,
    slice,
  );
}

/** Batch norm over [2, 2, 3] pictures: statistics combine over slices, then normalise. */
export function batchNormProgram(images: number, slice: number): Program {
  const perChannel = ["running_mean", "running_variance", "scale", "offset"];
  return programOf(
    [
      { name: "x", arena: "feeds", shape: [2, 2, 3], images },
      { name: "momentum", arena: "feeds", shape: [1] },
      ...perChannel.map((name): ValueSpec => ({ name, arena: "weights", shape: [3] })),
      { name: "mean", arena: "state", shape: [3] },
      { name: "inverse_deviation", arena: "state", shape: [3] },
      { name: "y", arena: "activations", shape: [2, 2, 3], images },
    ],
    [
      {
        op: "batch_norm_statistics",
        inputs: ["x", "momentum", "running_mean", "running_variance"],
        outputs: ["mean", "inverse_deviation", "running_mean", "running_variance"],
        floats: [1e-5],
      },
      {
        op: "batch_norm_apply",
        inputs: ["x", "mean", "inverse_deviation", "scale", "offset", undefined],
        outputs: ["y"],
        ints: [0],
      },
    ],
    images,
    slice,
  );
}
