/** Damaged headers of pictures and archives: reasons and sentences, never a crash or a long wait. */

import { Buffer } from "node:buffer";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { SecateurError } from "../../src/errors.ts";
import { readJpegStructure } from "../../src/data/pictures/jpeg_structure.ts";
import { readPngStructure } from "../../src/data/pictures/png_structure.ts";
import { openStore } from "../../src/data/stores/picture_store.ts";
import { RandomStream } from "../../src/random.ts";
import { fixture, ownFolder } from "../support/pictures/files.ts";
import { TAR_END, tarEntry } from "../support/pictures/tar_files.ts";

const folder = ownFolder();

/** A copy with a few bytes changed, a piece taken out or doubled, or its end cut off. */
function damaged(whole: Uint8Array, random: RandomStream): Uint8Array {
  const at = random.integer(whole.length), length = random.integer(64);
  const [before, piece, after] = [
    whole.subarray(0, at),
    whole.subarray(at, at + length),
    whole.subarray(at + length),
  ];
  switch (random.integer(4)) {
    case 0:
      return Buffer.concat([before, after]);
    case 1:
      return Buffer.concat([before, piece, piece, after]);
    case 2:
      return before;
    default: {
      const copy = Uint8Array.from(whole);
      for (let i = 0; i <= random.integer(4); i++) {
        copy[random.integer(copy.length)] = [0, 1, 0x7f, 0xff, random.integer(256)][i];
      }
      return copy;
    }
  }
}

const STRUCTURES = [
  {
    kind: "JPEG",
    read: readJpegStructure,
    names: ["subsampled.jpg", "progressive.jpg", "grey.jpg"],
  },
  { kind: "PNG", read: readPngStructure, names: ["plain.png", "palette.png"] },
];

describe("structures of damaged pictures", () => {
  it.each(STRUCTURES)("of kind $kind are read, or refused with a reason", ({ read, names }) => {
    const random = new RandomStream(9, "structures");
    let whole = 0, refused = 0;
    const started = performance.now();
    for (let round = 0; round < 3000; round++) {
      const bytes = damaged(fixture(names[round % names.length]), random);
      try {
        const { width, height, essence } = read(bytes);
        expect(essence.length).toBeLessThanOrEqual(bytes.length);
        expect(Number.isInteger(width * height)).toBe(true);
        whole++;
      } catch (thrown) {
        expect((thrown as Error).message).toMatch(/^it (is|has) [a-z]/);
        refused++;
      }
    }
    expect(performance.now() - started).toBeLessThan(20_000);
    expect(Math.min(whole, refused)).toBeGreaterThan(20);
  });
});

describe("damaged archives", () => {
  const jpeg = fixture("subsampled.jpg");
  const link = (path: string, target: string, type: string) =>
    tarEntry(path, new Uint8Array(0), { type, target });
  const whole = Buffer.concat([
    tarEntry("train/a/1.jpg", jpeg),
    link("train/a/2.jpg", "train/a/1.jpg", "1"),
    link("train/b", "a", "2"),
    tarEntry("././@LongLink", Buffer.from(`train/c/${"x".repeat(200)}\0`), { type: "L" }),
    tarEntry("cut", jpeg),
    tarEntry("pax", Buffer.from("25 path=train/c/other.jpg\n".padEnd(25)), { type: "x" }),
    tarEntry("cut", jpeg),
    TAR_END,
  ]);

  /** Headers whose checksums hold again, so that what lies behind them is tried. */
  function mended(bytes: Uint8Array): Buffer {
    const copy = Buffer.from(bytes);
    for (let at = 0; at + 512 <= copy.length; at += 512) {
      if (copy.toString("latin1", at + 257, at + 262) !== "ustar") continue;
      copy.write("        ", at + 148);
      const sum = copy.subarray(at, at + 512).reduce((total, byte) => total + byte, 0);
      copy.write(`${sum.toString(8).padStart(6, "0")}\0 `, at + 148);
    }
    return copy;
  }

  it("are read, or refused by one sentence", async () => {
    const random = new RandomStream(9, "archives");
    const path = join(folder, "damaged.tar");
    let read = 0, refused = 0;
    for (let round = 0; round < 400; round++) {
      const bytes = damaged(whole, random);
      await writeFile(path, round % 2 === 0 ? mended(bytes) : bytes);
      try {
        const store = await openStore(path);
        const files = await store.open();
        for (const name of store.files) {
          if (!store.unreadable.has(name)) await files.read(name).catch(() => undefined);
        }
        await files.close();
        read++;
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(SecateurError);
        // deno-lint-ignore no-control-regex
        expect((thrown as Error).message).toMatch(/^[^\x00-\x1f\x7f-\x9f]+\.$/);
        refused++;
      }
    }
    expect(Math.min(read, refused)).toBeGreaterThan(20);
  });

  it("of links to links and folders without end are finite", async () => {
    const path = join(folder, "links.tar");
    const deep = "d/".repeat(1500);
    await writeFile(
      path,
      Buffer.concat([
        tarEntry("././@LongLink", Buffer.from(`train/${deep}1.jpg\0`), { type: "L" }),
        tarEntry("cut", jpeg),
        ...Array.from({ length: 60 }, (_, i) => link(`train/l${i}`, `l${i + 1}`, "2")),
        link("train/l60", "d", "2"),
        link("train/d/up", "../..", "2"),
        TAR_END,
      ]),
    );
    const started = performance.now();
    const store = await openStore(path);
    expect(performance.now() - started).toBeLessThan(5000);
    const [bottom] = store.files.filter((name) => name.startsWith("train/d/"));
    expect(store.unreadable.get(bottom)).toMatch(/folder below 64 others/);
    expect(store.unreadable.get("train/l0")).toMatch(/leads nowhere/);
    const long = join(folder, "long.tar");
    const name = Buffer.from(`${"y/".repeat(3000)}1.jpg\0`);
    await writeFile(
      long,
      Buffer.concat([tarEntry("l", name, { type: "L" }), tarEntry("cut", jpeg), TAR_END]),
    );
    await expect(openStore(long)).rejects.toThrow(/absurdly long/);
  });
});
