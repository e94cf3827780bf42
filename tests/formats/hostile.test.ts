/**
 * Hostile and damaged files: whatever the bytes, parsing ends soon, in tensors or in a coded error.
 */

import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { SecateurError } from "../../src/errors.ts";
import { parseWeights } from "../../src/formats/checkpoint.ts";
import { RandomStream } from "../../src/random.ts";
import { elementCount, type StateDict } from "../../src/tensor.ts";

function fixture(name: string): Uint8Array {
  return readFileSync(fileURLToPath(new URL(`../fixtures/formats/${name}`, import.meta.url)));
}

/** What parsing ends in; anything but tensors or a coded error is thrown on. */
function outcome(bytes: Uint8Array): StateDict | SecateurError {
  try {
    return parseWeights(bytes, "x");
  } catch (thrown) {
    if (thrown instanceof SecateurError) return thrown;
    throw thrown;
  }
}

function refusal(bytes: Uint8Array): SecateurError {
  const result = outcome(bytes);
  if (!(result instanceof SecateurError)) throw new Error("it was accepted");
  return result;
}

// A pickle assembler: what torch.save would never write.

const bytes = (...parts: (number | string | Uint8Array)[]): Buffer =>
  Buffer.concat(
    parts.map((part) =>
      typeof part === "number" ? Buffer.of(part) : Buffer.from(part as Uint8Array)
    ),
  );
const u32 = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);
const u64 = (value: bigint) => new Uint8Array(BigUint64Array.of(value).buffer);
const text = (value: string) => bytes("X", u32(value.length), value);
const int = (value: number) => bytes("J", u32(value));
const put = (key: number) => bytes("r", u32(key));
const get = (key: number) => bytes("j", u32(key));
const tuple = (...items: Uint8Array[]) => bytes("(", ...items, "t");
const global = (module: string, name: string) => `c${module}\n${name}\n`;
const pickle = (...parts: (number | string | Uint8Array)[]) => bytes(0x80, 2, ...parts, ".");

const prelude = bytes(
  pickle(0x8a, 10, Buffer.from("1950a86a20f9469cfc6c", "hex").reverse()),
  pickle("M", 0xe9, 0x03),
  pickle("}"),
);

/** A legacy checkpoint of one pickle, a list of keys and raw storages. */
function legacy(saved: Uint8Array, keys: string[] = [], ...storages: Uint8Array[]): Uint8Array {
  return bytes(prelude, pickle(saved), pickle("](", ...keys.map(text), "e"), ...storages);
}

function storage(key: string, count: number, kind = "FloatStorage", view: Uint8Array = bytes("N")) {
  return bytes(
    tuple(text("storage"), bytes(global("torch", kind)), text(key), text("cpu"), int(count), view),
    "Q",
  );
}

function tensor(from: Uint8Array, offset: number, shape: number[], strides: number[]) {
  const arguments_ = tuple(
    from,
    int(offset),
    tuple(...shape.map(int)),
    tuple(...strides.map(int)),
  );
  return bytes(global("torch._utils", "_rebuild_tensor"), arguments_, "R");
}

const dict = (...items: Uint8Array[]) => bytes("}(", ...items, "u");
const floats = (...values: number[]) =>
  bytes(u64(BigInt(values.length)), new Uint8Array(Float32Array.from(values).buffer));

describe("assembled checkpoints", () => {
  it("are read when they are sound, views of storages included", () => {
    const view = tuple(text("view"), int(1), int(2));
    const file = legacy(
      dict(
        ...[text("a"), tensor(storage("k", 3), 1, [2], [1])],
        ...[text("b"), tensor(storage("k", 3, "FloatStorage", view), 1, [1], [1])],
      ),
      ["k"],
      floats(1, 2, 3),
    );
    const state = outcome(file) as StateDict;
    expect([...state.get("a")!.data]).toEqual([2, 3]);
    expect([...state.get("b")!.data]).toEqual([3]);
  });

  it("keep a module. prefix that not all names share", () => {
    const one = tensor(storage("k", 1), 0, [1], [1]);
    const both = [text("module.a"), one, text("b"), one];
    const state = outcome(legacy(dict(...both), ["k"], floats(1))) as StateDict;
    expect([...state.keys()]).toEqual(["module.a", "b"]);
  });

  const weight = (value: Uint8Array, ...storages: Uint8Array[]) =>
    legacy(dict(text("w"), value), storages.length > 0 ? ["k"] : [], ...storages);
  const expanded = [1_000_000, 1_000_000];
  const cases: [string, Uint8Array, string, RegExp][] = [
    [
      "an offset beyond the storage",
      weight(tensor(storage("k", 2), 1, [2], [1]), floats(1, 2)),
      "format-corrupt",
      /outside its storage of 2 elements/,
    ],
    [
      "a stride beyond the storage",
      weight(tensor(storage("k", 4), 0, [2, 2], [3, 1]), floats(1, 2, 3, 4)),
      "format-corrupt",
      /outside/,
    ],
    [
      "a negative stride",
      weight(tensor(storage("k", 2), 1, [2], [-1]), floats(1, 2)),
      "format-corrupt",
      /strides of a tensor/,
    ],
    [
      "more strides than extents",
      weight(tensor(storage("k", 2), 0, [2], [1, 1]), floats(1, 2)),
      "format-corrupt",
      /strides/,
    ],
    [
      "a tensor expanded to 10^12 elements",
      weight(tensor(storage("k", 1), 0, expanded, [0, 0]), floats(1)),
      "format-corrupt",
      /expand to 1000000000000 elements/,
    ],
    [
      "a storage longer than announced",
      weight(tensor(storage("k", 1), 0, [1], [1]), floats(1, 2)),
      "format-corrupt",
      /2 elements where 1/,
    ],
    [
      "a storage longer than the file",
      weight(tensor(storage("k", 0x7fffffff), 0, [1], [1]), u64(0x7fffffffn)),
      "format-corrupt",
      /bytes follow/,
    ],
    [
      "a storage that is missing",
      legacy(dict(text("w"), tensor(storage("k", 1), 0, [1], [1]))),
      "format-corrupt",
      /"k" is missing/,
    ],
    [
      "a storage described twice",
      weight(
        bytes(tensor(storage("k", 1), 0, [1], [1]), text("v"), storage("k", 1, "HalfStorage")),
        floats(1),
      ),
      "format-corrupt",
      /two different ways/,
    ],
    [
      "a view outside its storage",
      weight(storage("k", 1, "FloatStorage", tuple(text("v"), int(1), int(1))), floats(1)),
      "format-corrupt",
      /lies outside/,
    ],
    ["a foreign reference", weight(bytes(tuple(text("module")), "Q")), "format-unsafe", /external/],
    ["a call of a string", weight(bytes(text("f"), ")R")), "format-unsafe", /call of a str/],
    ["attributes of a list", weight(bytes("]}b")), "format-unsafe", /attributes of a list/],
    ["an INST instruction", legacy(bytes("(ios\nsystem\n")), "format-unsafe", /"os\.system"/],
    ["an OBJ instruction", legacy(bytes("(No")), "format-unsafe", /OBJ/],
    ["an extension code", legacy(bytes(0x82, 1)), "format-unsafe", /EXT1/],
    ["an unknown instruction", legacy(bytes(0xff)), "format-corrupt", /0xff at byte/],
    ["an empty stack", legacy(bytes("0")), "format-corrupt", /empty stack/],
    ["a value below a mark", legacy(bytes("N(a")), "format-corrupt", /empty stack/],
    ["a missing mark", legacy(bytes("Nt")), "format-corrupt", /mark/],
    ["an unknown memo", legacy(bytes("h", 5)), "format-corrupt", /value 5/],
    ["a huge string", legacy(bytes(0x8d, u64(1n << 50n))), "format-corrupt", /bytes follow/],
    ["an absurd string", legacy(bytes(0x8d, u64(1n << 60n))), "format-corrupt", /any file/],
    ["a huge integer", legacy(bytes(0x8b, u32(0xffffffff))), "format-corrupt", /256 at most/],
    [
      "names with control characters",
      legacy(bytes(global("\x1b[31mevil", "x".repeat(1000)))),
      "format-unsafe",
      // deno-lint-ignore no-control-regex
      /^[^\x00-\x1f]{1,400}$/,
    ],
  ];
  for (const [name, file, code, finding] of cases) {
    it(`are refused for ${name}`, () => {
      const error = refusal(file);
      expect(error.message).toMatch(finding);
      expect(error.code).toBe(code);
    });
  }
});

describe("bombs", () => {
  it("of nested lists end without exhausting the call stack", () => {
    const depth = 400_000;
    const error = refusal(legacy(bytes("]".repeat(depth), "a".repeat(depth - 1))));
    expect(error.code).toBe("format-unknown");
  });

  it("of tuples that double 1,000 times are never unfolded", () => {
    const levels = Array.from({ length: 1000 }, (_, i) => bytes(get(i), get(i), 0x86, put(i + 1)));
    const error = refusal(legacy(bytes("N", put(0), ...levels)));
    expect(error.code).toBe("format-unknown");
    expect(error.message.length).toBeLessThan(500);
  });

  it("of a list that holds itself are just a list", () => {
    expect(refusal(legacy(bytes("]", put(0), get(0), "a"))).message).toContain("a list");
  });

  it("of copied dicts are stopped", () => {
    const pairs = bytes(
      "](",
      tuple(int(1), int(2)),
      put(1),
      ...Array(5000).fill(get(1)),
      "e",
      put(2),
    );
    const ordered = bytes(global("collections", "OrderedDict"), put(3));
    const copies = Array(5000).fill(bytes(get(3), get(2), 0x85, "R0"));
    const error = refusal(legacy(bytes(pairs, ordered, ...copies)));
    expect(error.message).toContain("at most 1000000 instructions");
  });

  it("of instructions are stopped", () => {
    expect(refusal(legacy(bytes("N0".repeat(1_500_000)))).message).toContain("instructions");
  });
});

const samples = [
  "zip-strides.pt",
  "zip-training.pt",
  "zip-zip64.pt",
  "zip-big-endian.pt",
  "legacy-dtypes.pt",
  "legacy-protocol4.pt",
  "reference.safetensors",
];

describe("damaged files", () => {
  for (const name of samples) {
    it(`${name}: every truncation is refused`, () => {
      const whole = fixture(name);
      expect(outcome(whole)).not.toBeInstanceOf(SecateurError);
      const codes = new Set<string>();
      for (let length = 0; length < whole.length; length++) {
        codes.add(refusal(whole.subarray(0, length)).code);
      }
      expect([...codes].sort()).toEqual(["format-corrupt", "format-unknown"]);
    });

    it(`${name}: changed bytes give tensors or a coded error`, () => {
      const whole = fixture(name);
      const random = new RandomStream(1, `damage ${name}`);
      let refused = 0;
      for (let round = 0; round < 800; round++) {
        const damaged = Uint8Array.from(whole);
        for (let flips = 1 + random.integer(4); flips > 0; flips--) {
          damaged[random.integer(whole.length)] = random.integer(256);
        }
        const result = outcome(damaged);
        if (result instanceof SecateurError) refused++;
        else {for (const { shape, data } of result.values()) {
            expect(data.length).toBe(elementCount(shape));
          }}
      }
      expect(refused).toBeGreaterThan(100);
    });
  }

  it("an archive's names reach people without their control characters", () => {
    const whole = Uint8Array.from(fixture("hostile-eval-zip.pt"));
    const name = Buffer.from("hostile-eval-zip/data.pkl");
    // In the entry's own header and in the directory; the clearing of a screen.
    for (let at = 0; (at = Buffer.from(whole).indexOf(name, at)) >= 0; at++) {
      whole.set([0x1b, 0x5b, 0x32, 0x4a], at);
    }
    // deno-lint-ignore no-control-regex
    expect(refusal(whole).message).toMatch(/^[^\x00-\x1f]+\\u001b\[2J[^\x00-\x1f]+$/);
  });

  it("a flipped weight in a zip checkpoint is noticed by its checksum", () => {
    const whole = Uint8Array.from(fixture("zip-strides.pt"));
    const view = new DataView(whole.buffer);
    let at = 0; // of 7.0, which occurs in the data only
    while (view.getFloat32(at, true) !== 7) at++;
    whole[at] ^= 1;
    expect(refusal(whole).message).toContain("checksum");
  });
});
