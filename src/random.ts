/**
 * Named, seeded random streams. Counter-based (Philox 4x32-10, Salmon et al., "Parallel random
 * numbers: as easy as 1, 2, 3", SC 2011), so a number depends on what it is for - seed, stream
 * name, counters - and never on how many were drawn before or on which thread.
 */

const MULTIPLIER_0 = 0xd2511f53 | 0;
const MULTIPLIER_1 = 0xcd9e8d57 | 0;
const WEYL_0 = 0x9e3779b9 | 0;
const WEYL_1 = 0xbb67ae85 | 0;

/** High 32 bits of the product of two 32-bit integers taken as unsigned. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff, aHigh = a >>> 16;
  const bLow = b & 0xffff, bHigh = b >>> 16;
  const middle = (Math.imul(aHigh, bLow) + (Math.imul(aLow, bLow) >>> 16)) | 0;
  const carry = (Math.imul(aLow, bHigh) + (middle & 0xffff)) | 0;
  return (Math.imul(aHigh, bHigh) + (middle >>> 16) + (carry >>> 16)) | 0;
}

/**
 * One Philox 4x32-10 block: replaces a counter of four 32-bit integers by as many uniform ones. In
 * place and in signed integers, because the weights of a large model take hundreds of millions.
 */
export function philox(words: Int32Array, seed: number, name: number): void {
  let c0 = words[0], c1 = words[1], c2 = words[2], c3 = words[3];
  let key0 = seed | 0, key1 = name | 0;
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0), high1 = multiplyHigh(MULTIPLIER_1, c2);
    const low0 = Math.imul(MULTIPLIER_0, c0), low1 = Math.imul(MULTIPLIER_1, c2);
    c0 = high1 ^ c1 ^ key0;
    c1 = low1;
    c2 = high0 ^ c3 ^ key1;
    c3 = low0;
    key0 = (key0 + WEYL_0) | 0;
    key1 = (key1 + WEYL_1) | 0;
  }
  words[0] = c0;
  words[1] = c1;
  words[2] = c2;
  words[3] = c3;
}

/** FNV-1a, 32 bits: turns a stream's name into half of its key. */
function hashName(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) {
    hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193) >>> 0;
  }
  return hash;
}

/** A number in [0, 1) of 53 bits from two words. */
function fraction(high: number, low: number): number {
  return ((high >>> 5) * 0x4000000 + (low >>> 6)) / 0x20000000000000;
}

/** A standard normal number from two uniform ones in [0, 1) (Box and Muller, 1958). */
function boxMuller(first: number, second: number): number {
  return Math.sqrt(-2 * Math.log(1 - first)) * Math.cos(2 * Math.PI * second);
}

/** A stream of random numbers that belongs to one purpose. */
export class RandomStream {
  readonly #seed: number;
  readonly #name: number;
  readonly #a: number;
  readonly #b: number;
  #block = 0;
  readonly #words = new Int32Array(4);
  /** How many of the words are used up. */
  #used = 4;

  /** `a` and `b` distinguish sub-streams, such as epoch and sample. */
  constructor(seed: number, name: string, a = 0, b = 0) {
    this.#seed = seed >>> 0;
    this.#name = hashName(name);
    this.#a = a >>> 0;
    this.#b = b >>> 0;
  }

  /** The next uniform 32-bit unsigned integer. */
  uint32(): number {
    if (this.#used === 4) {
      const words = this.#words;
      words[0] = this.#block++;
      words[1] = this.#a;
      words[2] = this.#b;
      words[3] = 0;
      philox(words, this.#seed, this.#name);
      this.#used = 0;
    }
    return this.#words[this.#used++] >>> 0;
  }

  /** Uniform in [0, 1) with 53 bits. */
  uniform(): number {
    return fraction(this.uint32(), this.uint32());
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
    return boxMuller(this.uniform(), this.uniform());
  }

  /**
   * Fills `numbers` with what calls of `normal` would give, times `scale`: at half the cost, which
   * counts for the weights of a model.
   */
  fillNormal(numbers: Float32Array, scale: number): void {
    let at = 0;
    // Only from the beginning of a block does each block give one number.
    if (this.#used === 4) {
      const words = this.#words, seed = this.#seed, name = this.#name;
      for (; at < numbers.length; at++) {
        words[0] = this.#block++;
        words[1] = this.#a;
        words[2] = this.#b;
        words[3] = 0;
        philox(words, seed, name);
        const first = fraction(words[0], words[1]), second = fraction(words[2], words[3]);
        numbers[at] = boxMuller(first, second) * scale;
      }
    }
    for (; at < numbers.length; at++) numbers[at] = this.normal() * scale;
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
