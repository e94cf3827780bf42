/**
 * Writes the recordings that cuda/check.sh runs on a machine with a GPU:
 *
 *     deno run -A tests/support/cuda/record.ts FOLDER [LARGEST]
 *
 * Examples of more than 40 KiB are left out: all of them would be 320 MiB. LARGEST leaves out those with
 * more products or elements too, and all networks but the smallest, for the emulator. Packed weights are
 * laid out as the emulator says, whose kernels are the GPU's.
 */

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { PRECISIONS } from "../../../src/program/precision.ts";
import { emulator } from "./emulator.ts";
import { exampleRecording, networkRecording } from "./recordings.ts";
import { SERVED, workOf } from "./examples.ts";

/** Of an example's recording: with the networks' they are less than 30 MB. */
const MOST_BYTES = 40 * 1024;

const NETWORKS = [
  { name: "resnet8", images: 5, side: 8, rate: 0.01 },
  { name: "resnet56", images: 8, side: 32, rate: 1e-4 },
];

const [folder, largest = "Infinity"] = process.argv.slice(2);
const most = Number(largest);
if (folder === undefined || !(most > 0)) {
  process.stderr.write("Expected: record.ts FOLDER [LARGEST], where LARGEST is a number.\n");
  process.exit(2);
}
mkdirSync(folder, { recursive: true });
let bytes = 0, count = 0;
const write = (name: string, recording: Uint8Array) => {
  bytes += recording.length;
  count++;
  writeFileSync(join(folder, `${name}.recording`), recording);
};
const chosen = SERVED.filter((example) => workOf(example) <= most);
chosen.forEach((example, i) => {
  const recording = exampleRecording(example, emulator());
  if (recording.length > MOST_BYTES) return;
  const name = example.name.replace(/[^\w+-]+/g, "_");
  write(`${String(i).padStart(4, "0")}-${name}`, recording);
});
const networks = most === Infinity ? NETWORKS : NETWORKS.slice(0, 1);
for (const network of networks) {
  for (const precision of PRECISIONS) {
    const recording = await networkRecording(network, precision, emulator());
    write(`${network.name}-${precision}`, recording);
  }
}
process.stdout.write(`${count} recordings, ${(bytes / 2 ** 20).toFixed(1)} MiB\n`);
