/** Pictures for models of one channel, as torchvision's Grayscale(1) makes them. */

import { Buffer } from "node:buffer";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { batchOf, BatchStream } from "../../src/data/batches/batches.ts";
import {
  type Dataset,
  loaded,
  type Normalisation,
  normalisations,
} from "../../src/data/dataset.ts";
import { readImageFolder } from "../../src/data/sources/image_folder.ts";
import { createModel } from "../../src/models/models.ts";
import { Plausibility } from "../../src/pruning/plausibility.ts";
import { evaluate } from "../../src/training/evaluate.ts";
import { denoProgram, runCommand } from "../support/command_line.ts";
import { dataFolder } from "../support/data.ts";
import { ownFolder, sha256, writeFiles } from "../support/pictures/files.ts";
import { smallPictures } from "../support/pictures/small.ts";

const folder = ownFolder();
const mnist: Normalisation = { mean: [0.1307], std: [0.3081], channels: "grey" };

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) =>
  Buffer.from(buffer, byteOffset, byteLength);

describe("inputs of one channel", () => {
  it("are torchvision's to the last bit", async () => {
    const root = await writeFiles(join(folder, "torchvision"), {
      "a/1.jpg": "subsampled.jpg",
      "a/2.jpg": "wide.jpg",
    });
    const set = await loaded(await readImageFolder(root, "whole", { resize: 20, crop: 20 }));
    const digests = [0, 1].map((index) =>
      sha256(bytesOf(batchOf(set, Int32Array.of(index), mnist)))
    );
    // torchvision 0.29 through Pillow 13: Resize(20), CenterCrop(20), Grayscale(1), ToTensor,
    // Normalize((0.1307,), (0.3081,)), as little-endian f32.
    expect(digests).toEqual([
      "58348a34be92fca4e8f741831e412125a9760d16cf97d4c5afc1a70b68171cec",
      "32b7f7e76b303ecd403d0b30a39d6a72720940d191611af5476f535ee4589fbe",
    ]);
  });

  it("are shifted and mirrored as colours are, black where nothing is", async () => {
    const pictures = smallPictures(12);
    // Colours whose luma is their own value, so that one channel of the coloured batch is the other.
    for (let i = 0; i < pictures.pixels.length; i++) {
      pictures.pixels[i] = pictures.pixels[i - i % 3];
    }
    const epoch = async (normalisation: Normalisation) => {
      const stream = new BatchStream(pictures, {
        batchSize: 5,
        seed: 4,
        augment: true,
        normalisation,
      });
      const batches: Float32Array[] = [];
      try {
        for await (const { images } of stream.epoch(1)) batches.push(images.slice());
      } finally {
        await stream.close();
      }
      return batches;
    };
    const three = await epoch({ mean: [0.1307, 0.1307, 0.1307], std: [0.3081, 0.3081, 0.3081] });
    const one = await epoch(mnist);
    expect(one).toEqual(three.map((batch) => batch.filter((_, i) => i % 3 === 0)));
  });

  it("give a network of one channel its answers", async () => {
    const graph = createModel("resnet8", { classes: 4, shape: [1, 8, 8] });
    const pictures: Dataset = smallPictures(40);
    const found = await evaluate(graph, pictures, { normalisation: normalisations.grey });
    expect(found.total).toBe(40);
    const { imagenet } = normalisations;
    await expect(evaluate(graph, pictures, { normalisation: imagenet }))
      .rejects.toThrow(/takes pictures of one channel.*--channels grey/);
    const coloured = createModel("resnet8", { classes: 4, shape: [3, 8, 8] });
    await expect(evaluate(coloured, pictures, { normalisation: mnist }))
      .rejects.toThrow(/takes pictures of three channels.*--channels rgb/);
  });

  it("are tried by other figures where a model does no better than guessing", async () => {
    const graph = createModel("resnet8", { classes: 4, shape: [1, 8, 8] });
    using check = await Plausibility.open(graph, smallPictures(80), 1, { dtype: "f32" });
    expect((await check.diagnose(mnist)).tried).toBe(4);
  });
});

/** Two classes of pictures, bright and dark, in colours. */
async function writeBrightAndDark(name: string): Promise<string> {
  const root = join(folder, name);
  for (const split of ["train", "val"]) {
    for (const [label, level] of [["bright", 200], ["dark", 40]] as const) {
      mkdirSync(join(root, split, label), { recursive: true });
      for (let i = 0; i < 12; i++) {
        const background = { r: level + 3 * i, g: level, b: level - 2 * i };
        const size = { width: 30 + i, height: 40 };
        await sharp({ create: { ...size, channels: 3, background } })
          .png().toFile(join(root, split, label, `${i}.png`));
      }
    }
  }
  return root;
}

describe.skipIf(denoProgram() === undefined)("commands with models of one channel", () => {
  const run = (line: string) => runCommand(line.split(" "), { cwd: folder });

  it("train, evaluate and prune, and keep the contract", async () => {
    await writeBrightAndDark("shades");
    const trained = await run(
      "train --data imagefolder:shades --model resnet8 --channels grey --mean 0.4 --std 0.3 " +
        "--resize 16 --crop 16 --epochs 4 --batch 8 --lr 0.02 --out grey --json",
    );
    expect(trained.err).toBe("");
    expect(trained.code).toBe(0);
    const weights = "--weights grey/model.safetensors --data imagefolder:shades";
    const evaluated = await run(`evaluate ${weights}`);
    expect(evaluated.out).toMatch(/crop 16; mean 0\.4; std 0\.3; grey; 2 labels/);
    expect(evaluated.out).toMatch(/of 24 right/);
    const refused = await run(`evaluate ${weights} --channels rgb`);
    expect([refused.code, refused.err]).toEqual([
      2,
      expect.stringMatching(/1 channel, which grey\/model\.safetensors takes, got rgb/),
    ]);
    const three = await run(`evaluate ${weights} --mean 0.1,0.2,0.3 --std 0.1,0.2,0.3`);
    expect(three.err).toMatch(/one number for --mean of grey pictures, got 0\.1,0\.2,0\.3/);
    const preset = await run(`evaluate ${weights} --preset cifar`);
    expect(preset.err).toMatch(/--mean and --std beside --preset cifar.*--mean 0\.5 --std 0\.5/);
    const pruned = await run(
      `prune ${weights} --cut-flops 30% --epochs 1 --batch 8 --pairs 2 --calibration 16 ` +
        `--rank-images 16 --entropy-images 16 --force --out grey-pruned`,
    );
    expect(pruned.code).toBe(0);
    const { input } = JSON.parse(readFileSync(join(folder, "grey-pruned/report.json"), "utf8"));
    expect(input).toEqual({
      resize: 16,
      crop: 16,
      mean: [0.4],
      std: [0.3],
      channels: "grey",
      labels: ["bright", "dark"],
    });
    const again = await run(
      "evaluate --weights grey-pruned/pruned.onnx --data imagefolder:shades",
    );
    expect(again.out).toMatch(/of 24 right/);
  }, 300_000);

  const grey = join(dataFolder() ?? "", "faults/grey.onnx");
  it.skipIf(!existsSync(grey))(
    "take an ONNX file that says nothing of it (faults/grey.onnx)",
    async () => {
      await copyFile(grey, join(folder, "grey.onnx"));
      const classes = 4;
      for (let i = 0; i < classes; i++) {
        await writeFiles(join(folder, "digits"), { [`val/c${i}/1.jpg`]: "subsampled.jpg" });
      }
      const found = await run(
        "evaluate --weights grey.onnx --val digits/val --resize 28 --crop 28",
      );
      expect(found.out).toMatch(/takes one channel.*mean 0\.5 and deviation 0\.5/);
      expect(found.out).toMatch(/of 4 right/);
      expect(found.code).toBe(0);
      const bare = await run("evaluate --weights grey.onnx --val digits/val");
      expect(bare.err).toMatch(
        /takes pictures of 28x28, .* 32x32: give --resize 28 --crop 28\.\n$/,
      );
    },
    60_000,
  );
});
