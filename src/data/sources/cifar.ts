/**
 * CIFAR-10 in its official binary form (Krizhevsky, "Learning multiple layers of features from
 * tiny images", 2009): records of one label byte and 32x32 pixels as three planes, red, green, blue.
 */
import type { FileHandle } from "node:fs/promises";
import { open, readdir, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { reasonOf, SecateurError } from "../../errors.ts";
import { allocatePixels, type Dataset } from "../dataset.ts";

const SIDE = 32;
const PLANE = SIDE * SIDE;
const RECORD = 1 + 3 * PLANE;
const RECORDS_PER_READ = 1024;

const FOLDER = "cifar-10-batches-bin";
const CLASSES = [
  "airplane",
  "automobile",
  "bird",
  "cat",
  "deer",
  "dog",
  "frog",
  "horse",
  "ship",
  "truck",
] as const;

const BATCH_FILES = { train: /^data_batch_\d+\.bin$/, test: /^test_batch\.bin$/ } as const;

/** The folder with the batch files: `path` itself, or `cifar-10-batches-bin` in it. */
async function batchFolder(path: string): Promise<string> {
  try {
    const inner = join(path, FOLDER);
    const names = await readdir(path);
    const own = names.some((name) => BATCH_FILES.train.test(name) || BATCH_FILES.test.test(name));
    return !own && names.includes(FOLDER) ? await realpath(inner) : path;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") {
      throw new SecateurError(
        "file-missing",
        `Expected a folder with CIFAR-10's binary files at ${path}, but there is no such folder; ` +
          `check the path, or name the data cifar10:download to fetch them.`,
      );
    }
    throw new SecateurError("file-unreadable", `Cannot read ${path}: ${reasonOf(error)}.`);
  }
}

/** Pictures in a batch file. */
async function recordsIn(path: string): Promise<number> {
  const { size } = await stat(path);
  if (size === 0 || size % RECORD !== 0) {
    throw new SecateurError(
      "format-corrupt",
      `Expected whole records of ${RECORD} bytes in ${path}, but its ${size} bytes are ` +
        `${Math.floor(size / RECORD)} records and ${size % RECORD} bytes; fetch the file again.`,
    );
  }
  return size / RECORD;
}

/** Copies one record's planes into interleaved pixels at `to`. */
function interleave(record: Uint8Array, pixels: Uint8Array, to: number): void {
  for (let i = 0, o = to; i < PLANE; i++, o += 3) {
    pixels[o] = record[1 + i];
    pixels[o + 1] = record[1 + PLANE + i];
    pixels[o + 2] = record[1 + 2 * PLANE + i];
  }
}

/** Reads `count` records of one file into place `start` of the data set. */
async function readRecords(
  file: FileHandle,
  path: string,
  count: number,
  start: number,
  pixels: Uint8Array,
  labels: Int32Array,
): Promise<void> {
  const chunk = new Uint8Array(RECORDS_PER_READ * RECORD);
  for (let first = 0; first < count; first += RECORDS_PER_READ) {
    const records = Math.min(RECORDS_PER_READ, count - first);
    const { bytesRead } = await file.read(chunk, 0, records * RECORD, first * RECORD);
    if (bytesRead < records * RECORD) {
      throw new SecateurError("file-unreadable", `${path} became shorter while it was read.`);
    }
    for (let i = 0; i < records; i++) {
      const record = chunk.subarray(i * RECORD, (i + 1) * RECORD);
      if (record[0] >= CLASSES.length) {
        throw new SecateurError(
          "format-corrupt",
          `Expected labels 0 to 9 in ${path}, but record ${first + i} has label ${record[0]}; ` +
            `the file is damaged or is not CIFAR-10.`,
        );
      }
      labels[start + first + i] = record[0];
      interleave(record, pixels, (start + first + i) * 3 * PLANE);
    }
  }
}

/**
 * Reads a split of CIFAR-10: `data_batch_*.bin` in order of name, or `test_batch.bin`, with any
 * number of records. `path` is the folder that holds them, or its parent.
 * @throws SecateurError `file-missing`, `file-unreadable`, `data-empty` or `format-corrupt`.
 */
export async function readCifar10(path: string, split: "train" | "test"): Promise<Dataset> {
  const folder = await batchFolder(path);
  const names = (await readdir(folder)).filter((name) => BATCH_FILES[split].test(name)).sort();
  if (names.length === 0) {
    throw new SecateurError(
      "data-empty",
      `Expected ${split === "train" ? "data_batch_1.bin and so on" : "test_batch.bin"} in ` +
        `${folder}, but there is none; it should hold CIFAR-10's binary version.`,
    );
  }
  const files = names.map((name) => join(folder, name));
  const counts = await Promise.all(files.map(recordsIn));
  const count = counts.reduce((sum, records) => sum + records, 0);
  const name = `cifar10 ${split}`;
  const pixels = allocatePixels(count, SIDE, SIDE, name);
  const labels = new Int32Array(count);
  let start = 0;
  for (const [i, path] of files.entries()) {
    const file = await open(path, "r").catch((error) => {
      throw new SecateurError("file-unreadable", `Cannot read ${path}: ${reasonOf(error)}.`);
    });
    try {
      await readRecords(file, path, counts[i], start, pixels, labels);
    } finally {
      await file.close();
    }
    start += counts[i];
  }
  return { name, height: SIDE, width: SIDE, channels: 3, count, pixels, labels, classes: CLASSES };
}
