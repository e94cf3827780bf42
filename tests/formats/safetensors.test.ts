/** safetensors: round trips, and every rule of the format broken once. */

import { Buffer } from "node:buffer";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { SecateurError } from "../../src/errors.ts";
import { readWeights } from "../../src/formats/checkpoint.ts";
import {
  encodeSafetensors,
  parseSafetensors,
  readSafetensors,
  writeSafetensors,
} from "../../src/formats/safetensors.ts";
import type { StateDict, Tensor } from "../../src/tensor.ts";

function state(...entries: [string, number[], number[]][]): StateDict {
  return new Map(
    entries.map(([name, shape, values]): [string, Tensor] => [
      name,
      { shape, data: Float32Array.from(values) },
    ]),
  );
}

/** A file of any header and so many bytes of data. */
function file(header: string, dataBytes: number): Uint8Array {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(header)));
  return Buffer.concat([length, Buffer.from(header), Buffer.alloc(dataBytes)]);
}

describe("safetensors", () => {
  it("come back as they were written: order, shapes, bits, metadata", async () => {
    const tensors = state(
      ["z.weight", [2, 2], [1, -0, Infinity, 1e-45]],
      ["0", [], [0.1]],
      ["empty", [0, 3], []],
      ["__proto__", [1], [NaN]],
    );
    const metadata = { format: "pt", "__proto__": "x", note: 'a "quoted" ü\n' };
    const folder = await mkdtemp(join(tmpdir(), "secateur-"));
    try {
      const path = join(folder, "model.safetensors");
      await writeSafetensors(path, tensors, metadata);
      const content = await readSafetensors(path);
      expect([...content.tensors.keys()]).toEqual([...tensors.keys()]);
      for (const [name, { shape, data }] of tensors) {
        const read = content.tensors.get(name)!;
        expect(read.shape).toEqual(shape);
        expect(new Uint8Array(read.data.buffer)).toEqual(new Uint8Array(data.buffer));
      }
      expect(content.metadata).toEqual(metadata);
      expect((await readFile(path)).readBigUInt64LE() % 8n).toBe(0n);
      expect(await readdir(folder)).toEqual(["model.safetensors"]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("write only the part of a buffer that a tensor views", () => {
    const data = new Float32Array([9, 1, 2, 9]).subarray(1, 3);
    const bytes = encodeSafetensors(new Map([["w", { shape: [2], data }]]));
    expect([...parseSafetensors(bytes, "x").tensors.get("w")!.data]).toEqual([1, 2]);
  });

  it("lose a common module. prefix when read as weights", async () => {
    const folder = await mkdtemp(join(tmpdir(), "secateur-"));
    try {
      // The name's ending does not matter: the content decides.
      const path = join(folder, "weights.th");
      await writeSafetensors(path, state(["module.a", [1], [1]], ["module.b", [1], [2]]));
      expect([...(await readWeights(path)).keys()]).toEqual(["a", "b"]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("are not written when a tensor does not fit its shape", () => {
    expect(() => encodeSafetensors(state(["w", [3], [1, 2]]))).toThrow(/2 values do not fit/);
    expect(() => encodeSafetensors(state(["__metadata__", [1], [1]]))).toThrow(SecateurError);
  });

  const f32 = (begin: number, end: number, shape = "[2]") =>
    `{"dtype":"F32","shape":${shape},"data_offsets":[${begin},${end}]}`;
  const broken: [string, Uint8Array, RegExp][] = [
    ["a header longer than the file", file("{}", 0).subarray(0, 9), /bytes of the header/],
    ["a header of 2^40 bytes", Buffer.from("0000000000010000", "hex"), /where 16777216 are/],
    ["a header of 2^63 bytes", Buffer.from("0000000000000080", "hex"), /more than any file/],
    ["a header that is not JSON", file("{]", 0), /not JSON/],
    ["a header that is not UTF-8", file("\u{0}", 0).fill(0xff, 8), /not JSON/],
    ["a header nested deeply", file("[".repeat(200_000), 0), /not JSON/],
    ["a header that is a list", file("[]", 0), /not a JSON object/],
    ["an entry that is a number", file('{"w":1}', 0), /not a JSON object/],
    ["a missing dtype", file('{"w":{"shape":[],"data_offsets":[0,4]}}', 4), /no dtype/],
    ["a negative extent", file(`{"w":${f32(0, 8, "[-2]")}}`, 8), /list of counts/],
    ["a fractional extent", file(`{"w":${f32(0, 8, "[0.5]")}}`, 8), /list of counts/],
    ["an overflowing shape", file(`{"w":${f32(0, 0, "[1e15,1e15]")}}`, 0), /needs/],
    ["offsets out of order", file(`{"w":${f32(8, 0)}}`, 8), /needs 8 bytes but has -8/],
    ["offsets that do not fit the shape", file(`{"w":${f32(0, 4)}}`, 4), /needs 8 bytes/],
    ["three offsets", file('{"w":{"dtype":"F32","shape":[],"data_offsets":[0,4,4]}}', 4), /two/],
    ["data beyond the end", file(`{"w":${f32(0, 8)}}`, 7), /at most 7/],
    ["data left over", file(`{"w":${f32(0, 8)}}`, 9), /end at byte 8 of 9/],
    ["a hole", file(`{"v":${f32(0, 8)},"w":${f32(12, 20)}}`, 20), /lies at bytes 12/],
    ["an overlap", file(`{"v":${f32(0, 8)},"w":${f32(4, 12)}}`, 12), /lies at bytes 4/],
    ["metadata that is a list", file('{"__metadata__":[]}', 0), /metadata is not/],
    ["metadata that is a number", file('{"__metadata__":{"a":1}}', 0), /"a" is not a string/],
  ];
  for (const [name, bytes, finding] of broken) {
    it(`are refused for ${name}`, () => {
      const outcome = (() => {
        try {
          return parseSafetensors(bytes, "x");
        } catch (thrown) {
          return thrown;
        }
      })();
      expect(outcome).toBeInstanceOf(SecateurError);
      expect((outcome as SecateurError).code).toBe("format-corrupt");
      expect((outcome as SecateurError).message).toMatch(finding);
    });
  }
});
