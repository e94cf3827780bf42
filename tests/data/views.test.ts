/** From a picture to what a model sees: scaling, cropping, colours, labels, streaming. */

import { readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { batchOf, BatchStream, readBatch } from "../../src/data/batches/batches.ts";
import {
  isLoaded,
  loaded,
  normalisations,
  type PictureSet,
  subset,
} from "../../src/data/dataset.ts";
import { PictureDecoder } from "../../src/data/pictures/decode.ts";
import { centredView, randomView } from "../../src/data/pictures/geometry.ts";
import { readImageFolder } from "../../src/data/sources/image_folder.ts";
import { readClassNames, relabel } from "../../src/data/sources/labels.ts";
import { viewOf } from "../../src/data/pictures/resample.ts";
import { dataFolder } from "../support/data.ts";
import { expected, fixture, ownFolder, sha256 } from "../support/pictures/files.ts";

const folder = ownFolder();
const decoded = (name: string) => new PictureDecoder().decode(fixture(name));

describe("scaling and cropping", () => {
  it.each(expected.framed)(
    "$name, resize $resize, crop $crop: torchvision's bytes",
    async (wanted) => {
      const picture = await decoded(wanted.name);
      const view = centredView(picture, {
        ...(wanted.resize === null ? {} : { resize: wanted.resize }),
        ...(wanted.crop === null ? {} : { crop: wanted.crop }),
      })!;
      expect([view.window.width, view.window.height]).toEqual([wanted.width, wanted.height]);
      expect(sha256(viewOf(picture, view))).toBe(wanted.sha256);
    },
  );

  it.each(expected.parts)(
    "a part of $name, scaled and mirrored: Pillow's bytes",
    async (wanted) => {
      const [left, top, width, height] = wanted.box;
      const extent = { width: wanted.size, height: wanted.size };
      const pixels = viewOf(await decoded(wanted.name), {
        part: { left, top, width, height },
        scaled: extent,
        window: { left: 0, top: 0, ...extent },
        mirrored: true,
      });
      expect(sha256(pixels)).toBe(wanted.sha256);
    },
  );

  it("does not crop more than there is", () => {
    expect(centredView({ width: 30, height: 50 }, { crop: 31 })).toBeUndefined();
    expect(centredView({ width: 30, height: 50 }, { crop: 30 })?.window)
      .toEqual({ left: 0, top: 10, width: 30, height: 30 });
  });

  it("draws parts of 8% to 100% of the area, within the picture, from the seed alone", () => {
    const picture = { width: 120, height: 80 }, size = { width: 64, height: 64 };
    const shares: number[] = [], aspects: number[] = [];
    let mirrored = 0;
    for (let index = 0; index < 500; index++) {
      const view = randomView(picture, size, 1, 2, index);
      expect(view).toEqual(randomView(picture, size, 1, 2, index));
      const { left, top, width, height } = view.part;
      expect(left >= 0 && top >= 0 && left + width <= 120 && top + height <= 80).toBe(true);
      shares.push(width * height / 9600);
      aspects.push(width / height);
      if (view.mirrored) mirrored++;
    }
    expect(Math.min(...shares)).toBeGreaterThan(0.07);
    expect(Math.min(...shares)).toBeLessThan(0.15);
    expect(Math.max(...shares)).toBeGreaterThan(0.8);
    expect(Math.min(...aspects)).toBeGreaterThan(0.7);
    expect(Math.max(...aspects)).toBeLessThan(1.45);
    expect(mirrored).toBeGreaterThan(200);
    expect(mirrored).toBeLessThan(300);
    // A picture far from any aspect gives its middle.
    const { part } = randomView({ width: 1000, height: 2 }, size, 1, 2, 3);
    expect(part).toEqual({ left: 498, top: 0, width: 3, height: 2 });
  });
});

/** A picture of one colour with another in its right half. */
async function halves(width: number, height: number, red: number): Promise<Uint8Array> {
  const pixels = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) {
    pixels.set(i % width < width / 2 ? [red, 10, 20] : [red, 200, 20], i * 3);
  }
  return await sharp(pixels, { raw: { width, height, channels: 3 } }).png().toBuffer();
}

async function writeClasses(name: string, classes: Record<string, number>): Promise<string> {
  const root = join(folder, name);
  let red = 0;
  for (const [label, count] of Object.entries(classes)) {
    await mkdir(join(root, label), { recursive: true });
    for (let i = 0; i < count; i++) {
      const size = [90 + 7 * i, 80 + 5 * i];
      await writeFile(join(root, label, `${i}.png`), await halves(size[0], size[1], red += 20));
    }
  }
  return root;
}

describe("large pictures", () => {
  const options = { batchSize: 3, normalisation: normalisations.imagenet, seed: 5 };

  async function epochOf(dataset: PictureSet, augment: boolean, epoch = 0) {
    const stream = new BatchStream(dataset, { ...options, augment });
    const batches: Float32Array[] = [];
    try {
      for await (const batch of stream.epoch(epoch)) batches.push(batch.images.slice());
    } finally {
      await stream.close();
    }
    return batches;
  }

  it("stay in their files and give the same bytes as pictures in memory", async () => {
    const root = await writeClasses("streamed", { ant: 4, bee: 3 });
    const streamed = await readImageFolder(root, "whole", { resize: 72, crop: 64 });
    expect(isLoaded(streamed)).toBe(false);
    expect(streamed).toMatchObject({ count: 7, height: 64, width: 64, classes: ["ant", "bee"] });
    const held = await loaded(streamed);
    const first = await new PictureDecoder().decode(readFileSync(join(root, "ant", "0.png")));
    const view = centredView(first, { resize: 72, crop: 64 })!;
    expect(held.pixels.subarray(0, 64 * 64 * 3)).toEqual(viewOf(first, view));
    const indices = Int32Array.of(5, 0, 3);
    const { normalisation } = options;
    expect(await readBatch(streamed, indices, normalisation))
      .toEqual(batchOf(held, indices, normalisation));
    const part = subset(streamed, Int32Array.of(6, 2), "part");
    expect([part.count, ...part.labels]).toEqual([2, 1, 0]);
    expect((await loaded(part)).pixels)
      .toEqual((await loaded(subset(held, Int32Array.of(6, 2), "part"))).pixels);
    expect(await epochOf(streamed, false)).toEqual(await epochOf(held, false));
  });

  it("give training another part every epoch, the same for the same seed", async () => {
    const root = await writeClasses("drawn", { ant: 3, bee: 3 });
    const streamed = await readImageFolder(root, "whole", { crop: 64 });
    const first = await epochOf(streamed, true);
    expect(await epochOf(streamed, true)).toEqual(first);
    expect(await epochOf(streamed, true, 1)).not.toEqual(first);
    expect(await epochOf(streamed, false)).not.toEqual(first);
  });

  it("are checked when the folder is opened, and named when they change after that", async () => {
    const root = await writeClasses("checked", { ant: 3, bee: 2 });
    const cut = await halves(90, 80, 1);
    await writeFile(join(root, "bee", "cut.png"), cut.subarray(0, cut.length - 20));
    await writeFile(join(root, "bee", "empty.jpg"), "");
    const streamed = await readImageFolder(root, "whole", { crop: 64 });
    expect(streamed.count).toBe(5);
    expect(streamed.skipped?.map(({ path }) => path)).toEqual(["bee/cut.png", "bee/empty.jpg"]);
    const strict = readImageFolder(root, "whole", { crop: 64, strict: true });
    await expect(strict).rejects.toMatchObject({ code: "image-unreadable" });
    await expect(readImageFolder(root, "whole", { crop: 100 })).rejects.toThrow(
      /at least 100x100.*--resize.*--crop/,
    );
    await expect(readImageFolder(root, "whole")).rejects.toThrow(/one size.*--resize and --crop/);
    await writeFile(join(root, "ant", "1.png"), await halves(70, 70, 9));
    await expect(loaded(streamed)).rejects.toThrow(/ant\/1\.png.*another size.*start again/);
  });

  const sample = join(dataFolder() ?? "", "imagenet-sample");
  it.skipIf(dataFolder() === undefined)("of ImageNet get its labels", async () => {
    const names = await readClassNames(join(sample, "synsets.txt"));
    expect(names.length).toBe(1000);
    const pictures = await readImageFolder(sample, "test", { resize: 256, crop: 224 });
    const { dataset, absent } = relabel(pictures, names, "synsets.txt");
    expect([dataset.count, dataset.classes.length, absent.length]).toEqual([238, 1000, 762]);
    const folders = pictures.classes;
    dataset.labels.forEach((label, i) => {
      expect(dataset.classes[label]).toBe(folders[pictures.labels[i]]);
    });
    // torchvision 0.28 through Pillow 13: Resize(256), CenterCrop(224) of the first three.
    const three = await loaded(subset(pictures, Int32Array.of(0, 1, 2), "three"));
    expect(sha256(three.pixels)).toBe(THREE);
  });
});

const THREE = "87cf5532376b2a3aa15b4ab9766271199282804f004b0b594d9f60ac738926a9";

describe("colours", () => {
  it("come blue first where a model wants them so, each by its own statistics", async () => {
    const root = await writeClasses("colours", { ant: 1, bee: 1 });
    const pictures = await loaded(await readImageFolder(root, "whole", { resize: 8, crop: 8 }));
    const indices = Int32Array.of(0, 1);
    const rgb = batchOf(pictures, indices, normalisations.imagenet);
    const bgr = batchOf(pictures, indices, { ...normalisations.imagenet, channels: "bgr" });
    for (let i = 0; i < rgb.length; i += 3) {
      expect([bgr[i + 2], bgr[i + 1], bgr[i]]).toEqual([rgb[i], rgb[i + 1], rgb[i + 2]]);
    }
    for (const augment of [false, true]) {
      const first = async (channels: "rgb" | "bgr") => {
        const normalisation = { ...normalisations.imagenet, channels };
        const stream = new BatchStream(pictures, { batchSize: 2, seed: 1, augment, normalisation });
        try {
          for await (const { images } of stream.epoch(0)) return images.slice();
        } finally {
          await stream.close();
        }
      };
      const red = (await first("rgb"))!.filter((_, i) => i % 3 === 0);
      expect((await first("bgr"))!.filter((_, i) => i % 3 === 2)).toEqual(red);
    }
  });
});

describe("labels", () => {
  const write = async (name: string, content: string) => {
    const path = join(folder, name);
    await writeFile(path, content);
    return path;
  };

  it("are read from lines, lists and class indices", async () => {
    expect(await readClassNames(await write("lines", "cat\r\nbig dog\n"))).toEqual([["cat"], [
      "big dog",
    ]]);
    expect(await readClassNames(await write("words", "n01440764 tench, Tinca\nn01443537 fish")))
      .toEqual([["n01440764", "tench, Tinca"], ["n01443537", "fish"]]);
    expect(await readClassNames(await write("list", '["cat", "dog"]'))).toEqual([["cat"], ["dog"]]);
    expect(await readClassNames(await write("index", '{"1": ["n2", "dog"], "0": ["n1", "cat"]}')))
      .toEqual([["n1", "cat"], ["n2", "dog"]]);
  });

  it.each([
    ["empty", "", "is empty"],
    ["broken", '{"0": ', "does not parse"],
    ["gap", '{"0": "a", "2": "b"}', "entry 1 of 2 is missing"],
    ["number", '["a", 3]', "entry 1 of 2 is no name"],
    ["twice", "a\nb\na\n", '0 and 2 are both "a"'],
    ["blank", "a\n\nb\n", "line 2 is empty"],
  ])("that are %s are refused", async (name, content, finding) => {
    const reading = readClassNames(await write(`bad-${name}`, content));
    await expect(reading).rejects.toMatchObject({ code: "format-corrupt" });
    await expect(reading).rejects.toThrow(finding);
  });

  it("give folders the model's numbers, and name folders it does not know", async () => {
    const root = await writeClasses("named", { cat: 1, dog: 2 });
    const pictures = await readImageFolder(root, "whole", { resize: 8, crop: 8 });
    const { dataset, absent } = relabel(pictures, [["fish"], ["n2", "dog"], ["cat"]], "file");
    expect([...dataset.labels]).toEqual([2, 1, 1]);
    expect(dataset.classes).toEqual(["fish", "n2", "cat"]);
    expect(absent).toEqual(["fish"]);
    expect(() => relabel(pictures, [["cat"], ["cow"]], "file")).toThrow(
      /2 classes of file.*1 of its 2 classes.*"dog".*--labels/,
    );
    expect(() => relabel(pictures, [["cat", "dog"]], "file")).toThrow(/"dog" is another name/);
  });
});
