/** Pictures on disk for tests: fixtures, and folders made of them. */

import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll } from "vitest";

const fixtures = fileURLToPath(new URL("../../fixtures/data/", import.meta.url));

/** What other libraries make of the fixtures. */
export const expected = JSON.parse(readFileSync(join(fixtures, "expected.json"), "utf8")) as {
  readonly pictures: Record<string, { width: number; height: number; sha256: string }>;
  readonly framed: readonly {
    name: string;
    resize: number | null;
    crop: number | null;
    width: number;
    height: number;
    sha256: string;
  }[];
  readonly parts: readonly { name: string; box: number[]; size: number; sha256: string }[];
};

/** The bytes of a fixture. */
export function fixture(name: string): Uint8Array {
  return readFileSync(join(fixtures, name));
}

/** The hexadecimal digest of bytes. */
export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** A folder of the test file's own, gone after its tests, which keep their cache in it. */
export function ownFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "secateur-pictures-"));
  const cacheBefore = process.env.SECATEUR_CACHE;
  beforeAll(() => {
    process.env.SECATEUR_CACHE = join(folder, "cache");
  });
  afterAll(() => {
    if (cacheBefore === undefined) delete process.env.SECATEUR_CACHE;
    else process.env.SECATEUR_CACHE = cacheBefore;
    rmSync(folder, { recursive: true });
  });
  return folder;
}

/** Fills a folder with files by relative path; a value that is a string names a fixture. */
export async function writeFiles(
  root: string,
  files: Record<string, string | Uint8Array>,
): Promise<string> {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    const bytes = typeof content === "string" ? fixture(content) : content;
    await writeFile(join(root, path), bytes);
  }
  return root;
}

/** An image folder of two classes, as writeFiles takes it, with files that are no part of it. */
export const twoClasses = {
  "train/ant/2.jpg": "subsampled.jpg",
  "train/ant/10.jpeg": "full-chroma.jpg",
  "train/bee/a.PNG": "transparent.png",
  "train/bee/notes.txt": "expected.json",
  "train/.hidden/x.jpg": "grey.jpg",
  "test/ant/1.png": "plain.png",
  "test/bee/1.jpg": "progressive.jpg",
};
