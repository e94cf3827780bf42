/** Damage to protocol buffers as they are written: tags, varints, lengths, nested messages. */

import type { DescMessage } from "@bufbuild/protobuf";
import type { RandomStream } from "../../../src/random.ts";
import { edge, join, pick } from "./byte_changes.ts";

/** One field: what stands before its content, and its content. */
interface Field {
  number: number;
  wire: number;
  /** Of a varint or a fixed number. */
  value: bigint;
  /** Of bytes, text and packed numbers. */
  bytes?: Uint8Array;
  /** Of a message. */
  fields?: Field[];
  /** Added to the length written. */
  lengthError: number;
  /** Bytes that its varints take at least. */
  padding: number;
}

function varint(value: bigint, padding: number): Uint8Array {
  const out: number[] = [];
  let rest = BigInt.asUintN(64, value);
  do {
    out.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  } while (rest > 0n);
  while (out.length < padding) out.push(0x80);
  out[out.length - 1] &= 0x7f;
  return Uint8Array.from(out);
}

class Parser {
  at = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.at >= this.#bytes.length;
  }

  varint(): bigint {
    let value = 0n;
    for (let shift = 0n;; shift += 7n) {
      const byte = this.#bytes[this.at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }

  take(length: number): Uint8Array {
    return this.#bytes.subarray(this.at, this.at += length);
  }

  fixed(length: 4 | 8): bigint {
    return this.take(length).reduceRight((value, byte) => value << 8n | BigInt(byte), 0n);
  }
}

/** The fields of a message that is whole. */
function fieldsOf(bytes: Uint8Array, message: DescMessage | undefined): Field[] {
  const parser = new Parser(bytes);
  const fields: Field[] = [];
  while (!parser.done) {
    const tag = Number(parser.varint());
    const field: Field = { number: tag >> 3, wire: tag & 7, value: 0n, lengthError: 0, padding: 0 };
    fields.push(field);
    if (field.wire === 0) field.value = parser.varint();
    else if (field.wire === 1) field.value = parser.fixed(8);
    else if (field.wire === 5) field.value = parser.fixed(4);
    else {
      const content = parser.take(Number(parser.varint()));
      const inner = message?.fields.find(({ number }) => number === field.number)?.message;
      if (inner === undefined) field.bytes = content;
      else field.fields = fieldsOf(content, inner);
    }
  }
  return fields;
}

function fixedBytes(value: bigint, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
}

function written(fields: readonly Field[]): Uint8Array {
  return join(...fields.map((field) => {
    const tag = varint(BigInt(field.number << 3 | field.wire), field.padding);
    if (field.wire === 0) return join(tag, varint(field.value, field.padding));
    if (field.wire === 1) return join(tag, fixedBytes(field.value, 8));
    if (field.wire === 5) return join(tag, fixedBytes(field.value, 4));
    const content = field.fields === undefined
      ? field.bytes ?? varint(field.value, 0)
      : written(field.fields);
    const length = varint(BigInt(content.length + field.lengthError), field.padding);
    return join(tag, length, content);
  }));
}

/** Every list of fields, the outermost first. */
function listsOf(fields: Field[], lists: Field[][] = []): Field[][] {
  lists.push(fields);
  for (const field of fields) if (field.fields !== undefined) listsOf(field.fields, lists);
  return lists;
}

type Change = (list: Field[], random: RandomStream, lists: readonly Field[][]) => void;

const one = (list: Field[], random: RandomStream): Field => pick(list, random);

const CHANGES: readonly Change[] = [
  (list, random) => void (one(list, random).value = edge(random)),
  (list, random) => void (one(list, random).padding = pick([2, 5, 9, 10, 11, 30], random)),
  (list, random) => void (one(list, random).lengthError = random.integer(9) - 4),
  (list, random) => void (one(list, random).lengthError = Number(edge(random) % 2n ** 33n)),
  (list, random) => void (one(list, random).number = random.integer(22)),
  (list, random) => void (one(list, random).wire = random.integer(8)),
  (list, random) => void list.splice(random.integer(list.length), 1),
  (list, random) => {
    const copies = Array<Field>(1 + random.integer(random.integer(8) === 0 ? 100 : 3));
    list.splice(random.integer(list.length + 1), 0, ...copies.fill(one(list, random)));
  },
  (list, random, lists) => {
    const from = pick(lists, random);
    const copy = structuredClone(one(from, random)); // which may hold this very list
    list.splice(random.integer(list.length + 1), 0, copy);
  },
  (list, random) => {
    // A message around a message, as often as may be.
    const field = one(list, random);
    for (let k = random.integer(40); k >= 0; k--) {
      const { bytes: _bytes, ...rest } = field;
      field.fields = [{ ...rest, ...(field.bytes ? { bytes: field.bytes } : {}) }];
      field.wire = 2;
    }
  },
  (list, random) => {
    const field = one(list, random);
    if (field.bytes !== undefined) field.bytes = field.bytes.map(() => random.integer(256));
  },
];

/** A protocol buffer of this message with one to three changes to how it is written. */
export function changeWire(
  bytes: Uint8Array,
  random: RandomStream,
  message: DescMessage,
): Uint8Array {
  const fields = fieldsOf(bytes, message);
  for (let k = random.integer(3); k >= 0; k--) {
    const lists = listsOf(fields).filter((list) => list.length > 0);
    if (lists.length > 0) pick(CHANGES, random)(pick(lists, random), random, lists);
  }
  return written(fields);
}
