/**
 * Named, seeded random streams. Counter-based (Philox 4x32-10, Salmon et al., "Parallel random
 * numbers: as easy as 1, 2, 3", SC 2011), so a number depends on what it is for - seed, stream
 * name, counters - and never on how many were drawn before or on which thread.
 */

const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;

/** High and low 32 bits of the product of two unsigned 32-bit integers. */
function multiply32(a: number, b: number): [number, number] {
  const aLow = a & 0xffff, aHigh = a >>> 16;
  const bLow = b & 0xffff, bHigh = b >>> 16;
  const low = aLow * bLow;
  const middle = aHigh * bLow + (low >>> 16);
  const carry = (middle & 0xffff) + aLow * bHigh;
  const high = aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000);
  return [high >>> 0, (((carry & 0xffff) << 16) | (low & 0xffff)) >>> 0];
}

/** One Philox 4x32-10 block: four uniform 32-bit integers from a counter and a key. */
export function philox(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = multiply32(MULTIPLIER_0, c0);
    const [high1, low1] = multiply32(MULTIPLIER_1, c2);
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  return [c0 >>> 0, c1 >>> 0, c2 >>> 0, c3 >>> 0];
}

/** FNV-1a, 32 bits: turns a stream's name into half of its key. */
function hashName(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) {
    hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193) >>> 0;
  }
  return hash;
}

/** A stream of random numbers that belongs to one purpose. */
export class RandomStream {
  readonly #key: readonly [number, number];
  readonly #a: number;
  readonly #b: number;
  #block = 0;
  #words: number[] = [];

  /** `a` and `b` distinguish sub-streams, such as epoch and sample. */
  constructor(seed: number, name: string, a = 0, b = 0) {
    this.#key = [seed >>> 0, hashName(name)];
    this.#a = a >>> 0;
    this.#b = b >>> 0;
  }

  /** The next uniform 32-bit unsigned integer. */
  uint32(): number {
    if (this.#words.length === 0) {
      this.#words = philox([this.#block++, this.#a, this.#b, 0], this.#key).reverse();
    }
    return this.#words.pop()!;
  }

  /** Uniform in [0, 1) with 53 bits. */
  uniform(): number {
    return ((this.uint32() >>> 5) * 0x4000000 + (this.uint32() >>> 6)) / 0x20000000000000;
  }

  /** Uniform integer in [0, bound), without bias. */
  integer(bound: number): number {
    const limit = Math.floor(0x100000000 / bound) * bound;
    for (;;) {
      const word = this.uint32();
      if (word < limit) return word % bound;
    }
  }

  /** Standard normal, by Box-Muller. */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** A uniformly random permutation of 0..length-1 (Fisher-Yates). */
  permutation(length: number): Int32Array {
    const order = Int32Array.from({ length }, (_, i) => i);
    for (let i = length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }
}
