/**
 * Trains until the first step is done, then says so. Arguments: picture folder, name of the
 * network, images a step, threads.
 */

import process from "node:process";
import { normalisations } from "../../src/data/dataset.ts";
import { readImageFolder } from "../../src/data/sources/image_folder.ts";
import { createModel } from "../../src/models/models.ts";
import { train } from "../../src/training/train.ts";

const [folder, network, images, threads] = process.argv.slice(2);
const data = await readImageFolder(folder, "train");
await train(createModel(network, { classes: data.classes.length }), {
  data,
  normalisation: normalisations.imagenet,
  epochs: 1,
  batch: Number(images),
  optimizer: { kind: "sgd", weightDecay: 1e-4 },
  learningRate: 0.1,
  augment: true,
  seed: 0,
  threads: Number(threads),
  onProgress: () => process.stdout.write("the first step is done\n"),
});
