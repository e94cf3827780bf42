/**
 * Prints the peak resident size of three training steps, less the resident size with pictures and
 * weights in memory but before anything was compiled. Arguments: name of the network, images a
 * step, threads, dtype.
 */

import { readFileSync } from "node:fs";
import process from "node:process";
import { loadAddon } from "../../src/native/binding.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import { createModel } from "../../src/models/models.ts";
import { CLASSES, labelsInTurn, noisePictures, precisions } from "../benchmarks/network.ts";
import { HYPER, stepRequest } from "../benchmarks/step.ts";

/** A figure of the kernel's about this process, in bytes. */
function kernelFigure(name: "VmRSS" | "VmHWM"): number {
  const status = readFileSync("/proc/self/status", "utf8");
  return Number(new RegExp(`${name}:\\s*(\\d+) kB`).exec(status)![1]) * 1024;
}

const [network, images, threads, dtype] = process.argv.slice(2);
loadAddon();
const graph = createModel(network, { classes: CLASSES });
const pictures = noisePictures(graph, Number(images));
const labels = labelsInTurn(Number(images));
const before = kernelFigure("VmRSS");
using model = LoadedModel.open(graph, [stepRequest(Number(images))], {
  threads: Number(threads),
  dtype: precisions().find((one) => one.dtype === dtype)!.dtype,
});
const { feeds, loss } = model.entry("step");
for (let step = 0; step < 3; step++) {
  await model.run("step", {
    feeds: { [feeds.images!]: pictures, [feeds.labels!]: labels, [feeds.hyper!]: HYPER },
    fetch: [loss!],
  });
}
process.stdout.write(`${JSON.stringify({ bytes: kernelFigure("VmHWM") - before })}\n`);
