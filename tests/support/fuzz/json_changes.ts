/** Damage to JSON that keeps it JSON, mostly: values of other types, fields lost and repeated. */

import type { RandomStream } from "../../../src/random.ts";
import { edge, pick, someInteger } from "./byte_changes.ts";

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** A place in a document whose value can be exchanged. */
interface Place {
  readonly holder: Json[] | { [key: string]: Json };
  readonly key: string | number;
}

function placesOf(json: Json, places: Place[] = []): Place[] {
  if (typeof json !== "object" || json === null) return places;
  for (const key of Object.keys(json)) {
    const place = { holder: json, key: Array.isArray(json) ? Number(key) : key };
    places.push(place);
    placesOf(valueAt(place), places);
  }
  return places;
}

const valueAt = ({ holder, key }: Place): Json => (holder as { [key: string]: Json })[key];

function put({ holder, key }: Place, value: Json): void {
  // Plain assignment of "__proto__" would change what the object is.
  Object.defineProperty(holder, key, {
    value,
    enumerable: true,
    configurable: true,
    writable: true,
  });
}

const NAMES = [
  ...["__proto__", "constructor", "toString", "__metadata__", "shape", "dtype", "data_offsets"],
  ...["", " ", "\u0000", "\u202e", "op", "inputs", "output", "weight", "x".repeat(300)],
];

const DTYPES = ["F64", "F32", "F16", "BF16", "I64", "I32", "U8", "BOOL", "F8_E4M3", "f32"];

function someValue(random: RandomStream, old: Json): Json {
  switch (random.integer(12)) {
    case 0:
      return null;
    case 1:
      return random.integer(2) === 0;
    case 2:
      return pick(NAMES, random);
    case 3:
      return pick(DTYPES, random);
    case 4:
      return [];
    case 5:
      return {};
    case 6:
      return [old, old];
    case 7:
      return pick([0.5, -0.5, 1e-320, 1e308, 1e21], random);
    case 8:
      return Array.from({ length: random.integer(70) }, () => Number(someInteger(random)));
    default:
      return typeof old === "number" && random.integer(2) === 0
        ? old + random.integer(9) - 4
        : Number(someInteger(random));
  }
}

type Change = (places: readonly Place[], random: RandomStream) => void;

const CHANGES: readonly Change[] = [
  (places, random) => {
    const place = pick(places, random);
    put(place, someValue(random, valueAt(place)));
  },
  (places, random) => {
    const [a, b] = [pick(places, random), pick(places, random)];
    put(a, structuredClone(valueAt(b)));
  },
  (places, random) => {
    const { holder, key } = pick(places, random);
    if (Array.isArray(holder)) holder.splice(Number(key), 1);
    else delete holder[key];
  },
  (places, random) => {
    const { holder, key } = pick(places, random);
    const value = (holder as { [key: string]: Json })[key];
    if (Array.isArray(holder)) holder.push(structuredClone(value));
    else put({ holder, key: pick(NAMES, random) }, structuredClone(value));
  },
];

/** Changes to the text that no document expresses. */
const TEXT_CHANGES: readonly ((text: string, random: RandomStream) => string)[] = [
  (text) => text,
  (text) => text,
  (text) => text,
  (text) => text,
  (text, random) => text.replace(/\d+/, edge(random).toString()),
  (text) => text.replace("{", '{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},'),
  (text) => text.replace(/"([^"]+)":/, '"$1":0,"$1":'),
  (text, random) => text.replace(/\d+/, pick(["1e999", "-0", "0x10", "01", "NaN", "1.0"], random)),
  (text, random) => "[".repeat(random.integer(20_000)) + text,
  (text, random) => text.slice(0, random.integer(text.length + 1)),
];

/** The document with one to three changes; text that is no JSON comes back with one of its own. */
export function changeJson(text: string, random: RandomStream): string {
  let json: Json;
  try {
    json = JSON.parse(text);
  } catch {
    return pick(TEXT_CHANGES, random)(text, random);
  }
  for (let k = random.integer(3); k >= 0; k--) {
    const places = placesOf(json);
    if (places.length > 0) pick(CHANGES, random)(places, random);
  }
  return pick(TEXT_CHANGES, random)(JSON.stringify(json), random);
}
