/** Makes the arguments of kernel examples. */

import type { DType } from "../../../src/program/program.ts";
import { RandomStream } from "../../../src/random.ts";
import type { Argument, Example } from "./one_instruction.ts";

export type Activation = "f32" | "bf16";

export interface NamedExample extends Example {
  readonly name: string;
}

const float = new Float32Array(1), word = new Uint32Array(float.buffer);

/** The nearest number of a storage type, ties to even. */
function rounded(value: number, dtype: DType): number {
  float[0] = value;
  if (dtype === "bf16") word[0] = (word[0] + 0x7fff + (word[0] >>> 16 & 1)) & 0xffff0000;
  return dtype === "f64" ? value : float[0];
}

/** Makes arguments with random numbers that their types hold exactly. */
export class Arguments {
  readonly #random: RandomStream;
  readonly #images: number;
  readonly #dtype: Activation;

  constructor(name: string, images: number, dtype: Activation) {
    this.#random = new RandomStream(1, name);
    this.#images = images;
    this.#dtype = dtype;
  }

  #fill(count: number, dtype: DType, sample: () => number): Float64Array {
    return Float64Array.from({ length: count }, () => rounded(sample(), dtype));
  }

  /** Activations of all images. */
  pictures(shape: readonly number[], dtype: DType = this.#dtype, images = this.#images): Argument {
    const count = shape.reduce((product, extent) => product * extent, images);
    // Off centre, so that statistics have something to lose.
    const data = this.#fill(count, dtype, () => 0.5 + this.#random.normal());
    return { shape, dtype, images, data };
  }

  /** Weights and statistics; of 16 bits where activations are, as packed weights will be. */
  numbers(shape: readonly number[], sample = (random: RandomStream) => random.normal()): Argument {
    const count = shape.reduce((product, extent) => product * extent, 1);
    const data = this.#fill(count, this.#dtype, () => sample(this.#random));
    return { shape, dtype: "f32", images: 0, data };
  }

  positive(shape: readonly number[]): Argument {
    return this.numbers(shape, (random) => 0.5 + random.uniform());
  }

  integers(shape: readonly number[], bound: number, images = this.#images): Argument {
    const count = shape.reduce((product, extent) => product * extent, Math.max(1, images));
    const data = Float64Array.from({ length: count }, () => this.#random.integer(bound));
    return { shape, dtype: "i32", images, data };
  }

  /** Room for results. */
  result(shape: readonly number[], dtype: DType = this.#dtype, images = this.#images): Argument {
    return { shape, dtype, images };
  }
}

export interface Batch {
  readonly images: number;
  readonly slice: number;
}

/** A slice that does not divide the batch, unless said otherwise. */
export const FIVE: Batch = { images: 5, slice: 2 };

export const given = (...numbers: number[]): Argument => ({
  shape: [numbers.length],
  dtype: "f32",
  images: 0,
  data: Float64Array.from(numbers, Math.fround),
});
