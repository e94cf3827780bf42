import { mkdir, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import sharp from "sharp";
import { BatchStream } from "../../src/data/batches/batches.ts";
import { normalisations, type PictureSet } from "../../src/data/dataset.ts";
import { generateDataset } from "../../src/data/sources/generated.ts";
import { readImageFolder } from "../../src/data/sources/image_folder.ts";
import type { Benchmark, BenchmarkOptions, Case, Contestant } from "../contestant.ts";
import { openPeer } from "../peers.ts";

const BATCH = 128;
const NORMALISATION = normalisations.imagenet;

/** Writes generated pictures as an image folder of JPEG files, once. */
export async function pictureFolder(folder: string, count: number): Promise<string> {
  const path = join(folder, `pictures-${count}`);
  const finished = join(path, "complete");
  if (existsSync(finished)) return path;
  const dataset = generateDataset("train", { count });
  const { width, height, pixels, labels, classes } = dataset;
  const size = width * height * 3;
  for (const name of classes) await mkdir(join(path, "train", name), { recursive: true });
  for (let i = 0; i < count; i++) {
    const raw = pixels.slice(i * size, (i + 1) * size);
    const jpeg = await sharp(raw, { raw: { width, height, channels: 3 } })
      .jpeg({ quality: 90 }).toBuffer();
    await writeFile(join(path, "train", classes[labels[i]], `${i}.jpg`), jpeg);
  }
  await writeFile(finished, "");
  return path;
}

/** Reads an epoch of batches to its end and returns how many pictures it had. */
async function drain(stream: BatchStream, epoch: number): Promise<number> {
  let pictures = 0;
  for await (const batch of stream.epoch(epoch)) pictures += batch.labels.length;
  return pictures;
}

const streamOf = (dataset: PictureSet): BatchStream =>
  new BatchStream(dataset, {
    batchSize: Math.min(BATCH, dataset.count),
    normalisation: NORMALISATION,
    seed: 0,
    augment: true,
  });

/** The first epoch of a run without a cache: files are read and decoded. */
function firstEpoch(path: string): Contestant {
  return {
    about: "decoded once, then a worker renders batches",
    measure: async () => {
      const started = performance.now();
      const stream = streamOf(await readImageFolder(path, "train", { cache: false }));
      try {
        return await drain(stream, 0) / ((performance.now() - started) / 1000);
      } finally {
        await stream.close();
      }
    },
    close: () => {},
  };
}

/** Every later epoch: pictures are in memory. */
async function laterEpoch(path: string): Promise<Contestant> {
  const stream = streamOf(await readImageFolder(path, "train", { cache: false }));
  let epoch = 0;
  return {
    about: "pictures in memory, a worker renders batches",
    measure: async () => {
      const started = performance.now();
      return await drain(stream, epoch++) / ((performance.now() - started) / 1000);
    },
    close: () => stream.close(),
  };
}

export const data: Benchmark = {
  name: "data",
  about: "JPEG folder to augmented batches",
  cases: async (options: BenchmarkOptions): Promise<Case[]> => {
    const count = options.quick ? 20 : 10_000;
    const path = await pictureFolder(options.folder, count);
    const { mean, std } = NORMALISATION;
    const parameters = { folder: join(path, "train"), batch: BATCH, workers: 2, mean, std };
    const common = {
      unit: "images/s",
      better: "higher" as const,
      details: { pictures: count, size: "32x32", batch: BATCH },
      peers: [{
        name: "DataLoader, 2 workers, Pillow",
        target: { kind: "ratio", least: 2 } as const,
        open: (python: Parameters<typeof openPeer>[0]) =>
          openPeer(python, "data", options, parameters),
      }],
    };
    return [
      {
        ...common,
        name: "JPEG folder to batches, first epoch",
        ours: () => Promise.resolve(firstEpoch(path)),
      },
      {
        ...common,
        name: "JPEG folder to batches, later epochs",
        ours: () => laterEpoch(path),
      },
    ];
  },
};
