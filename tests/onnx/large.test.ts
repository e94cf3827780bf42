/** Models whose weights do not fit into one file, and files at the size where that begins. */

import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SecateurError } from "../../src/errors.ts";
import { encodeOnnx } from "../../src/formats/onnx/export/export.ts";
import { readOnnx } from "../../src/formats/onnx/read/read.ts";
import { writeOnnx } from "../../src/formats/onnx/export/write.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { createModel } from "../../src/models/models.ts";
import { writeCheckedOnnx } from "../../src/pruning/export.ts";
import { RandomStream } from "../../src/random.ts";
import { randomImages } from "../support/interpreted.ts";
import { largestDifference, runOnnx, runOracle, sameParameters } from "../support/onnx/files.ts";

const small = (classes: number) => createModel("resnet8", { classes, shape: [3, 8, 8] });
/** As if one file could hold no more. */
const largestInside = 5000;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "secateur-onnx-large-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A path in a folder of its own. */
function place(name: string): { path: string; files: () => string[] } {
  const own = join(folder, name);
  mkdirSync(own);
  return { path: join(own, "a.onnx"), files: () => readdirSync(own).sort() };
}

describe("weights beside the model", () => {
  it("read back the same, and onnxruntime computes the same with them", async () => {
    const { path, files } = place("beside");
    const graph = small(4);
    const { difference, tolerance } = await writeCheckedOnnx(path, graph, { largestInside });
    expect(difference).toBeLessThan(tolerance);
    expect(files()).toEqual(["a.onnx", "a.onnx.data"]);
    const again = (await readOnnx(path)).graph;
    expect(again.nodes).toEqual(graph.nodes);
    expect(sameParameters(again, graph)).toBe(true);
    expect(statSync(path).size).toBeLessThan(encodeOnnx(graph).length / 5);
    const images = randomImages(graph, 2, new RandomStream(1, "beside"));
    expect(largestDifference(
      runOracle(graph, images),
      await runOnnx(path, images, graph.input.shape),
    )).toBeLessThan(1e-4);
  });

  it("stay inside up to the limit", async () => {
    const { path, files } = place("inside");
    await writeOnnx(path, small(4), { largestInside: 2 ** 30 });
    expect(files()).toEqual(["a.onnx"]);
  });

  it("replace an older model, with or without weights of its own", async () => {
    const { path, files } = place("replaced");
    await writeOnnx(path, small(2));
    for (const classes of [3, 5]) {
      await writeOnnx(path, small(classes), { largestInside });
      expect(files()).toEqual(["a.onnx", "a.onnx.data"]);
      expect(sameParameters((await readOnnx(path)).graph, small(classes))).toBe(true);
    }
  });

  it("leave nothing behind when the check or the writing fails", async () => {
    const { path, files } = place("failed");
    const graph = small(4);
    const parameters = new Map(graph.parameters);
    const { shape, data } = parameters.get("linear.bias")!;
    parameters.set("linear.bias", { shape, data: Float32Array.from(data).fill(NaN) });
    const broken: Graph = { ...graph, parameters };
    await expect(writeCheckedOnnx(path, broken, { largestInside }))
      .rejects.toBeInstanceOf(SecateurError);
    expect(files()).toEqual([]);
    mkdirSync(path);
    await expect(writeOnnx(path, graph, { largestInside }))
      .rejects.toMatchObject({ code: "file-unwritable" });
    expect(files()).toEqual(["a.onnx"]);
    await expect(writeOnnx(join(path, "none", "b.onnx"), graph, { largestInside }))
      .rejects.toMatchObject({ code: "file-unwritable" });
    expect(readdirSync(path)).toEqual([]);
  });

  it("are missed when they are gone or cut short", async () => {
    const { path } = place("gone");
    await writeOnnx(path, small(4), { largestInside });
    truncateSync(`${path}.data`, 100_000);
    await expect(readOnnx(path)).rejects.toMatchObject({ code: "format-corrupt" });
    rmSync(`${path}.data`);
    await expect(readOnnx(path)).rejects.toMatchObject({ code: "file-missing" });
  });
});

describe("files at the boundary of 2 GiB", () => {
  it("are refused with a sentence, without being read", async () => {
    const { path } = place("boundary");
    await writeOnnx(path, small(2));
    // A hole in the file takes no space.
    for (const size of [2 ** 31 - 1, 2 ** 31]) {
      truncateSync(path, size);
      const refusal = await readOnnx(path).catch((thrown) => thrown);
      expect(refusal, `${size} bytes`).toMatchObject({
        code: size < 2 ** 31 ? "format-corrupt" : "file-unreadable",
      });
      expect(refusal.message.split("\n").length).toBe(1);
    }
    expect((await readOnnx(path).catch((thrown) => thrown)).message).toContain("external data");
  });
});
