/** Writing a file whole or not at all. */

import { execFileSync } from "node:child_process";
import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  truncate,
  utimes,
  writeFile,
} from "node:fs/promises";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import process from "node:process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SecateurError } from "../../src/errors.ts";
import {
  besideOf,
  makeFolder,
  sweepUnfinished,
  writeFileAtomic,
} from "../../src/formats/atomic.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "secateur-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function refusal(promise: Promise<unknown>): Promise<SecateurError> {
  const outcome = await promise.catch((thrown: unknown) => thrown);
  if (!(outcome instanceof SecateurError)) throw new Error("expected a coded error");
  expect(outcome.code).toBe("file-unwritable");
  return outcome;
}

/** Sets this process's soft limit on file sizes, where the system has a tool for it. */
function limitFileSize(limit: string): boolean {
  try {
    execFileSync("prlimit", ["--pid", String(process.pid), `--fsize=${limit}:`], {
      stdio: "ignore",
    });
    return true;
  } catch {
    return false;
  }
}

describe("writeFileAtomic", () => {
  it("writes text and bytes, and replaces what was there", async () => {
    const home = await mkdtemp(join(folder, "plain-"));
    const path = join(home, "file");
    await writeFileAtomic(path, "first, and longer");
    await writeFileAtomic(path, new Uint8Array([1, 2, 3]));
    expect([...await readFile(path)]).toEqual([1, 2, 3]);
    expect(await readdir(home)).toEqual(["file"]);
  });

  it("writes through a symbolic link and leaves the link", async () => {
    const home = await mkdtemp(join(folder, "link-"));
    await writeFile(join(home, "target"), "old");
    await symlink("target", join(home, "link"));
    await writeFileAtomic(join(home, "link"), "new");
    expect(await readFile(join(home, "target"), "utf8")).toBe("new");
    expect((await readdir(home)).sort()).toEqual(["link", "target"]);
  });

  it("lets concurrent writers of one file finish whole", async () => {
    const home = await mkdtemp(join(folder, "many-"));
    const path = join(home, "file");
    const contents = ["a", "b", "c", "d"].map((letter) => letter.repeat(100_000));
    await Promise.all(contents.map((content) => writeFileAtomic(path, content)));
    expect(contents).toContain(await readFile(path, "utf8"));
    expect(await readdir(home)).toEqual(["file"]);
  });

  it("refuses a missing folder, a file as a folder, and a folder as a file", async () => {
    const home = await mkdtemp(join(folder, "refused-"));
    await writeFile(join(home, "file"), "content");
    await mkdir(join(home, "folder"));
    expect((await refusal(writeFileAtomic(join(home, "no/file"), "x"))).message)
      .toContain("its folder does not exist");
    expect((await refusal(writeFileAtomic(join(home, "file/file"), "x"))).message)
      .toContain("not a folder");
    expect((await refusal(writeFileAtomic(join(home, "folder"), "x"))).message)
      .toContain("it is a folder");
    expect((await refusal(makeFolder(join(home, "file/folder")))).message)
      .toContain("not a folder");
    expect((await readdir(home)).sort()).toEqual(["file", "folder"]);
  });

  it("sweeps what killed writers left, and nothing else", async () => {
    const home = await mkdtemp(join(folder, "sweep-"));
    const [file, staged, recent] = ["model", "model.onnx", "cache"].map((name) =>
      besideOf(join(home, name))
    );
    const others = [".x.tmp", "model.tmp", `.y.${crypto.randomUUID()}`, crypto.randomUUID()];
    for (const name of others) await writeFile(join(home, name), "not ours");
    await writeFile(file, "half");
    await mkdir(staged);
    await writeFile(join(staged, "model.onnx.data"), "half");
    await writeFile(recent, "half");
    const before = new Date(Date.now() - 7_200_000);
    for (const path of [file, staged]) await utimes(path, before, before);
    await sweepUnfinished(home, 3_600_000);
    expect((await readdir(home)).sort()).toEqual([basename(recent), ...others].sort());
    await sweepUnfinished(home);
    expect((await readdir(home)).sort()).toEqual(others.sort());
    await sweepUnfinished(join(home, "none"));
  });

  it("makes folders, and is content with one that exists", async () => {
    await makeFolder(join(folder, "a/b"));
    await makeFolder(join(folder, "a/b"));
    expect(await readdir(join(folder, "a"))).toEqual(["b"]);
  });

  it.skipIf(!existsSync("/dev/full"))("reports a full disk and leaves devices alone", async () => {
    const error = await refusal(writeFileAtomic("/dev/full", "content"));
    expect(error.message).toContain("the disk is full");
    const beside = (await readdir("/dev")).filter((name) => name.endsWith(".tmp"));
    expect(beside).toEqual([]);
  });

  it("survives the file-size limit, keeps the old content, leaves nothing beside", async (context) => {
    const home = await mkdtemp(join(folder, "limit-"));
    const path = join(home, "file");
    await writeFileAtomic(path, "old");
    if (!limitFileSize("65536")) return context.skip("prlimit is not available");
    try {
      const error = await refusal(writeFileAtomic(path, new Uint8Array(1 << 20)));
      expect(error.message).toContain("exceed the file-size limit");
    } finally {
      limitFileSize("unlimited");
    }
    expect(await readFile(path, "utf8")).toBe("old");
    expect(await readdir(home)).toEqual(["file"]);
    await truncate(path); // the limit is lifted again for whoever runs next
    await writeFileAtomic(path, new Uint8Array(1 << 20));
    expect((await readFile(path)).length).toBe(1 << 20);
  });
});
