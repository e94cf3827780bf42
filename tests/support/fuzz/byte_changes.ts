/** Damage that knows nothing of a format: bits, lengths, pieces lost, repeated and exchanged. */

import type { RandomStream } from "../../../src/random.ts";

/** Numbers at which programs that count, allocate or loop go wrong. */
export const EDGES: readonly bigint[] = [
  ...[0n, 1n, 2n, 3n, 4n, 7n, 8n, 16n, 17n, 64n, 65n, 127n, 128n, 255n, 256n, 1000n],
  ...[32767n, 32768n, 65535n, 65536n, 65537n, 2n ** 20n, 2n ** 22n, 2n ** 24n, 2n ** 26n],
  ...[2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 40n, 2n ** 53n - 1n, 2n ** 53n],
  ...[2n ** 62n, 2n ** 63n - 1n, -1n, -2n, -3n, -64n, -(2n ** 31n), -(2n ** 53n), -(2n ** 63n)],
];

/** One of a list. */
export function pick<T>(items: readonly T[], random: RandomStream): T {
  return items[random.integer(items.length)];
}

export function edge(random: RandomStream): bigint {
  return pick(EDGES, random);
}

/** Mostly small, since those reach further. */
export function someInteger(random: RandomStream): bigint {
  return random.integer(3) === 0 ? edge(random) : BigInt(random.integer(9) - 2);
}

/** Bytes joined. */
export function join(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

type Change = (bytes: Uint8Array, random: RandomStream, other: Uint8Array) => Uint8Array;

/** A range of at most 64 bytes, or of any length one time in eight. */
function range(bytes: Uint8Array, random: RandomStream): [from: number, to: number] {
  const from = random.integer(bytes.length + 1);
  const most = bytes.length - from;
  const length = random.integer((random.integer(8) === 0 ? most : Math.min(64, most)) + 1);
  return [from, from + length];
}

function spliced(
  bytes: Uint8Array,
  from: number,
  to: number,
  put: Uint8Array,
): Uint8Array {
  return join(bytes.subarray(0, from), put, bytes.subarray(to));
}

function integerBytes(value: bigint, size: number, littleEndian: boolean): Uint8Array {
  const out = new Uint8Array(8);
  new DataView(out.buffer).setBigInt64(0, BigInt.asIntN(64, value), true);
  const part = out.subarray(0, size);
  return littleEndian ? part : part.toReversed();
}

const CHANGES: readonly Change[] = [
  (bytes, random) => {
    const at = random.integer(bytes.length);
    bytes[at] ^= 1 << random.integer(8);
    return bytes;
  },
  (bytes, random) => {
    bytes[random.integer(bytes.length)] = random.integer(256);
    return bytes;
  },
  (bytes, random) => {
    const size = pick([2, 4, 8], random);
    const value = integerBytes(edge(random), size, random.integer(4) > 0);
    const at = random.integer(bytes.length);
    bytes.set(value.subarray(0, bytes.length - at), at);
    return bytes;
  },
  // A byte up or down by a little: most lengths are a byte.
  (bytes, random) => {
    bytes[random.integer(bytes.length)] += random.integer(9) - 4;
    return bytes;
  },
  (bytes, random) => bytes.subarray(0, random.integer(bytes.length + 1)),
  (bytes, random) => spliced(bytes, ...range(bytes, random), new Uint8Array(0)),
  (bytes, random) => {
    const [from, to] = range(bytes, random);
    return spliced(bytes, from, from, bytes.slice(from, to));
  },
  (bytes, random) => {
    const piece = bytes.slice(...range(bytes, random));
    const at = random.integer(bytes.length + 1);
    return spliced(bytes, at, at, piece);
  },
  (bytes, random) => {
    const put = new Uint8Array(random.integer(17)).map(() => random.integer(256));
    const at = random.integer(bytes.length + 1);
    return spliced(bytes, at, at, put);
  },
  (bytes, random, other) => {
    const piece = other.slice(...range(other, random));
    return spliced(bytes, ...range(bytes, random), piece);
  },
  (bytes, random, other) => {
    const at = random.integer(bytes.length + 1);
    return join(bytes.subarray(0, at), other.subarray(random.integer(other.length + 1)));
  },
];

/** A damaged copy; `other` is a file of the same kind to take pieces from. */
export function changeBytes(
  bytes: Uint8Array,
  random: RandomStream,
  other: Uint8Array,
): Uint8Array {
  let changed = Uint8Array.from(bytes);
  for (let k = 1 + random.integer(3); k > 0 && changed.length > 0; k--) {
    changed = Uint8Array.from(pick(CHANGES, random)(changed, random, other));
  }
  return changed;
}
