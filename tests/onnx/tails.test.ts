/** Files whose last part is not read: their bodies, and what is kept behind them. */

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { formMetadata, storedForm } from "../../src/formats/onnx/form_metadata.ts";
import { encodeOnnx } from "../../src/formats/onnx/export/export.ts";
import type { Imported } from "../../src/formats/onnx/import/import.ts";
import { parseOnnx, readOnnx } from "../../src/formats/onnx/read/read.ts";
import { fileInput, runModel } from "../../src/formats/onnx/runtime.ts";
import { tailMacs } from "../../src/formats/onnx/tail/macs.ts";
import { prunableGroups } from "../../src/graph/channels.ts";
import { costOf } from "../../src/graph/cost.ts";
import { cutGraph } from "../../src/graph/cut.ts";
import { writeCheckedOnnx } from "../../src/pruning/export.ts";
import { RandomStream } from "../../src/random.ts";
import { elementCount } from "../../src/tensor.ts";
import { dataFolder } from "../support/data.ts";
import { randomRemovals } from "../support/graphs/removals.ts";
import {
  built,
  type BuiltModel,
  type BuiltNode,
  floats,
  integers,
  node,
} from "../support/onnx/build.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-tails-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const conv = (from: string, to: string, weight: string) =>
  node("Conv", [from, weight], to, { pads: [1, 1, 1, 1] });

/** Two convolutions, of which the first can lose channels: x -> features [N, 6, 8, 8]. */
const BODY: readonly BuiltNode[] = [
  conv("x", "c1", "w1"),
  node("Relu", ["c1"], "r1"),
  conv("r1", "features", "w2"),
];
const WEIGHTS = [floats("w1", [8, 3, 3, 3]), floats("w2", [6, 8, 3, 3])];

function model(nodes: readonly BuiltNode[], more: Partial<BuiltModel> = {}): Uint8Array {
  const { tensors = [], ...rest } = more;
  return built({
    input: [1, 3, 8, 8],
    ...rest,
    nodes: [...BODY, ...nodes],
    tensors: [...WEIGHTS, ...tensors],
  });
}

/** What a file and what is written of its graph differ by, over the largest of each output. */
async function disagreement(bytes: Uint8Array | string, imported: Imported): Promise<number> {
  const { graph, notes: { form } } = imported;
  const images = typeof form.tail?.batch === "number" ? form.tail.batch : 2;
  const pictures = new Float32Array(images * elementCount(graph.input.shape));
  new RandomStream(1, graph.name).fillNormal(pictures, 1);
  const input = fileInput(pictures, graph.input.shape, form);
  const wanted = await runModel(bytes, input);
  const found = await runModel(encodeOnnx(graph, { form }), input);
  expect([...found.keys()]).toEqual([...wanted.keys()]);
  return Math.max(
    ...[...wanted].map(([name, { data, dims }]) => {
      const other = found.get(name)!;
      expect(other.dims).toEqual(dims);
      const scale = data!.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9);
      return data!.reduce((most, value, i) => Math.max(most, Math.abs(value - other.data![i])), 0) /
        scale;
    }),
  );
}

interface Case {
  readonly what: string;
  readonly bytes: () => Uint8Array;
  /** The outputs of the body. */
  readonly ends: readonly string[];
  /** Operators of the tail, each once. */
  readonly operators: readonly string[];
}

const CASES: readonly Case[] = [
  {
    what: "boxes of several scales as one list",
    bytes: () =>
      model([
        node("Transpose", ["features"], "turned", { perm: [0, 2, 3, 1] }),
        node("Reshape", ["turned", "rows"], "listed"),
        node("Exp", ["listed"], "y"),
      ], { tensors: [integers("rows", [1, -1, 2])] }),
    ends: ["features"],
    operators: ["Transpose", "Reshape", "Exp"],
  },
  {
    what: "a batch left open, of which the shape is asked",
    bytes: () =>
      model([
        node("Shape", ["features"], "shape"),
        node("Gather", ["shape", "first"], "images"),
        node("Concat", ["images", "rest"], "target", { axis: 0 }),
        node("Reshape", ["features", "target"], "y"),
      ], {
        input: ["N", 3, 8, 8],
        tensors: [integers("first", [0]), integers("rest", [3, 2, -1])],
      }),
    ends: ["features"],
    operators: ["Shape", "Gather", "Concat", "Reshape"],
  },
  {
    what: "several outputs, one of them on the way to another and one twice",
    bytes: () =>
      model([node("Sigmoid", ["features"], "y"), node("Identity", ["y"], "again")], {
        outputs: ["y", "features", "again"],
      }),
    ends: ["y", "features"],
    operators: ["Identity"],
  },
  {
    what: "a value that is also scaled, which the scaling must not touch",
    bytes: () =>
      model([
        node("Mul", ["features", "two"], "doubled"),
        node("Erf", ["features"], "erf"),
        node("Add", ["doubled", "erf"], "y"),
      ], { tensors: [floats("two", [], [2])] }),
    ends: ["features", "doubled"],
    operators: ["Erf", "Add"],
  },
  {
    what: "a scaling that became part of the convolution before it",
    bytes: () =>
      model([
        node("Mul", ["features", "two"], "doubled"),
        node("Erf", ["doubled"], "y"),
      ], { tensors: [floats("two", [], [2])] }),
    ends: ["features"],
    operators: ["Erf"],
  },
  {
    what: "a log-softmax in the middle",
    bytes: () =>
      model([
        node("LogSoftmax", ["features"], "logs", { axis: 1 }),
        node("Relu", ["logs"], "y"),
      ]),
    ends: ["features"],
    operators: ["LogSoftmax", "Relu"],
  },
  {
    what: "the pictures, read again at the end",
    bytes: () =>
      model([
        node("Erf", ["features"], "e"),
        node("Concat", ["e", "x"], "y", { axis: 1 }),
      ]),
    ends: ["features"],
    operators: ["Erf", "Concat"],
  },
  {
    what: "convolutions behind an operator that is not known",
    bytes: () =>
      model([node("Erf", ["features"], "e"), conv("e", "y", "w3")], {
        tensors: [floats("w3", [4, 6, 3, 3])],
      }),
    ends: ["features"],
    operators: ["Erf", "Conv"],
  },
];

describe("files with more behind their body", () => {
  it.each(CASES)(
    "are read, and written as they were: $what",
    async ({ bytes, ends, operators }) => {
      const imported = parseOnnx(bytes(), "x.onnx");
      const { graph, notes } = imported;
      expect(graph.outputs).toEqual(ends);
      const kept = notes.form.tail!.nodes.map(({ opType }) => opType);
      expect([...new Set(kept)]).toEqual(operators);
      expect(prunableGroups(graph, "all").length).toBeGreaterThan(0);
      expect(await disagreement(bytes(), imported)).toBeLessThan(1e-5);
    },
  );

  it.each(CASES)("are pruned and agree with onnxruntime: $what", async ({ bytes }) => {
    const { graph, notes } = parseOnnx(bytes(), "x.onnx");
    const random = new RandomStream(3, "tails");
    const cut = cutGraph(graph, randomRemovals(prunableGroups(graph, "all"), random));
    expect(costOf(cut).macs).toBeLessThan(costOf(graph).macs);
    const check = await writeCheckedOnnx(join(folder, "cut.onnx"), cut, { form: notes.form });
    expect(check.difference).toBeLessThan(1e-4);
    // What was written is read as what it is.
    const again = await readOnnx(join(folder, "cut.onnx"));
    expect(costOf(again.graph).macs).toBe(costOf(cut).macs);
  });

  it("keep what lies behind in secateur's own files", async () => {
    for (const { bytes } of CASES) {
      const { graph, notes: { form, ...notes } } = parseOnnx(bytes(), "x.onnx");
      const text = formMetadata(form)["secateur.form"];
      const again = { graph, notes: { ...notes, form: storedForm(text, "x") } };
      expect(await disagreement(bytes(), again)).toBeLessThan(1e-5);
    }
    expect(() => storedForm(`{"tail":{"graph":"%"}}`, "x.safetensors")).toThrow("x.safetensors");
  });

  it("have older operators written as newer ones", async () => {
    const nodes = [
      node("Erf", ["features"], "e"),
      node("Slice", ["e"], "part", { axes: [1, 2], starts: [1, 0], ends: [2147483647, 7] }),
      node("Clip", ["part"], "clipped", { min: { float: -0.5 }, max: { float: 0.25 } }),
      node("Pad", ["clipped"], "padded", { pads: [0, 0, 1, 0, 0, 0, 0, 2], value: { float: 3 } }),
      node("Unsqueeze", ["padded"], "deeper", { axes: [1] }),
      node("Squeeze", ["deeper"], "flatter", { axes: [1] }),
      node("Softmax", ["flatter"], "shares", { axis: 2 }),
      node("Upsample", ["shares", "scales"], "larger", { mode: "nearest" }),
      node("Split", ["larger"], ["left", "right"], { axis: 3, split: [13, 7] }),
      node("ReduceSum", ["left"], "sums", { axes: [2], keepdims: 0 }),
      node("TopK", ["sums"], ["y", "places"], { axis: 1, k: 2 }),
    ];
    const bytes = model(nodes, { opset: 9, tensors: [floats("scales", [4], [1, 1, 2, 2])] });
    const imported = parseOnnx(bytes, "x.onnx");
    expect(imported.notes.form.tail!.opset).toBe(13);
    expect(await disagreement(bytes, imported)).toBeLessThan(1e-5);
  });

  it("are refused where nothing of the body can be pruned, naming what is in the way", () => {
    const nodes = [node("Erf", ["x"], "e"), conv("e", "y", "w1")];
    const bytes = built({ input: [1, 3, 8, 8], nodes, tensors: WEIGHTS.slice(0, 1) });
    expect(() => parseOnnx(bytes, "x.onnx")).toThrow(`"Erf_e" (Erf)`);
  });

  it("say what is in the way, and what of the cost it holds", async () => {
    const { bytes } = CASES.at(-1)!;
    const { graph, notes } = parseOnnx(bytes(), "x.onnx");
    expect(notes.behind).toEqual({
      nodes: 2,
      operators: ["Erf", "Conv"],
      inTheWay: [`"Erf_e" (Erf)`],
    });
    expect(await tailMacs(graph, notes.form)).toBe(8 * 8 * 4 * 6 * 9);
    expect(costOf(graph).macs).toBe(8 * 8 * 9 * (8 * 3 + 6 * 8));
  });

  it("may take more than pictures", async () => {
    const nodes = [node("Mul", ["features", "scale"], "scaled"), node("Erf", ["scaled"], "y")];
    const bytes = model(nodes, { inputs: [{ name: "scale", shape: [1, 1] }] });
    const imported = parseOnnx(bytes, "x.onnx");
    expect(imported.notes.form.tail!.inputs.map(({ name }) => name)).toEqual(["scale"]);
    expect(await disagreement(bytes, imported)).toBeLessThan(1e-5);
  });
});

const models = dataFolder() === undefined ? undefined : join(dataFolder()!, "models");

/** Detectors, and the size of pictures for those that leave it open. */
const SHIPPED: readonly (readonly [name: string, outputs: number, shape?: readonly number[]])[] = [
  ["nanodet_m-coco", 6],
  ["ultraface-version-RFB-320", 8],
  ["yunet_n_dynamic", 12, [3, 96, 128]],
  ["super_resolution-pytorch", 1],
];

describe.skipIf(models === undefined || !existsSync(models))(
  "detectors as people ship them",
  () => {
    it.each(SHIPPED)("%s", async (name, outputs, shape) => {
      const path = join(models!, `${name}.onnx`);
      const imported = await readOnnx(path, shape === undefined ? {} : { shape });
      expect(imported.graph.outputs.length).toBe(outputs);
      expect(await disagreement(path, imported)).toBeLessThan(1e-4);
    });
  },
);
