// Large image folders are decoded by workers, to the same bytes and with the same complaints.

import { Buffer } from "node:buffer";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { isLoaded } from "../../src/data/dataset.ts";
import { PictureDecoder } from "../../src/data/pictures/decode.ts";
import { readImageFolder } from "../../src/data/sources/image_folder.ts";
import { SmallJpegDecoder } from "../../src/data/pictures/jpeg.js";
import type { Progress } from "../../src/progress.ts";
import { dataFolder } from "../support/data.ts";
import { expected, fixture, ownFolder, sha256, writeFiles } from "../support/pictures/files.ts";

const folder = ownFolder();

/** More pictures than the main thread decodes alone. */
const COUNT = 1100;
const PLAIN = ["subsampled.jpg", "full-chroma.jpg", "progressive.jpg"];

/** An image folder of one class; `others` are put in the places of some of its pictures. */
function manyPictures(
  name: string,
  others: Record<number, string | Uint8Array> = {},
): Promise<string> {
  const files: Record<string, string | Uint8Array> = {};
  for (let i = 0; i < COUNT; i++) {
    files[`train/a/${10_000 + i}.jpg`] = others[i] ?? PLAIN[i % PLAIN.length];
  }
  return writeFiles(join(folder, name), files);
}

/** A progressive JPEG that repeats its last scan. */
function manyScans(count: number): Uint8Array {
  const whole = Buffer.from(fixture("progressive.jpg"));
  const scan = whole.subarray(whole.lastIndexOf(Buffer.of(0xff, 0xda)), -2);
  return Buffer.concat([
    whole.subarray(0, -2),
    ...Array.from({ length: count }, () => scan),
    Buffer.of(0xff, 0xd9),
  ]);
}

describe("many pictures", () => {
  it("become the bytes that single ones do, whoever can decode them", async () => {
    const others: Record<number, string | Uint8Array> = {
      0: fixture("subsampled.jpg").subarray(0, 300),
      7: "plain.png",
      700: "grey.jpg",
      701: new Uint8Array(0),
      702: Buffer.concat([fixture("full-chroma.jpg"), Buffer.alloc(2 ** 20)]),
      [COUNT - 1]: "transparent.png",
    };
    const root = await manyPictures("mixed", others);
    const reports: Progress[] = [];
    const dataset = await readImageFolder(root, "train", {
      cache: false,
      onProgress: (progress) => reports.push(progress),
    });
    if (!isLoaded(dataset)) throw new Error("small pictures are held");
    expect(dataset.skipped?.map(({ path }) => path)).toEqual([
      "train/a/10000.jpg",
      "train/a/10701.jpg",
    ]);
    expect(dataset.count).toBe(COUNT - 2);
    const decoder = new PictureDecoder();
    const digests = new Map<string, string>();
    let place = 0;
    for (let i = 0; i < COUNT; i++) {
      if (i === 0 || i === 701) continue;
      const own = others[i] ?? PLAIN[i % PLAIN.length];
      const name = typeof own === "string" ? own : "full-chroma.jpg";
      if (!digests.has(name)) {
        digests.set(name, sha256((await decoder.decode(fixture(name))).pixels));
      }
      const pixels = dataset.pixels.subarray(place * 3072, ++place * 3072);
      expect(sha256(pixels), `picture ${i}`).toBe(digests.get(name));
    }
    const [first, last] = [reports[0], reports.at(-1)];
    expect(first).toMatchObject({ stage: "reading pictures", total: COUNT, unit: "pictures" });
    expect(last?.done).toBeGreaterThan(COUNT - 256);
  });

  it("are refused for the picture that is amiss", async () => {
    const otherSize = await manyPictures("other size", { 1090: "odd-size.jpg" });
    const reading = readImageFolder(otherSize, "train", { cache: false });
    await expect(reading).rejects.toMatchObject({ code: "data-mismatch" });
    await expect(reading).rejects.toThrow('"train/a/11090.jpg" is 33x17');
    const noise = await manyPictures("noise", { 900: new TextEncoder().encode("no picture") });
    const strict = readImageFolder(noise, "train", { cache: false, strict: true });
    await expect(strict).rejects.toMatchObject({ code: "image-unreadable" });
    await expect(strict).rejects.toThrow("train/a/10900.jpg");
  });

  it("are left when asked, in the middle of it", async () => {
    const root = await manyPictures("left");
    const controller = new AbortController();
    const reading = readImageFolder(root, "train", {
      cache: false,
      signal: controller.signal,
      onProgress: () => controller.abort(),
    });
    await expect(reading).rejects.toMatchObject({ code: "cancelled" });
  });

  it("are scaled and cropped as few are", async () => {
    const root = await manyPictures("scaled", { 3: "odd-size.jpg" });
    const framing = { resize: 16, crop: 16, cache: false };
    const all = await readImageFolder(root, "train", framing);
    const few = await readImageFolder(root, "train", { ...framing, limitPerClass: 100 });
    if (!isLoaded(all) || !isLoaded(few)) throw new Error("small pictures are held");
    expect(all.count).toBe(COUNT);
    expect(sha256(all.pixels.subarray(0, few.pixels.length))).toBe(sha256(few.pixels));
  });

  const archive = join(dataFolder() ?? "", "cifar10-jpeg.tar");
  it.skipIf(dataFolder() === undefined)("come from a tar as well", async () => {
    const limits = { cache: false, limitPerClass: 120 };
    const dataset = await readImageFolder(archive, "test", limits);
    if (!isLoaded(dataset)) throw new Error("small pictures are held");
    const size = 3072;
    const picked = Buffer.concat(Array.from(
      { length: 10 },
      (_, label) => dataset.pixels.subarray(label * 120 * size, (label * 120 + 20) * size),
    ));
    // What PIL 13.0 decodes from test/<class>/0000.jpg to 0019.jpg, class by class.
    expect(sha256(picked)).toBe(
      "50283b6e366c94be9c107384af88e6b1f8f68dc07327201f26164ce5c374436f",
    );
  });
});

describe("a JPEG of many scans", () => {
  it("is no work for the quick decoder", async () => {
    const quick = new SmallJpegDecoder();
    const few = await quick.decode(manyScans(0));
    expect(few && sha256(few.pixels)).toBe(expected.pictures["progressive.jpg"].sha256);
    expect(await quick.decode(manyScans(100))).toBeUndefined();
  });

  it("is refused before it costs more than a picture does", async () => {
    const started = performance.now();
    await new PictureDecoder().decode(manyScans(20_000)).catch(() => undefined);
    expect(performance.now() - started).toBeLessThan(5000);
  });
});
