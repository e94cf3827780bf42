/** Image folders: decoding, directories, the cache, and what is refused. */

import { mkdir, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { describe, expect, it } from "vitest";
import { labelledPaths } from "../../src/data/sources/class_folders.ts";
import { loaded } from "../../src/data/dataset.ts";
import { PictureDecoder } from "../../src/data/pictures/decode.ts";
import { readImageFolder } from "../../src/data/sources/image_folder.ts";
import { SmallJpegDecoder } from "../../src/data/pictures/jpeg.js";
import { openDataset } from "../../src/data/sources/source.ts";
import {
  expected,
  fixture,
  ownFolder,
  sha256,
  twoClasses,
  writeFiles,
} from "../support/pictures/files.ts";

const folder = ownFolder();
const text = (value: string) => new TextEncoder().encode(value);

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
    const root = await writeFiles(join(folder, "two"), twoClasses);
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
    expect(train.skipped?.map(({ path }) => path)).toEqual(["train/bee/notes.txt"]);
    expect(train.pixels.buffer).toBeInstanceOf(SharedArrayBuffer);
    const test = await openDataset(`imagefolder:${root}/`, "test");
    expect([test.count, ...test.labels]).toEqual([2, 0, 1]);
    const limited = await readImageFolder(root, "train", { limitPerClass: 1 });
    expect([limited.count, ...limited.labels]).toEqual([2, 0, 1]);
  });

  it("may call its test split val, and may lie in one folder of its own", async () => {
    const root = await writeFiles(join(folder, "val"), {
      "pictures/val/x/1.jpg": "subsampled.jpg",
      "pictures/val/y/deep/er/1.jpg": "grey.jpg",
    });
    const dataset = await readImageFolder(root, "test");
    expect([...dataset.classes, ...dataset.labels]).toEqual(["x", "y", 0, 1]);
  });

  it("skips what cannot be read, by name, or refuses it when strict", async () => {
    const root = await writeFiles(join(folder, "damaged"), {
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
        "train/bee/notes.txt",
      ]);
      expect(dataset.skipped?.[0].reason).toContain("cut off");
      expect(dataset.skipped?.[1].reason).toContain("no JPEG, PNG or WebP");
    }
    const strict = readImageFolder(root, "train", { strict: true });
    await expect(strict).rejects.toMatchObject({ code: "image-unreadable" });
    await expect(strict).rejects.toThrow("train/ant/0.jpg");
  });

  it("wants pictures of one size, or a size to scale them to", async () => {
    const root = await writeFiles(join(folder, "sizes"), {
      "train/a/1.jpg": "subsampled.jpg",
      "train/a/2.jpg": "odd-size.jpg",
    });
    const mixed = readImageFolder(root, "train");
    await expect(mixed).rejects.toMatchObject({ code: "data-mismatch" });
    await expect(mixed).rejects.toThrow(/1\.jpg" is 32x32.*2\.jpg" is 33x17|33x17.*32x32/);
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
      const root = await writeFiles(join(folder, name), files);
      const reading = readImageFolder(root, name === "other classes" ? "test" : "train");
      await expect(reading).rejects.toMatchObject({ code });
      await expect(reading).rejects.toThrow(part);
    }
    const splits = await writeFiles(join(folder, "splits"), twoClasses);
    await expect(readImageFolder(splits, "whole")).rejects.toThrow(
      /its folders are splits \("test", "train"\): name one/,
    );
    await expect(openDataset("pictures", "test")).rejects.toThrow(/would be imagefolder:pictures/);
    await mkdir(join(folder, "empty"));
    await expect(readImageFolder(join(folder, "empty"), "train")).rejects.toThrow("no folders");
  });

  it("stops when asked", async () => {
    const root = await writeFiles(join(folder, "stopped"), twoClasses);
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

describe("the cache", () => {
  async function cacheFiles(): Promise<string[]> {
    return await readdir(join(folder, "cache", "pictures"));
  }

  it("answers while the source is unchanged, and only then", async () => {
    await rm(join(folder, "cache"), { recursive: true, force: true });
    const root = await writeFiles(join(folder, "cached"), twoClasses);
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
    expect((await readImageFolder(root, "train")).skipped).toHaveLength(2);
    await writeFile(victim, bytes);
    expect(await readImageFolder(root, "train")).toEqual(first);
    await writeFile(path, kept.subarray(0, 200));
    expect(await readImageFolder(root, "train")).toEqual(first);
    expect(await cacheFiles()).toEqual([file]);
  });

  it("tells ways of reading apart and is left alone when not wanted", async () => {
    await rm(join(folder, "cache"), { recursive: true, force: true });
    const root = await writeFiles(join(folder, "ways"), twoClasses);
    await readImageFolder(root, "train", { cache: false });
    await expect(cacheFiles()).rejects.toThrow();
    await readImageFolder(root, "train");
    await readImageFolder(root, "train", { resize: 16, crop: 16 });
    await readImageFolder(root, "test");
    expect(await cacheFiles()).toHaveLength(3);
    expect((await readImageFolder(root, "train", { resize: 16, crop: 16 })).width).toBe(16);
  });

  it("is no error where it cannot be written", async () => {
    const root = await writeFiles(join(folder, "unwritable"), twoClasses);
    const cache = process.env.SECATEUR_CACHE;
    process.env.SECATEUR_CACHE = "/dev/null/cache";
    try {
      expect((await readImageFolder(root, "train")).count).toBe(3);
    } finally {
      process.env.SECATEUR_CACHE = cache;
    }
  });
});
