/** Damage to safetensors files: their header, the graph in its metadata, their lengths. */

import type { RandomStream } from "../../../src/random.ts";
import { changeBytes, edge, join, pick } from "./byte_changes.ts";
import { changeJson } from "./json_changes.ts";

const GRAPH = "secateur.graph";

function headerOf(bytes: Uint8Array): { text: string; data: Uint8Array } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = Number(view.getBigUint64(0, true));
  return {
    text: new TextDecoder().decode(bytes.subarray(8, 8 + length)),
    data: bytes.subarray(8 + length),
  };
}

function file(text: string, data: Uint8Array, length?: bigint): Uint8Array {
  const header = new TextEncoder().encode(text);
  const prefix = new Uint8Array(8);
  const announced = BigInt.asUintN(64, length ?? BigInt(header.length));
  new DataView(prefix.buffer).setBigUint64(0, announced, true);
  return join(prefix, header, data);
}

/** The graph in the metadata changed, where there is one. */
function changeGraph(text: string, random: RandomStream): string {
  const header = JSON.parse(text);
  const graph = header.__metadata__?.[GRAPH];
  if (typeof graph !== "string") return changeJson(text, random);
  header.__metadata__[GRAPH] = changeJson(graph, random);
  return JSON.stringify(header);
}

/** A damaged copy of a whole safetensors file. */
export function changeSafetensors(
  bytes: Uint8Array,
  random: RandomStream,
  other: Uint8Array,
): Uint8Array {
  const { text, data } = headerOf(bytes);
  switch (random.integer(8)) {
    case 0:
      return changeBytes(bytes, random, other);
    case 1:
      return file(text, data, edge(random) + BigInt(random.integer(5) - 2));
    case 2:
      return file(text, changeBytes(data, random, other));
    case 3:
      return file(changeJson(text, random), changeBytes(data, random, other));
    case 4:
      return file(headerOf(other).text, data);
    case 5:
      return file(changeJson(text, random), data);
    default:
      return file(pick([changeGraph, changeGraph, changeJson], random)(text, random), data);
  }
}
