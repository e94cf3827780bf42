/** Typed access to the attributes of an ONNX node. */

import { quoted } from "../../bytes.ts";
import { Refusal } from "./array.ts";
import type { AttributeProto, TensorProto } from "../proto/onnx_pb.ts";

/** ONNX's numbers of attribute types (AttributeProto.AttributeType). */
export const ATTRIBUTE = { float: 1, int: 2, string: 3, tensor: 4, floats: 6, ints: 7 } as const;

/**
 * The attributes of one node. Every reader takes what holds when the attribute is absent; without
 * it the attribute is required. All throw a Refusal for another type.
 */
export class Attributes {
  readonly #byName: ReadonlyMap<string, AttributeProto>;

  constructor(attributes: readonly AttributeProto[]) {
    this.#byName = new Map(attributes.map((attribute) => [attribute.name, attribute]));
  }

  has(name: string): boolean {
    return this.#byName.has(name);
  }

  int(name: string, absent?: number): number {
    const found = this.#find(name, ATTRIBUTE.int, absent);
    return typeof found === "object" ? Number(found.i) : found;
  }

  /** The number whose f32 this is, as people write it: 1e-5 rather than 9.999999747378752e-6. */
  float(name: string, absent?: number): number {
    const found = this.#find(name, ATTRIBUTE.float, absent);
    return typeof found === "object" ? shortest(found.f) : found;
  }

  string(name: string, absent?: string): string {
    const found = this.#find(name, ATTRIBUTE.string, absent);
    return typeof found === "object" ? new TextDecoder().decode(found.s) : found;
  }

  ints(name: string, absent?: readonly number[]): readonly number[] {
    const found = this.#find(name, ATTRIBUTE.ints, absent);
    return "ints" in found ? found.ints.map(Number) : found;
  }

  floats(name: string): readonly number[] {
    return this.#find<never>(name, ATTRIBUTE.floats).floats;
  }

  tensor(name: string): TensorProto {
    const { t } = this.#find<never>(name, ATTRIBUTE.tensor);
    if (t === undefined) throw new Refusal(`has an empty attribute ${name}`);
    return t;
  }

  #find<T>(name: string, type: number, absent?: T): AttributeProto | T {
    const attribute = this.#byName.get(name);
    if (attribute === undefined) {
      if (absent !== undefined) return absent;
      throw new Refusal(`lacks its attribute ${name}`);
    }
    if (attribute.type !== type) {
      throw new Refusal(`has an attribute ${quoted(name)} of an unexpected type`);
    }
    return attribute;
  }
}

/** The shortest decimal that rounds to the same f32. */
export function shortest(value: number): number {
  for (let digits = 6; digits < 9; digits++) {
    const candidate = Number(value.toPrecision(digits));
    if (Math.fround(candidate) === Math.fround(value)) return candidate;
  }
  return value;
}
