/** Small data sets on disk, made of generated pictures. */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { generateDataset } from "../../src/data/sources/generated.ts";

/** CIFAR-10's binary record of one picture: its label, then red, green and blue planes. */
function record(label: number, pixels: Uint8Array): Uint8Array {
  const plane = pixels.length / 3;
  const bytes = new Uint8Array(1 + pixels.length);
  bytes[0] = label;
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) bytes[1 + c * plane + i] = pixels[3 * i + c];
  }
  return bytes;
}

/** A folder in CIFAR-10's binary form with so many training and test pictures. */
export function writeSmallCifar(folder: string, training: number, test: number): void {
  mkdirSync(folder, { recursive: true });
  const files = [["train", training, "data_batch_1.bin"], [
    "test",
    test,
    "test_batch.bin",
  ]] as const;
  for (const [split, count, name] of files) {
    const { pixels, labels } = generateDataset(split, { count });
    const size = pixels.length / count;
    const records = Array.from(labels, (label, i) => {
      return record(label, pixels.subarray(i * size, (i + 1) * size));
    });
    const bytes = new Uint8Array(count * (size + 1));
    records.forEach((each, i) => bytes.set(each, i * (size + 1)));
    writeFileSync(join(folder, name), bytes);
  }
}
