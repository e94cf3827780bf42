/** The files that tests of the command line name: data sets, models, and what is wrong with some. */

import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { writeModel } from "../../src/formats/model_file.ts";
import { writeOnnx } from "../../src/formats/onnx/export/write.ts";
import { writeSafetensors } from "../../src/formats/safetensors.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { GraphBuilder } from "../../src/models/builder.ts";
import { createModel } from "../../src/models/models.ts";
import { writeSmallCifar } from "./small_data.ts";

const fixtures = fileURLToPath(new URL("../fixtures/formats/", import.meta.url));

/** An image folder: two classes of two pictures each in both splits. */
async function writePictures(folder: string, name: string, unreadable: boolean): Promise<void> {
  for (const split of ["train", "test"]) {
    for (const [label, level] of [["dark", 40], ["light", 210]] as const) {
      const place = join(folder, name, split, label);
      mkdirSync(place, { recursive: true });
      for (const i of [0, 1]) {
        const background = { r: level, g: level + 9 * i, b: level };
        const picture = sharp({ create: { width: 32, height: 32, channels: 3, background } });
        writeFileSync(join(place, `${i}.png`), await picture.png().toBuffer());
      }
    }
  }
  if (unreadable) writeFileSync(join(folder, name, "test", "dark", "broken.png"), "not a picture");
}

/** One convolution as exporters leave it whose batch norm they folded: its bias has no name. */
function foldedNetwork(): Graph {
  const builder = new GraphBuilder("folded", [3, 32, 32], 0);
  const made = builder.convolution("conv1", builder.input, { out: 4, kernel: 3, bias: true });
  const pooled = builder.globalAveragePool("pool", builder.relu("relu1", made));
  const graph = builder.finish(builder.linear("linear", builder.flatten("flatten", pooled), 10));
  const parameters = new Map(graph.parameters).set("onnx::Conv_1", {
    shape: [4],
    data: new Float32Array(4),
  });
  parameters.delete("conv1.bias");
  const nodes = graph.nodes.map((node) =>
    node.op === "convolution" ? { ...node, bias: "onnx::Conv_1" } : node
  );
  return { ...graph, nodes, parameters };
}

/** Writes all of them into a folder. */
export async function writeCommandFiles(folder: string): Promise<void> {
  const model = createModel("resnet8", { classes: 10 });
  const tensors = new Map(model.parameters);
  await writeModel(join(folder, "model.safetensors"), model);
  await writeModel(join(folder, "two.safetensors"), createModel("resnet8", { classes: 2 }));
  await writeSafetensors(join(folder, "weights.safetensors"), tensors);
  tensors.set("conv1.weight", { shape: [16, 3, 5, 5], data: new Float32Array(1200) });
  await writeSafetensors(join(folder, "shape.safetensors"), tensors);
  const bytes = readFileSync(join(folder, "weights.safetensors"));
  writeFileSync(join(folder, "truncated.safetensors"), bytes.subarray(0, bytes.length / 2));
  writeFileSync(join(folder, "text.txt"), "these are no weights");
  writeFileSync(join(folder, "cats.txt"), "tabby\nsiamese\n");
  const activation = { op: "Softmax", node: "prob", output: "p" } as const;
  await writeOnnx(join(folder, "model.onnx"), model, { form: { activation } });
  await writeOnnx(join(folder, "folded.onnx"), foldedNetwork());
  cpSync(join(fixtures, "hostile-os-system-zip.pt"), join(folder, "hostile.pt"));
  writeSmallCifar(join(folder, "cifar"), 200, 100);
  mkdirSync(join(folder, "empty", "test"), { recursive: true });
  mkdirSync(join(folder, "empty", "train"), { recursive: true });
  await writePictures(folder, "pictures", false);
  await writePictures(folder, "damaged", true);
}
