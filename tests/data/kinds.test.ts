/** What a picture is, its first bytes say; what is read has Pillow's pixels, the rest is left out. */

import { Buffer } from "node:buffer";
import { existsSync, readFileSync } from "node:fs";
import { utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { crc32 } from "node:zlib";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { BatchStream } from "../../src/data/batches/batches.ts";
import { isLoaded, loaded, normalisations } from "../../src/data/dataset.ts";
import { PictureDecoder } from "../../src/data/pictures/decode.ts";
import { PixelBudget } from "../../src/data/pictures/pixel_budget.ts";
import { readJpegStructure } from "../../src/data/pictures/jpeg_structure.ts";
import { readImageFolder } from "../../src/data/sources/image_folder.ts";
import { RandomStream } from "../../src/random.ts";
import { dataFolder } from "../support/data.ts";
import { expected, fixture, ownFolder, sha256, writeFiles } from "../support/pictures/files.ts";

const folder = ownFolder();
const text = (value: string) => new TextEncoder().encode(value);

/** Of make_kinds.py: every kind of JPEG, PNG and WebP, and what Pillow makes of it. */
const kinds = JSON.parse(Buffer.from(fixture("kinds.json")).toString()).pictures as Record<
  string,
  { width: number; height: number; sha256: string; base64: string }
>;
const kind = (name: string): Uint8Array => Buffer.from(kinds[name].base64, "base64");
/** Kinds that are left out, and why. */
const REFUSED: Readonly<Record<string, RegExp>> = { "grey-16.png": /grey with 16 bits.*8 bits/ };

/** Files of kinds that are not read, by the beginning of their bytes. */
const foreign: Readonly<Record<string, Uint8Array>> = {
  "a GIF": text("GIF89a\x01\x00\x01\x00\x80\x00\x00"),
  "a BMP": text("BM\x46\x00\x00\x00\x00\x00"),
  "a TIFF": text("II*\x00\x08\x00\x00\x00"),
  "an AVIF": text("\x00\x00\x00\x1cftypavif"),
  "an SVG": text('<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'),
  "no JPEG, PNG or WebP": text("just words"),
};

describe("a picture", () => {
  it.each(Object.keys(kinds))("%s has Pillow's pixels, or is left out", async (name) => {
    const decoder = new PictureDecoder();
    const { width, height, sha256: digest } = kinds[name];
    const reading = decoder.decode(kind(name));
    if (name in REFUSED) {
      await expect(reading).rejects.toThrow(REFUSED[name]);
      await expect(decoder.measure(kind(name))).rejects.toThrow(REFUSED[name]);
      return;
    }
    const picture = await reading;
    expect([picture.width, picture.height]).toEqual([width, height]);
    expect(sha256(picture.pixels)).toBe(digest);
    expect(await decoder.measure(kind(name))).toEqual({ width, height });
  });

  const cmyk = join(dataFolder() ?? "", "faults/cmyk_adobe.jpg");
  it.skipIf(!existsSync(cmyk))(
    "in CMYK with Adobe's marker has them too (faults/cmyk_adobe.jpg)",
    async () => {
      const { width, height, pixels } = await new PictureDecoder().decode(readFileSync(cmyk));
      // Pillow 13.0: Image.open("cmyk_adobe.jpg").convert("RGB").
      expect([width, height, sha256(pixels)]).toEqual([CMYK.width, CMYK.height, CMYK.sha256]);
    },
  );
});

const CMYK = {
  width: 32,
  height: 32,
  sha256: "5e121bdf40e23cb39eba7205f237edf4c1a467f078a088ee45c16149852e4094",
};

describe("a class folder", () => {
  it("gives every JPEG, PNG and WebP whatever its name, and counts the rest", async () => {
    const files: Record<string, string | Uint8Array> = {
      "train/a/no-name": fixture("subsampled.jpg"),
      "train/a/x.gif": fixture("plain.png"),
      "train/a/y.txt": await sharp(fixture("plain.png")).webp({ lossless: true }).toBuffer(),
    };
    Object.values(foreign).forEach((bytes, i) => files[`train/a/foreign${i}.jpg`] = bytes);
    const root = await writeFiles(join(folder, "whatever"), files);
    const reasons = Object.keys(foreign);
    for (const _again of ["decoded", "cached"]) {
      const set = await loaded(await readImageFolder(root, "train"));
      expect(set.count).toBe(3);
      const digests = ["subsampled.jpg", "plain.png", "plain.png"]
        .map((name) => expected.pictures[name].sha256);
      expect([0, 1, 2].map((i) => sha256(set.pixels.subarray(i * 3072, (i + 1) * 3072))))
        .toEqual(digests);
      expect(set.skipped?.map(({ path }) => path))
        .toEqual(reasons.map((_, i) => `train/a/foreign${i}.jpg`));
      set.skipped?.forEach(({ reason }, i) => expect(reason).toContain(reasons[i]));
    }
    const limited = await readImageFolder(root, "train", { limitPerClass: 8 });
    expect([limited.count, limited.skipped?.length]).toEqual([2, 6]);
    const strict = readImageFolder(root, "train", { strict: true });
    await expect(strict).rejects.toThrow(/foreign\d\.jpg" of .*--strict/);
  });

  it("whose files are all of other kinds is named", async () => {
    const root = await writeFiles(join(folder, "others"), {
      "train/a/1.jpg": "grey.jpg",
      "train/b/1.gif": foreign["a GIF"],
    });
    const reading = readImageFolder(root, "train");
    await expect(reading).rejects.toMatchObject({ code: "data-empty" });
    await expect(reading).rejects.toThrow(
      /"b" has none that can be read \("train\/b\/1\.gif": .*GIF/,
    );
  });

  it("with hostile names is spoken of without what a terminal would obey", async () => {
    const name = "\x1b]0;owned\x07\x1b[31m\u202e.jpg";
    const root = await writeFiles(join(folder, "hostile"), {
      "train/a/1.jpg": "grey.jpg",
      "train/\x1b[2Jb/1.jpg": "grey.jpg",
      [`train/\x1b[2Jb/${name}`]: foreign["a GIF"],
    });
    const messages: string[] = [];
    const say = async (reading: Promise<unknown>) => {
      await reading.catch((error: Error) => messages.push(error.message));
    };
    await say(readImageFolder(root, "train", { strict: true }));
    await say(readImageFolder(root, "train", { crop: 60 }));
    await say(readImageFolder(join(root, "train"), "train"));
    await writeFiles(root, { "val/a/1.jpg": "grey.jpg" });
    await say(readImageFolder(root, "test"));
    await writeFiles(root, { "train/\x1b[2Jb/1.jpg": foreign["a GIF"] });
    await say(readImageFolder(root, "train"));
    await writeFiles(root, { "train/\x1b[2Jb/1.jpg": "odd-size.jpg" });
    await say(readImageFolder(root, "train"));
    expect(messages.length).toBe(6);
    // deno-lint-ignore no-control-regex
    for (const message of messages) expect(message).not.toMatch(/[\x00-\x1f\x7f-\x9f\u202e]/);
    expect(messages.filter((message) => message.includes("\\u001b")).length).toBe(6);
  });
});

/** A picture of noise, so that damage anywhere shows. */
async function noise(side: number, format: "png" | "jpeg" | "webp"): Promise<Uint8Array> {
  const random = new RandomStream(3, "noise");
  const pixels = Uint8Array.from({ length: side * side * 3 }, () => random.integer(256));
  return await sharp(pixels, { raw: { width: side, height: side, channels: 3 } })
    .toFormat(format).toBuffer();
}

/** A PNG whose checksums hold and whose pixels do not decompress. */
function brokenStream(png: Uint8Array): Uint8Array {
  const broken = Buffer.from(png);
  const at = broken.indexOf("IDAT");
  const end = at + 4 + broken.readUInt32BE(at - 4);
  broken.fill(0xff, at + 40, end);
  broken.writeUInt32BE(crc32(broken.subarray(at, end)), end);
  return broken;
}

describe("a damaged picture of 64 pixels and more", () => {
  it("is left out and counted when the folder is opened, so that training runs", async () => {
    const [png, jpeg, webp] = await Promise.all(
      (["png", "jpeg", "webp"] as const).map((format) => noise(96, format)),
    );
    const flipped = Uint8Array.from(png);
    flipped[png.length >> 1] ^= 0x40;
    const bad: Record<string, readonly [Uint8Array, RegExp]> = {
      "flipped.png": [flipped, /damaged.*checksum/],
      "stream.png": [brokenStream(png), /damaged.*cannot be decoded/],
      "cut.jpg": [jpeg.subarray(0, jpeg.length >> 1), /cut off.*JPEG/],
      "cut.png": [png.subarray(0, png.length - 20), /cut off.*PNG/],
      "cut.webp": [webp.subarray(0, webp.length - 20), /cut off.*WebP/],
      "empty.jpg": [new Uint8Array(0), /empty/],
    };
    const files: Record<string, Uint8Array> = { "a/1.png": png, "a/2.jpg": jpeg, "a/3.webp": webp };
    for (const [name, [bytes]] of Object.entries(bad)) files[`a/${name}`] = bytes;
    const root = await writeFiles(join(folder, "streamed"), files);
    const set = await readImageFolder(root, "whole", { crop: 64 });
    expect(isLoaded(set)).toBe(false);
    expect(set.count).toBe(3);
    const reasons = new Map(set.skipped?.map(({ path, reason }) => [path.slice(2), reason]));
    expect([...reasons.keys()].sort()).toEqual(Object.keys(bad).sort());
    for (const [name, [, reason]] of Object.entries(bad)) expect(reasons.get(name)).toMatch(reason);
    const stream = new BatchStream(set, {
      batchSize: 3,
      seed: 1,
      augment: true,
      normalisation: normalisations.imagenet,
    });
    try {
      let batches = 0;
      for await (const { images } of stream.epoch(0)) batches += images.every(isFinite) ? 1 : 0;
      expect(batches).toBe(1);
    } finally {
      await stream.close();
    }
  });

  const bad = join(dataFolder() ?? "", "faults/bad_byte.png");
  it.skipIf(!existsSync(bad))(
    "is no picture either with one bad byte (faults/bad_byte.png)",
    async () => {
      const root = await writeFiles(join(folder, "bad byte"), {
        "a/1.png": await noise(96, "png"),
        "a/2.png": readFileSync(bad),
      });
      const set = await readImageFolder(root, "whole", { crop: 64 });
      expect([set.count, set.skipped?.map(({ path }) => path)]).toEqual([1, ["a/2.png"]]);
    },
  );

  it("is decoded wherever its measure says that it can be", async () => {
    const decoder = new PictureDecoder();
    const random = new RandomStream(5, "damage");
    let read = 0, refused = 0;
    for (const format of ["jpeg", "png", "webp"] as const) {
      const whole = await noise(300, format);
      for (let round = 0; round < 40; round++) {
        const damaged = Uint8Array.from(whole);
        // Headers and tables in every other round, where one byte decides most.
        const reach = round % 2 === 0 ? 700 : damaged.length;
        for (let i = 0; i < 2; i++) damaged[random.integer(reach)] = random.integer(256);
        const measured = await decoder.measure(damaged).catch(() => undefined);
        const picture = await decoder.decode(damaged).catch(() => undefined);
        expect(measured && [measured.width, measured.height], `${format} ${round}`)
          .toEqual(picture && [picture.width, picture.height]);
        if (picture) read++;
        else refused++;
      }
    }
    expect(read).toBeGreaterThan(10);
    expect(refused).toBeGreaterThan(40);
  });
});

describe("what was measured", () => {
  it("is kept while the source is as it was, and no longer", async () => {
    const png = await noise(80, "png");
    const root = await writeFiles(join(folder, "measured"), {
      "a/1.png": png,
      "a/2.png": await noise(90, "png"),
      "a/3.png": png.subarray(0, 500),
    });
    const victim = join(root, "a/2.png");
    const time = new Date(1e12);
    await utimes(victim, time, time);
    const open = () => readImageFolder(root, "whole", { crop: 64 });
    const first = await open();
    expect([first.count, first.skipped?.length]).toEqual([2, 1]);

    // Proof that nothing is looked at again: damage that leaves size and time as they are.
    const bytes = readFileSync(victim);
    await writeFile(victim, new Uint8Array(bytes.length));
    await utimes(victim, time, time);
    const second = await open();
    expect({ ...second, source: undefined }).toEqual({ ...first, source: undefined });
    await expect(loaded(second)).rejects.toThrow(/a\/2\.png".*no JPEG.*start again/);
    await expect(readImageFolder(root, "whole", { crop: 64, strict: true })).rejects.toThrow("a/");

    const later = new Date(2e12);
    await utimes(victim, later, later);
    expect([(await open()).count, (await open()).skipped?.length]).toEqual([1, 2]);
    await writeFile(victim, bytes);
    expect(await loaded(await open())).toMatchObject({ count: 2 });
  });
});

describe("reasons", () => {
  it("are a picture's own when many are decoded at once", async () => {
    const decoder = new PictureDecoder();
    const cut = (await noise(300, "jpeg")).subarray(0, 20_000);
    const broken = brokenStream(await noise(300, "png"));
    const found = await Promise.allSettled(
      Array.from({ length: 60 }, (_, i) => decoder.decode(i % 2 === 0 ? cut : broken)),
    );
    const reasons = found.map((end) => end.status === "rejected" ? end.reason.message : "read");
    expect(new Set(reasons.filter((_, i) => i % 2 === 0)))
      .toEqual(new Set(["it is cut off: a JPEG ends with an end marker"]));
    expect(new Set(reasons.filter((_, i) => i % 2 === 1)))
      .toEqual(new Set(["it is damaged: its pixels cannot be decoded"]));
  });
});

describe("decoding", () => {
  const header = (width: number, height: number): Uint8Array => {
    const png = Buffer.from(fixture("plain.png"));
    png.writeUInt32BE(width, 16);
    png.writeUInt32BE(height, 20);
    png.writeUInt32BE(crc32(png.subarray(12, 29)), 29);
    return png;
  };

  it("is bounded in pixels, whatever a header claims", async () => {
    const decoder = new PictureDecoder();
    await expect(decoder.decode(header(20_000, 20_000))).rejects.toThrow(/20000x20000 pixels/);
    await expect(decoder.measure(header(20_000, 20_000))).rejects.toThrow(/20000x20000 pixels/);
    await expect(decoder.decode(header(0, 5))).rejects.toThrow(/no pixels/);
  });

  it("is bounded in parts: a file of nothing but headers is no work", async () => {
    const decoder = new PictureDecoder();
    const scans = Buffer.concat([
      Buffer.of(0xff, 0xd8),
      Buffer.alloc(4 * 2 ** 20, Buffer.of(0xff, 0xda, 0, 2)),
      Buffer.of(0xff, 0xd9),
    ]);
    const whole = Buffer.from(fixture("plain.png"));
    const empty = Buffer.alloc(12);
    empty.write("IDAT", 4);
    empty.writeUInt32BE(crc32(Buffer.from("IDAT")), 8);
    const chunks = Buffer.concat([
      whole.subarray(0, 33),
      Buffer.alloc(12 * 300_000, empty),
      whole.subarray(33),
    ]);
    const started = performance.now();
    await expect(decoder.measure(scans)).rejects.toThrow(/more segments/);
    await expect(decoder.measure(chunks)).rejects.toThrow(/more chunks/);
    expect(performance.now() - started).toBeLessThan(5000);
  });

  it("holds few large pictures at once and all in turn", async () => {
    const budget = new PixelBudget(100);
    const under: number[] = [];
    let pixels = 0, done = 0, most = 0;
    const sides = [9, 3, 3, 10, 1, 1, 30, 7, 7];
    const work = async (side: number): Promise<number> => {
      pixels += side * side;
      under.push(side);
      most = Math.max(most, under.length - done);
      await setImmediate();
      expect(pixels).toBeLessThanOrEqual(Math.max(100, side * side));
      pixels -= side * side;
      done++;
      if (side === 7) throw new Error("damaged");
      return side;
    };
    const ends = await Promise.allSettled(
      sides.map((side) => budget.spend({ width: side, height: side }, () => work(side))),
    );
    expect(under).toEqual(sides);
    expect(ends.map((end) => end.status === "fulfilled" ? end.value : 0))
      .toEqual([9, 3, 3, 10, 1, 1, 30, 0, 0]);
    expect(pixels).toBe(0);
    expect(most).toBeGreaterThan(1);
  });

  it("is bounded in time: an SVG is not drawn, and a JPEG has so many passes", async () => {
    const decoder = new PictureDecoder();
    // Each <use> doubles what is drawn: seconds for a renderer, by a few lines.
    const uses = Array.from(
      { length: 24 },
      (_, i) => `<g id="g${i + 1}"><use href="#g${i}"/><use href="#g${i}"/></g>`,
    );
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="99" height="99"><defs>` +
      `<rect id="g0" width="9" height="9"/>${uses.join("")}</defs><use href="#g24"/></svg>`;
    const started = performance.now();
    await expect(decoder.decode(text(svg))).rejects.toThrow(/SVG/);
    expect(performance.now() - started).toBeLessThan(1000);

    const large = await sharp({
      create: { width: 6000, height: 6000, channels: 3, background: "red" },
    }).jpeg({ progressive: true }).toBuffer();
    const scan = large.subarray(large.lastIndexOf(Buffer.of(0xff, 0xda)), -2);
    const many = Buffer.concat([
      large.subarray(0, -2),
      ...Array(40).fill(scan),
      large.subarray(-2),
    ]);
    expect(readJpegStructure(many).scans).toBeGreaterThan(40);
    await expect(decoder.decode(many)).rejects.toThrow(/passes over 6000x6000/);
  });
});
