/** Image folders: decoding, directories, archives, the cache, and what is refused. */

import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import {
  copyFile,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  utimes,
  writeFile,
} from "node:fs/promises";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { labelledPaths } from "../src/data/class_folders.ts";
import { loaded, type PictureSet } from "../src/data/dataset.ts";
import { PictureDecoder } from "../src/data/decode.ts";
import { readImageFolder } from "../src/data/image_folder.ts";
import { SmallJpegDecoder } from "../src/data/jpeg.ts";
import { openDataset } from "../src/data/source.ts";
import { indexTar } from "../src/data/tar.ts";
import { dataFolder } from "./support/data.ts";

const fixtures = fileURLToPath(new URL("./fixtures/data/", import.meta.url));
const expected = JSON.parse(readFileSync(join(fixtures, "expected.json"), "utf8")) as {
  readonly pictures: Record<string, { width: number; height: number; sha256: string }>;
};

let folder = "";
let cacheBefore: string | undefined;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "secateur-"));
  cacheBefore = process.env.SECATEUR_CACHE;
  process.env.SECATEUR_CACHE = join(folder, "cache");
});
afterAll(async () => {
  if (cacheBefore === undefined) delete process.env.SECATEUR_CACHE;
  else process.env.SECATEUR_CACHE = cacheBefore;
  await rm(folder, { recursive: true });
});

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function fixture(name: string): Uint8Array {
  return readFileSync(join(fixtures, name));
}

/** A folder of files by relative path; a value that is a string names a fixture. */
async function makeFolder(
  name: string,
  files: Record<string, string | Uint8Array>,
): Promise<string> {
  const root = join(folder, name);
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    const bytes = typeof content === "string" ? fixture(content) : content;
    await writeFile(join(root, path), bytes);
  }
  return root;
}

/** One tar entry: a header with its checksum, and the content in whole blocks. */
function tarEntry(path: string, content: Uint8Array, type = "0", prefix = ""): Buffer {
  const header = Buffer.alloc(512);
  header.write(path, 0, 100);
  header.write("0000644\0", 100);
  header.write(content.length.toString(8).padStart(11, "0") + "\0", 124);
  header.write("        ", 148);
  header.write(type, 156);
  header.write("ustar\x0000", 257);
  header.write(prefix, 345, 155);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(sum.toString(8).padStart(6, "0") + "\0 ", 148);
  const padding = Buffer.alloc((512 - content.length % 512) % 512);
  return Buffer.concat([header, content, padding]);
}

const text = (value: string) => new TextEncoder().encode(value);
const tarEnd = Buffer.alloc(1024);

function withoutName(dataset: PictureSet): object {
  const { name: _, ...rest } = dataset;
  return rest;
}

const twoClasses = {
  "train/ant/2.jpg": "subsampled.jpg",
  "train/ant/10.jpeg": "full-chroma.jpg",
  "train/bee/a.PNG": "transparent.png",
  "train/bee/notes.txt": "expected.json",
  "train/.hidden/x.jpg": "grey.jpg",
  "test/ant/1.png": "plain.png",
  "test/bee/1.jpg": "progressive.jpg",
};

describe("decoding", () => {
  it.each(Object.keys(expected.pictures))("reads %s as PIL does", async (name) => {
    const picture = await new PictureDecoder().decode(fixture(name));
    const { width, height, sha256: digest } = expected.pictures[name];
    expect([picture.width, picture.height]).toEqual([width, height]);
    expect(sha256(picture.pixels)).toBe(digest);
  });

  it("reads small plain JPEGs the quick way and leaves the rest to sharp", async () => {
    const quick = new SmallJpegDecoder();
    const taken: string[] = [];
    for (const name of Object.keys(expected.pictures)) {
      const picture = await quick.decode(fixture(name));
      if (picture) taken.push(name);
      if (picture) expect(sha256(picture.pixels)).toBe(expected.pictures[name].sha256);
    }
    expect(taken).toEqual(["full-chroma.jpg", "odd-size.jpg", "progressive.jpg", "subsampled.jpg"]);
  });

  it("survives damaged files and decodes the next one", async () => {
    const decoder = new PictureDecoder();
    const whole = fixture("subsampled.jpg");
    await expect(decoder.decode(whole.subarray(0, 500))).rejects.toThrow();
    await expect(decoder.decode(new Uint8Array(0))).rejects.toThrow("empty");
    await expect(decoder.decode(text("not a picture"))).rejects.toThrow();
    let refused = 0;
    for (let at = 2; at < whole.length - 2; at += 23) {
      const damaged = Uint8Array.from(whole);
      damaged[at] ^= 0xff;
      await decoder.decode(damaged).catch(() => refused++);
      // A header that claims a huge picture must not be believed.
      damaged.fill(0xff, at, at + 8);
      await decoder.decode(damaged).catch(() => refused++);
    }
    expect(refused).toBeGreaterThan(4);
    expect(sha256((await decoder.decode(whole)).pixels)).toBe(
      expected.pictures["subsampled.jpg"].sha256,
    );
  });

  it("measures files without decoding them, and sees that they are cut off", async () => {
    const decoder = new PictureDecoder();
    for (const name of Object.keys(expected.pictures)) {
      const { width, height } = expected.pictures[name];
      expect(await decoder.measure(fixture(name))).toEqual({ width, height });
      const cut = fixture(name).subarray(0, fixture(name).length - 100);
      await expect(decoder.measure(cut)).rejects.toThrow();
    }
  });
});

describe("an image folder", () => {
  it("labels by class folder, in order of path", async () => {
    const root = await makeFolder("two", twoClasses);
    const train = await loaded(await openDataset(`imagefolder:${root}`, "train"));
    expect(train.name).toBe("two train");
    expect(train.classes).toEqual(["ant", "bee"]);
    // As Python sorts: "10.jpeg" before "2.jpg".
    expect([...train.labels]).toEqual([0, 0, 1]);
    const names = ["full-chroma.jpg", "subsampled.jpg", "transparent.png"];
    names.forEach((name, i) => {
      const pixels = train.pixels.subarray(i * 3072, (i + 1) * 3072);
      expect(sha256(pixels)).toBe(expected.pictures[name].sha256);
    });
    expect(train.skipped).toBeUndefined();
    expect(train.pixels.buffer).toBeInstanceOf(SharedArrayBuffer);
    const test = await openDataset(`imagefolder:${root}/`, "test");
    expect([test.count, ...test.labels]).toEqual([2, 0, 1]);
    const limited = await readImageFolder(root, "train", { limitPerClass: 1 });
    expect([limited.count, ...limited.labels]).toEqual([2, 0, 1]);
  });

  it("may call its test split val, and may lie in one folder of its own", async () => {
    const root = await makeFolder("val", {
      "pictures/val/x/1.jpg": "subsampled.jpg",
      "pictures/val/y/deep/er/1.jpg": "grey.jpg",
    });
    const dataset = await readImageFolder(root, "test");
    expect([...dataset.classes, ...dataset.labels]).toEqual(["x", "y", 0, 1]);
  });

  it("skips what cannot be read, by name, or refuses it when strict", async () => {
    const root = await makeFolder("damaged", {
      ...twoClasses,
      "train/ant/0.jpg": fixture("subsampled.jpg").subarray(0, 400),
      "train/bee/b.png": text("no picture"),
      "train/bee/c.jpg": "subsampled.jpg",
    });
    for (const _again of ["decoded", "cached"]) {
      const dataset = await loaded(await readImageFolder(root, "train"));
      expect(dataset.count).toBe(4);
      expect([...dataset.labels]).toEqual([0, 0, 1, 1]);
      expect(dataset.pixels.length).toBe(4 * 3072);
      expect(sha256(dataset.pixels.subarray(3 * 3072))).toBe(
        expected.pictures["subsampled.jpg"].sha256,
      );
      expect(dataset.skipped?.map(({ path }) => path)).toEqual([
        "train/ant/0.jpg",
        "train/bee/b.png",
      ]);
      expect(dataset.skipped?.[1].reason).toContain("unsupported image format");
    }
    const strict = readImageFolder(root, "train", { strict: true });
    await expect(strict).rejects.toMatchObject({ code: "image-unreadable" });
    await expect(strict).rejects.toThrow("train/ant/0.jpg");
  });

  it("wants pictures of one size, or a size to scale them to", async () => {
    const root = await makeFolder("sizes", {
      "train/a/1.jpg": "subsampled.jpg",
      "train/a/2.jpg": "odd-size.jpg",
    });
    const mixed = readImageFolder(root, "train");
    await expect(mixed).rejects.toMatchObject({ code: "data-mismatch" });
    await expect(mixed).rejects.toThrow(/1\.jpg is 32x32.*2\.jpg is 33x17|33x17.*32x32/);
    const scaled = await loaded(await readImageFolder(root, "train", { resize: 32, crop: 32 }));
    expect([scaled.count, scaled.height, scaled.width]).toEqual([2, 32, 32]);
    expect(sha256(scaled.pixels.subarray(0, 3072))).toBe(
      expected.pictures["subsampled.jpg"].sha256,
    );
  });

  it("says what is missing", async () => {
    const none = join(folder, "nowhere");
    await expect(readImageFolder(none, "train")).rejects.toMatchObject({ code: "file-missing" });
    const cases: [string, Record<string, string | Uint8Array>, string, string][] = [
      ["no split", { "cats/1.jpg": "grey.jpg", "dogs/1.jpg": "grey.jpg" }, "data-empty", "cats"],
      ["no classes", { "train/1.jpg": "grey.jpg" }, "data-empty", "one folder per class"],
      [
        "empty class",
        { "train/a/1.jpg": "grey.jpg", "train/b/x.txt": text("") },
        "data-empty",
        "b",
      ],
      [
        "other classes",
        { "train/a/1.jpg": "grey.jpg", "train/c/1.jpg": "grey.jpg", "val/b/1.jpg": "grey.jpg" },
        "data-mismatch",
        '"b"',
      ],
      ["nothing readable", { "train/a/1.jpg": text("x") }, "image-unreadable", "train/a/1.jpg"],
    ];
    for (const [name, files, code, part] of cases) {
      const root = await makeFolder(name, files);
      const reading = readImageFolder(root, name === "other classes" ? "test" : "train");
      await expect(reading).rejects.toMatchObject({ code });
      await expect(reading).rejects.toThrow(part);
    }
    await mkdir(join(folder, "empty"));
    await expect(readImageFolder(join(folder, "empty"), "train")).rejects.toThrow("no folders");
  });

  it("stops when asked", async () => {
    const root = await makeFolder("stopped", twoClasses);
    const signal = AbortSignal.abort();
    await expect(readImageFolder(root, "train", { signal })).rejects.toMatchObject({
      code: "cancelled",
    });
  });

  it("keeps the classes of a split in one order whatever the order of the listing", () => {
    const files = ["train/b/1.png", "train/a/2.png", "train/a/1.png", "train/B/1.png"];
    const listing = { name: "listing", files, folders: [] };
    const { paths, classes } = labelledPaths(listing, { part: "train" });
    expect(classes).toEqual(["B", "a", "b"]);
    expect(paths.map(({ path, label }) => `${label} ${path}`)).toEqual([
      "0 train/B/1.png",
      "1 train/a/1.png",
      "1 train/a/2.png",
      "2 train/b/1.png",
    ]);
  });
});

describe("a tar", () => {
  const long = `train/ant/${"x".repeat(120)}.jpg`;

  it("holds an image folder, whatever dialect names it", async () => {
    const root = await makeFolder("two-again", twoClasses);
    const archive = join(folder, "two.tar");
    const pax = `path=train/ant/2.jpg\n`;
    const record = text(`${pax.length + 3} ${pax}`);
    await writeFile(
      archive,
      Buffer.concat([
        tarEntry("./train/", new Uint8Array(0), "5"),
        tarEntry("bee/a.PNG", fixture("transparent.png"), "0", "train"),
        tarEntry("PaxHeader", record, "x"),
        tarEntry("shortened", fixture("subsampled.jpg")),
        tarEntry("././@LongLink", text(`${long}\0`), "L"),
        tarEntry("cut off", fixture("full-chroma.jpg")),
        tarEntry("train/link.jpg", new Uint8Array(0), "2"),
        tarEnd,
      ]),
    );
    const file = await open(archive, "r");
    const entries = await indexTar(file, archive);
    await file.close();
    expect(entries.map(({ path }) => path)).toEqual([
      "train",
      "train/bee/a.PNG",
      "train/ant/2.jpg",
      long,
    ]);
    const fromTar = await readImageFolder(archive, "train");
    expect(fromTar.name).toBe("two train");
    await copyFile(join(root, "train/ant/10.jpeg"), join(root, long));
    await rm(join(root, "train/ant/10.jpeg"));
    expect(withoutName(fromTar)).toEqual(withoutName(await readImageFolder(root, "train")));
  });

  it("is refused when damaged", async () => {
    const whole = Buffer.concat([tarEntry("train/a/1.jpg", fixture("grey.jpg")), tarEnd]);
    const hugeName = tarEntry("x", new Uint8Array(0), "L");
    hugeName.write("77777777777\0", 124);
    const cases: [string, Uint8Array, string, string][] = [
      ["truncated", whole.subarray(0, 700), "format-corrupt", "ends inside"],
      ["header", whole.subarray(0, 300), "format-corrupt", "ends inside a header"],
      ["noise", Buffer.alloc(4096, 7), "format-corrupt", "no valid header"],
      ["nothing", new Uint8Array(0), "format-corrupt", "no entries"],
      ["huge name", hugeName, "format-corrupt", "no valid header"],
      ["gzip", Uint8Array.of(0x1f, 0x8b, 8, 0), "format-unknown", "gunzip"],
    ];
    for (const [name, bytes, code, part] of cases) {
      const path = join(folder, `${name}.tar`);
      await writeFile(path, bytes);
      const reading = readImageFolder(path, "train");
      await expect(reading).rejects.toMatchObject({ code });
      await expect(reading).rejects.toThrow(part);
    }
  });

  const archive = join(dataFolder() ?? "", "cifar10-jpeg.tar");
  it.skipIf(dataFolder() === undefined)("holds CIFAR-10 (JPEG)", async () => {
    const dataset = await loaded(
      await openDataset(`imagefolder:${archive}`, "test", { limitPerClass: 20 }),
    );
    expect(dataset).toMatchObject({ name: "cifar10-jpeg test", count: 200, height: 32, width: 32 });
    expect(dataset.classes.join()).toBe(
      "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck",
    );
    // What PIL 13.0 decodes from test/<class>/0000.jpg to 0019.jpg, class by class.
    expect(sha256(dataset.pixels)).toBe(
      "50283b6e366c94be9c107384af88e6b1f8f68dc07327201f26164ce5c374436f",
    );
  });
});

describe("the cache", () => {
  async function cacheFiles(): Promise<string[]> {
    return await readdir(join(folder, "cache", "pictures"));
  }

  it("answers while the source is unchanged, and only then", async () => {
    await rm(join(folder, "cache"), { recursive: true, force: true });
    const root = await makeFolder("cached", twoClasses);
    const first = await readImageFolder(root, "train");
    const [file] = await cacheFiles();
    const path = join(folder, "cache", "pictures", file);

    // Proof that the cache answers: the picture is gone but its size and time are as before.
    const victim = join(root, "train/ant/2.jpg");
    const time = new Date(1e12);
    await utimes(victim, time, time);
    await readImageFolder(root, "train");
    const bytes = await readFile(victim);
    await writeFile(victim, new Uint8Array(bytes.length));
    await utimes(victim, time, time);
    expect(await readImageFolder(root, "train")).toEqual(first);
    expect(await cacheFiles()).toEqual([file]);

    // Damage is noticed, and so is another time.
    const kept = await readFile(path);
    kept[kept.length - 100] ^= 1;
    await writeFile(path, kept);
    expect((await readImageFolder(root, "train")).skipped).toHaveLength(1);
    await writeFile(victim, bytes);
    expect(await readImageFolder(root, "train")).toEqual(first);
    await writeFile(path, kept.subarray(0, 200));
    expect(await readImageFolder(root, "train")).toEqual(first);
    expect(await cacheFiles()).toEqual([file]);
  });

  it("tells ways of reading apart and is left alone when not wanted", async () => {
    await rm(join(folder, "cache"), { recursive: true, force: true });
    const root = await makeFolder("ways", twoClasses);
    await readImageFolder(root, "train", { cache: false });
    await expect(cacheFiles()).rejects.toThrow();
    await readImageFolder(root, "train");
    await readImageFolder(root, "train", { resize: 16, crop: 16 });
    await readImageFolder(root, "test");
    expect(await cacheFiles()).toHaveLength(3);
    expect((await readImageFolder(root, "train", { resize: 16, crop: 16 })).width).toBe(16);
  });

  it("is no error where it cannot be written", async () => {
    const root = await makeFolder("unwritable", twoClasses);
    const cache = process.env.SECATEUR_CACHE;
    process.env.SECATEUR_CACHE = "/dev/null/cache";
    try {
      expect((await readImageFolder(root, "train")).count).toBe(3);
    } finally {
      process.env.SECATEUR_CACHE = cache;
    }
  });
});
