/** Links in image folders and archives: every real file once, and none lost. */

import { Buffer } from "node:buffer";
import { execFileSync } from "node:child_process";
import { link, mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loaded } from "../../src/data/dataset.ts";
import { type FolderListing, labelledPaths } from "../../src/data/sources/class_folders.ts";
import { readImageFolder } from "../../src/data/sources/image_folder.ts";
import { expected, fixture, ownFolder, sha256, writeFiles } from "../support/pictures/files.ts";
import { TAR_END, tarEntry } from "../support/pictures/tar_files.ts";

const folder = ownFolder();

/** Paths of pictures by class, from a count of each. */
function pictures(counts: Record<string, number>, first = 0): Record<string, string> {
  const files: Record<string, string> = {};
  for (const [name, count] of Object.entries(counts)) {
    for (let i = 0; i < count; i++) files[`${name}/${first + i}.jpg`] = "subsampled.jpg";
  }
  return files;
}

async function countsOf(root: string, part: "train" | "test" | "whole" = "whole") {
  const { classes, labels, skipped = [] } = await readImageFolder(root, part, { cache: false });
  const counts = classes.map((name, label) => [name, labels.filter((own) => own === label).length]);
  return { ...Object.fromEntries(counts), skipped: skipped.map(({ path }) => path) };
}

describe("links in a folder", () => {
  it("that lead back up end there, and pictures count where they are", async () => {
    const root = await writeFiles(join(folder, "loop"), pictures({ a: 12, b: 18 }));
    await symlink("..", join(root, "a/up"));
    await symlink(root, join(root, "b/root"));
    await symlink("../b", join(root, "a/beside"));
    await symlink("../a", join(root, "b/beside"));
    await symlink(".", join(root, "a/self"));
    await symlink("0.jpg", join(root, "a/again.jpg"));
    await symlink("round", join(root, "a/round"));
    expect(await countsOf(root)).toEqual({ a: 12, b: 18, skipped: ["a/round"] });
  });

  it("are read where classes, files and splits are linked out of a cache", async () => {
    const cache = await writeFiles(join(folder, "cache-of-others"), {
      ...pictures({ "ant/deep/er": 3, bee: 2 }),
      "blobs/0a": "full-chroma.jpg",
      "blobs/0b": "plain.png",
    });
    const root = join(folder, "linked");
    await mkdir(join(root, "train/cat"), { recursive: true });
    await symlink(join(cache, "ant"), join(root, "train/ant"));
    await symlink("../../cache-of-others/bee", join(root, "train/bee"));
    await symlink(join(cache, "blobs/0a"), join(root, "train/cat/1.jpg"));
    await symlink(join(cache, "blobs/0b"), join(root, "train/cat/2"));
    await symlink(join(cache, "blobs/0b"), join(root, "train/cat/2-again"));
    await symlink(join(cache, "blobs/none"), join(root, "train/cat/3.jpg"));
    await symlink("train", join(root, "val"));
    const found = { ant: 3, bee: 2, cat: 2 };
    expect(await countsOf(root, "train")).toEqual({ ...found, skipped: ["train/cat/3.jpg"] });
    expect(await countsOf(root, "test")).toEqual({ ...found, skipped: ["val/cat/3.jpg"] });
    const set = await loaded(await readImageFolder(root, "train"));
    expect(sha256(set.pixels.subarray(5 * 3072, 6 * 3072)))
      .toBe(expected.pictures["full-chroma.jpg"].sha256);
    // The same through a link to the whole.
    await symlink(root, join(folder, "link-to-linked"));
    expect(await countsOf(join(folder, "link-to-linked"), "train")).toMatchObject(found);
  });

  it("of the hard kind are files like others, and pipes are left out unread", async () => {
    const root = await writeFiles(join(folder, "hard"), pictures({ a: 2, b: 1 }));
    await link(join(root, "a/0.jpg"), join(root, "b/linked.jpg"));
    execFileSync("mkfifo", [join(root, "a/pipe.jpg")]);
    expect(await countsOf(root)).toEqual({ a: 2, b: 2, skipped: ["a/pipe.jpg"] });
  });

  it("make no class of a folder whose pictures are all another's", async () => {
    const root = await writeFiles(join(folder, "alias"), pictures({ a: 2 }));
    await symlink("a", join(root, "b"));
    await expect(countsOf(root)).rejects.toThrow(/"b" has no files of its own/);
  });

  it("below which pictures lie deep are followed to the end", async () => {
    const deep = Array.from({ length: 20 }, (_, i) => `d${i}`).join("/");
    const root = await writeFiles(join(folder, "deep"), pictures({ [`a/${deep}`]: 1, b: 1 }));
    expect(await countsOf(root)).toEqual({ a: 1, b: 1, skipped: [] });
  });
});

describe("links in a tar", () => {
  const jpeg = fixture("subsampled.jpg");
  const linkTo = (path: string, target: string, type = "2") =>
    tarEntry(path, new Uint8Array(0), { type, target });
  const long = `blobs/${"x".repeat(150)}`;
  const pax = (key: string, value: string): Buffer => {
    const record = ` ${key}=${value}\n`;
    return tarEntry("pax", Buffer.from(`${record.length + 3}${record}`), { type: "x" });
  };

  async function archiveOf(name: string, entries: readonly Uint8Array[]): Promise<string> {
    const path = join(folder, `${name}.tar`);
    await writeFile(path, Buffer.concat([...entries, TAR_END]));
    return path;
  }

  it("lose no picture, hard or symbolic, long or short", async () => {
    const path = await archiveOf("links", [
      tarEntry("blobs/one", jpeg),
      tarEntry("x", fixture("plain.png"), { prefix: "blobs" }),
      tarEntry("././@LongLink", Buffer.from(`${long}\0`), { type: "L" }),
      tarEntry("cut", fixture("full-chroma.jpg")),
      tarEntry("train/a/1.jpg", jpeg),
      // GNU tar repeats the size of the file in the header of a hard link to it.
      tarEntry("train/a/2.jpg", new Uint8Array(0), {
        type: "1",
        target: "blobs/one",
        size: jpeg.length,
      }),
      linkTo("train/a/3.jpg", "../../blobs/x"),
      tarEntry("././@LongLink", Buffer.from(`../../${long}\0`), { type: "K" }),
      linkTo("train/b/1.jpg", "cut"),
      pax("linkpath", long),
      linkTo("train/b/2.jpg", "cut", "1"),
      // As pax may write it: the bytes once more.
      tarEntry("train/b/3.jpg", jpeg, { type: "1", target: "blobs/one" }),
      linkTo("train/c", "../cached"),
      tarEntry("cached/1.jpg", jpeg),
      linkTo("val", "train"),
    ]);
    const counts = { a: 3, b: 3, c: 1, skipped: [] };
    expect(await countsOf(path, "train")).toEqual(counts);
    expect(await countsOf(path, "test")).toEqual(counts);
    const { pixels } = await loaded(await readImageFolder(path, "train", { cache: false }));
    const names = ["subsampled.jpg", "subsampled.jpg", "plain.png"];
    const more = ["full-chroma.jpg", "full-chroma.jpg", "subsampled.jpg", "subsampled.jpg"];
    [...names, ...more].forEach((name, i) => {
      const digest = sha256(pixels.subarray(i * 3072, (i + 1) * 3072));
      expect(digest, `picture ${i}`).toBe(expected.pictures[name].sha256);
    });
  });

  it("that lead nowhere, out or round are left out and counted, as is what is no file", async () => {
    const path = await archiveOf("nowhere", [
      tarEntry("train/a/1.jpg", jpeg),
      linkTo("train/a/absolute.jpg", "/etc/passwd"),
      linkTo("train/a/device.jpg", "", "3"),
      linkTo("train/a/gone.jpg", "nothing", "1"),
      linkTo("train/a/out.jpg", "../../../1.jpg"),
      linkTo("train/a/round.jpg", "round.jpg"),
      tarEntry("train/a/sparse.jpg", jpeg, { type: "S" }),
      linkTo("train/a/up", "../../train"),
      tarEntry("train/b/1.jpg", jpeg),
    ]);
    const names = ["absolute", "device", "gone", "out", "round", "sparse"];
    expect(await countsOf(path, "train")).toEqual({
      a: 1,
      b: 1,
      skipped: names.map((name) => `train/a/${name}.jpg`),
    });
  });
});

describe("a hundred thousand class folders", () => {
  it("take time in proportion", () => {
    const names = Array.from({ length: 100_000 }, (_, i) => `n${i}`);
    const folders = ["train", "val"].flatMap((
      split,
    ) => [split, ...names.map((name) => `${split}/${name}`)]);
    const listing: FolderListing = {
      name: "many",
      folders,
      files: ["train", "val"].flatMap((split) => names.map((name) => `${split}/${name}/1.jpg`)),
    };
    const started = performance.now();
    const { paths, classes } = labelledPaths(listing, { part: "test" });
    // Comparing every class with every other took a hundred seconds and more.
    expect(performance.now() - started).toBeLessThan(30_000);
    expect([paths.length, classes.length]).toEqual([100_000, 100_000]);
    expect(paths.every(({ path, label }) => path === `val/${classes[label]}/1.jpg`)).toBe(true);
  });
});
