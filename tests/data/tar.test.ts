/** Image folders in tar archives: dialects, damage, and CIFAR-10. */

import { Buffer } from "node:buffer";
import { copyFile, open, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loaded, type PictureSet } from "../../src/data/dataset.ts";
import { readImageFolder } from "../../src/data/sources/image_folder.ts";
import { openDataset } from "../../src/data/sources/source.ts";
import { openStore } from "../../src/data/stores/picture_store.ts";
import { indexTar } from "../../src/data/stores/tar.ts";
import type { Progress } from "../../src/progress.ts";
import { dataFolder } from "../support/data.ts";
import { TAR_END, tarEntry } from "../support/pictures/tar_files.ts";
import { fixture, ownFolder, sha256, twoClasses, writeFiles } from "../support/pictures/files.ts";

const folder = ownFolder();
const text = (value: string) => new TextEncoder().encode(value);
function withoutName(dataset: PictureSet): object {
  const { name: _, ...rest } = dataset;
  return rest;
}

describe("a tar", () => {
  const long = `train/ant/${"x".repeat(120)}.jpg`;

  it("holds an image folder, whatever dialect names it", async () => {
    const root = await writeFiles(join(folder, "two-again"), twoClasses);
    const archive = join(folder, "two.tar");
    const pax = `path=train/ant/2.jpg\n`;
    const record = text(`${pax.length + 3} ${pax}`);
    await writeFile(
      archive,
      Buffer.concat([
        tarEntry("./train/", new Uint8Array(0), { type: "5" }),
        tarEntry("bee/a.PNG", fixture("transparent.png"), { prefix: "train" }),
        tarEntry("train/bee/notes.txt", fixture("expected.json")),
        tarEntry("PaxHeader", record, { type: "x" }),
        tarEntry("shortened", fixture("subsampled.jpg")),
        tarEntry("././@LongLink", text(`${long}\0`), { type: "L" }),
        tarEntry("cut off", fixture("full-chroma.jpg")),
        tarEntry("train/link.jpg", new Uint8Array(0), { type: "2" }),
        TAR_END,
      ]),
    );
    const file = await open(archive, "r");
    const entries = await indexTar(file, archive);
    await file.close();
    expect(entries.map(({ path }) => path)).toEqual([
      "train",
      "train/bee/a.PNG",
      "train/bee/notes.txt",
      "train/ant/2.jpg",
      long,
      "train/link.jpg",
    ]);
    const fromTar = await readImageFolder(archive, "train");
    expect(fromTar.name).toBe("two train");
    await copyFile(join(root, "train/ant/10.jpeg"), join(root, long));
    await rm(join(root, "train/ant/10.jpeg"));
    expect(withoutName(fromTar)).toEqual(withoutName(await readImageFolder(root, "train")));
  });

  it("is refused when damaged", async () => {
    const whole = Buffer.concat([tarEntry("train/a/1.jpg", fixture("grey.jpg")), TAR_END]);
    const hugeName = tarEntry("x", new Uint8Array(0), { type: "L" });
    hugeName.write("77777777777\0", 124);
    const cases: [string, Uint8Array, string, string][] = [
      ["truncated", whole.subarray(0, 700), "format-corrupt", "ends inside"],
      ["header", whole.subarray(0, 300), "format-corrupt", "ends inside a header"],
      ["noise", Buffer.alloc(4096, 7), "format-corrupt", "no valid header"],
      ["nothing", new Uint8Array(0), "format-corrupt", "no entries"],
      ["huge name", hugeName, "format-corrupt", "no valid header"],
      ["gzip", Uint8Array.of(0x1f, 0x8b, 8, 0), "format-unknown", "gunzip"],
      ["xz", Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0), "format-unknown", "unxz"],
      ["zip", text("PK\x03\x04"), "format-unknown", "unpack it"],
    ];
    for (const [name, bytes, code, part] of cases) {
      const path = join(folder, `${name}.tar`);
      await writeFile(path, bytes);
      const reading = readImageFolder(path, "train");
      await expect(reading).rejects.toMatchObject({ code });
      await expect(reading).rejects.toThrow(part);
    }
  });

  it("of many entries, near and far from one another, is listed with progress and can be left", async () => {
    const path = join(folder, "many.tar");
    const large = Buffer.concat([fixture("plain.png"), Buffer.alloc(70_000)]);
    const entries = Array.from(
      { length: 9000 },
      (_, i) => tarEntry(`train/a/${10_000 + i}.png`, i % 900 === 0 ? large : fixture("plain.png")),
    );
    await writeFile(path, Buffer.concat([...entries, TAR_END]));
    const reports: Progress[] = [];
    const store = await openStore(path, { onProgress: (progress) => reports.push(progress) });
    expect(store.files.length).toBe(9000);
    const files = await store.open();
    for (const i of [0, 1, 899, 900, 901, 8999]) {
      const bytes = await files.read(`train/a/${10_000 + i}.png`);
      expect(bytes.subarray(0, 200)).toEqual(Buffer.from(fixture("plain.png").subarray(0, 200)));
      expect(bytes.length).toBe((i % 900 === 0 ? large : fixture("plain.png")).length);
    }
    await files.close();
    expect(reports.map(({ stage }) => stage)).toEqual(["listing files", "listing files"]);
    expect(reports[0].done).toBeLessThan(reports[1].done);
    const signal = AbortSignal.abort();
    await expect(openStore(path, { signal })).rejects.toMatchObject({ code: "cancelled" });
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
