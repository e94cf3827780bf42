/** Batches: normalisation, augmentation, order, and the stream that prepares them on a worker. */

import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { setImmediate, setTimeout } from "node:timers";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { drawAugmentation, PADDING } from "../../src/data/batches/augment.ts";
import { type Batch, batchOf, BatchStream, epochOrder } from "../../src/data/batches/batches.ts";
import { type Dataset, normalisations, subset } from "../../src/data/dataset.ts";
import { generateDataset } from "../../src/data/sources/generated.ts";
import { normalisationTable, renderBatch } from "../../src/data/batches/render.js";

const expected = JSON.parse(
  readFileSync(fileURLToPath(new URL("../fixtures/data/expected.json", import.meta.url)), "utf8"),
) as { readonly inputs: string };

const pictures = generateDataset("train", { count: 53 });
const { mean, std } = normalisations.imagenet;
const options = { batchSize: 8, normalisation: normalisations.imagenet, seed: 3 };

/** A batch's content, kept beyond the next batch. */
function copyOf(batch: Batch): Batch {
  return { ...batch, images: batch.images.slice() };
}

async function collect(stream: BatchStream, epoch: number, startStep?: number): Promise<Batch[]> {
  const batches: Batch[] = [];
  for await (const batch of stream.epoch(epoch, { startStep })) batches.push(copyOf(batch));
  return batches;
}

async function withStream<T>(
  dataset: Dataset,
  more: Partial<ConstructorParameters<typeof BatchStream>[1]>,
  body: (stream: BatchStream) => Promise<T>,
): Promise<T> {
  const stream = new BatchStream(dataset, { ...options, ...more });
  try {
    return await body(stream);
  } finally {
    await stream.close();
  }
}

/** The crop of a padded picture, mirrored or not, written down as directly as possible. */
function augmented(dataset: Dataset, index: number, [dy, dx, mirrored]: Int8Array): Float32Array {
  const { height, width } = dataset;
  const out = new Float32Array(height * width * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const sy = y + dy, sx = x + dx;
      const inside = sy >= 0 && sy < height && sx >= 0 && sx < width;
      const column = mirrored ? width - 1 - x : x;
      for (let c = 0; c < 3; c++) {
        const byte = inside ? dataset.pixels[((index * height + sy) * width + sx) * 3 + c] : 0;
        out[(y * width + column) * 3 + c] = (byte / 255 - mean[c]) / std[c];
      }
    }
  }
  return out;
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  return a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - b[i])), 0);
}

describe("normalisation", () => {
  it("makes the very inputs PyTorch makes", () => {
    const table = normalisationTable(mean, std);
    const digest = createHash("sha256").update(Buffer.from(table.buffer)).digest("hex");
    expect(digest).toBe(expected.inputs);
  });

  it("keeps pixels in place, channel last", () => {
    const indices = Int32Array.of(7, 2);
    const images = batchOf(pictures, indices, normalisations.imagenet);
    indices.forEach((index, i) => {
      const image = images.subarray(i * 3072, (i + 1) * 3072);
      expect(largestDifference(image, augmented(pictures, index, Int8Array.of(0, 0, 0))))
        .toBeLessThan(1e-6);
    });
    expect(() => batchOf(pictures, Int32Array.of(53), normalisations.imagenet)).toThrow(RangeError);
  });
});

describe("augmentation", () => {
  it("shifts by up to four pixels each way and mirrors half, evenly", () => {
    const many = 9000;
    const table = drawAugmentation(1, 0, Int32Array.from({ length: many }, (_, i) => i));
    const counts = [new Map<number, number>(), new Map<number, number>(), new Map()];
    table.forEach((value, i) => counts[i % 3].set(value, (counts[i % 3].get(value) ?? 0) + 1));
    for (const shifts of counts.slice(0, 2)) {
      expect([...shifts.keys()].sort((a, b) => a - b)).toEqual([-4, -3, -2, -1, 0, 1, 2, 3, 4]);
      // 1,000 expected of each; five standard deviations are 149.
      for (const count of shifts.values()) expect(Math.abs(count - 1000)).toBeLessThan(149);
    }
    expect(PADDING).toBe(4);
    expect([...counts[2].keys()].sort()).toEqual([0, 1]);
    expect(Math.abs(counts[2].get(1) - many / 2)).toBeLessThan(237);
  });

  it("depends on seed, epoch and picture, not on place in the batch", () => {
    const table = drawAugmentation(5, 2, Int32Array.of(10, 11, 12));
    const reversed = drawAugmentation(5, 2, Int32Array.of(12, 11, 10));
    expect([...reversed.subarray(6)]).toEqual([...table.subarray(0, 3)]);
    const all = Int32Array.from({ length: 100 }, (_, i) => i);
    expect(drawAugmentation(5, 2, all)).not.toEqual(drawAugmentation(5, 3, all));
    expect(drawAugmentation(5, 2, all)).not.toEqual(drawAugmentation(6, 2, all));
  });

  it("crops the padded picture, then mirrors it", () => {
    for (const change of [[0, 0, 1], [-4, 3, 0], [2, -1, 1], [4, 4, 1]]) {
      const row = Int8Array.from(change);
      const out = new Float32Array(3072);
      const table = normalisationTable(mean, std);
      renderBatch(pictures.pixels, 32, 32, Int32Array.of(5), table, "rgb", row, out);
      expect(largestDifference(out, augmented(pictures, 5, row))).toBeLessThan(1e-6);
    }
  });
});

describe("a stream of batches", () => {
  it("gives every picture once an epoch, in another order each time", async () => {
    await withStream(pictures, {}, async (stream) => {
      expect(stream.stepsPerEpoch).toBe(7);
      const orders: number[][] = [];
      for (const epoch of [0, 1]) {
        const batches = await collect(stream, epoch);
        expect(batches.map(({ indices }) => indices.length)).toEqual([8, 8, 8, 8, 8, 8, 5]);
        expect(batches.map(({ step }) => step)).toEqual([0, 1, 2, 3, 4, 5, 6]);
        const order = batches.flatMap(({ indices }) => [...indices]);
        expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 53 }, (_, i) => i));
        for (const { images, labels, indices } of batches) {
          expect(images).toEqual(batchOf(pictures, indices, normalisations.imagenet));
          expect([...labels]).toEqual([...indices].map((index) => index % 10));
        }
        orders.push(order);
      }
      expect(orders[0]).toEqual([...epochOrder(53, 3, 0)]);
      expect(orders[0]).not.toEqual(orders[1]);
    });
  });

  it("augments by picture and epoch", async () => {
    await withStream(pictures, { augment: true }, async (stream) => {
      const [batch] = await collect(stream, 4);
      const table = drawAugmentation(3, 4, batch.indices);
      batch.indices.forEach((index, i) => {
        const change = table.subarray(i * 3, i * 3 + 3);
        const image = batch.images.subarray(i * 3072, (i + 1) * 3072);
        expect(largestDifference(image, augmented(pictures, index, change))).toBeLessThan(1e-6);
      });
    });
  });

  it("goes on in the middle of an epoch with the same bytes", async () => {
    const whole = await withStream(pictures, { augment: true }, (stream) => collect(stream, 2));
    const rest = await withStream(
      pictures,
      { augment: true, prefetch: 1 },
      (stream) => collect(stream, 2, 3),
    );
    expect(rest).toEqual(whole.slice(3));
  });

  it("can keep the data set's order and drop a partial batch", async () => {
    await withStream(pictures, { shuffle: false, dropLast: true }, async (stream) => {
      const batches = await collect(stream, 0);
      expect(batches.flatMap(({ indices }) => [...indices])).toEqual(
        Array.from({ length: 48 }, (_, i) => i),
      );
    });
  });

  it("takes a batch's memory back to render another into it", async () => {
    await withStream(pictures, { prefetch: 2 }, async (stream) => {
      let first: Batch | undefined;
      for await (const batch of stream.epoch(0)) {
        first ??= batch;
        expect(batch.images.length).toBe(batch.indices.length * 3072);
      }
      expect(first?.images.length).toBe(0);
    });
  });

  it("can be left early and read again", async () => {
    await withStream(pictures, {}, async (stream) => {
      for await (const batch of stream.epoch(0)) if (batch.step === 1) break;
      expect(await collect(stream, 0)).toHaveLength(7);
    });
  });

  it("prepares batches ahead while the training step computes", async () => {
    await withStream(pictures, {}, async (stream) => {
      const epoch = stream.epoch(0);
      await epoch.next();
      let ready = 0;
      for (let step = 1; step < 6; step++) {
        await new Promise((resolve) => setTimeout(resolve, 100));
        // A batch that is there needs no turn of the event loop.
        const late = new Promise<"late">((resolve) => setImmediate(() => resolve("late")));
        const next = epoch.next();
        if (await Promise.race([next, late]) !== "late") ready++;
        await next;
      }
      expect(ready).toBeGreaterThan(0);
      await epoch.return();
    });
  });

  it("stops when asked", async () => {
    await withStream(pictures, {}, async (stream) => {
      const abort = new AbortController();
      const read = async () => {
        for await (const _ of stream.epoch(0, { signal: abort.signal })) abort.abort();
      };
      await expect(read()).rejects.toMatchObject({ code: "cancelled" });
    });
  });

  it("rejects what is awaited when it is closed or its worker fails, whose error Deno prints", async () => {
    const stream = new BatchStream(pictures, options);
    const epoch = stream.epoch(0);
    await epoch.next();
    await stream.close();
    await expect((async () => {
      for (;;) if ((await epoch.next()).done) return;
    })()).rejects.toThrow("closed");

    // Pixels that begin past the end of their memory.
    const pixels = { buffer: new SharedArrayBuffer(8), byteOffset: 64 } as unknown as Uint8Array;
    const broken = { ...pictures, pixels };
    await withStream(broken, {}, async (stream) => {
      await expect(collect(stream, 0)).rejects.toThrow("preparing a batch failed");
    });
  });

  it("hands a worker a data set of CIFAR-10's size", async () => {
    const count = 46_000;
    const pixels = new Uint8Array(new SharedArrayBuffer(count * 32 * 32 * 3));
    const large = {
      ...pictures,
      height: 32,
      width: 32,
      count,
      pixels,
      labels: new Int32Array(count),
    };
    await withStream(large, {}, async (stream) => {
      const epoch = stream.epoch(0);
      const batch = await epoch.next();
      expect(batch.value?.step).toBe(0);
      await epoch.return();
    });
  });

  it("refuses sizes that make no batch", () => {
    const none = subset(pictures, new Int32Array(0), "none");
    for (const batchSize of [0, 2.5, -1]) {
      expect(() => new BatchStream(pictures, { ...options, batchSize })).toThrow("batch size");
    }
    expect(() => new BatchStream(none, options)).toThrow("batch size");
    expect(() => new BatchStream(pictures, { ...options, batchSize: 54, dropLast: true }))
      .toThrow("batch size");
  });
});
