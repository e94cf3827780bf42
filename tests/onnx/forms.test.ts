/** Files of other layouts, types and open extents: read, and written in the form that they had. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { afterAll, describe, expect, it } from "vitest";
import { readSource } from "../../src/commands/inputs/model.ts";
import { fromHalf, toHalf } from "../../src/formats/dtype.ts";
import { ModelProtoSchema } from "../../src/formats/onnx/proto/onnx_pb.ts";
import { parseOnnx } from "../../src/formats/onnx/read/read.ts";
import { runInOnnxRuntime } from "../../src/formats/onnx/runtime.ts";
import { writeOnnx } from "../../src/formats/onnx/export/write.ts";
import { writeCheckedOnnx } from "../../src/pruning/export.ts";
import { RandomStream } from "../../src/random.ts";
import { dataFolder } from "../support/data.ts";
import { randomImages, toNhwc } from "../support/interpreted.ts";
import { built, type BuiltModel, floats, halves, integers, node } from "../support/onnx/build.ts";
import { largestDifference, runOracle } from "../support/onnx/files.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-forms-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What onnxruntime makes of pictures in the type and layout that a file declares. */
async function theirs(
  bytes: Uint8Array,
  type: "float32" | "uint8",
  data: ArrayLike<number>,
  dims: readonly number[],
): Promise<Float32Array> {
  const session = await InferenceSession.create(bytes, { logSeverityLevel: 3 });
  try {
    const typed = type === "float32"
      ? new Tensor(type, Float32Array.from(data), [...dims])
      : new Tensor(type, Uint8Array.from(data), [...dims]);
    const results = await session.run({ [session.inputNames[0]]: typed });
    return Float32Array.from(results[session.outputNames[0]].data as Float32Array);
  } finally {
    await session.release();
  }
}

/** Reads a model, writes it again, and compares both with what is computed here. */
async function roundTrip(
  model: BuiltModel | Uint8Array,
  type: "float32" | "uint8",
  tolerance = 1e-5,
) {
  const bytes = model instanceof Uint8Array ? model : built(model);
  const { graph, notes } = parseOnnx(bytes, "x.onnx");
  const random = new RandomStream(4, "forms");
  const images = type === "uint8"
    ? randomImages(graph, 2, random).map((image) => image.map(() => random.integer(256)))
    : randomImages(graph, 2, random).map((image) => image.map((value) => fromHalf(toHalf(value))));
  const last = toNhwc(images, graph.input.shape);
  const [c, h, w] = graph.input.shape;
  const turned = notes.form.inputLast === true;
  const given = turned ? last : images.flatMap((image) => [...image]);
  const found = await theirs(bytes, type, given, turned ? [2, h, w, c] : [2, c, h, w]);
  const ours = runOracle(graph, images);
  const scale = Math.max(1, ...ours.map(Math.abs));
  if (notes.form.activation === undefined && notes.form.outputLast !== true) {
    expect(largestDifference(ours, found)).toBeLessThan(tolerance * scale);
  }
  const path = join(folder, "written.onnx");
  // Only classifiers can be run here, and so checked.
  const classifier = notes.form.outputLast !== true;
  const check = classifier
    ? await writeCheckedOnnx(path, graph, { form: notes.form })
    : await writeOnnx(path, graph, { form: notes.form });
  const again = await runInOnnxRuntime(
    readFileSync(path),
    Float32Array.from(last),
    graph.input.shape,
    notes.form,
  );
  expect(largestDifference(again, found)).toBeLessThan(tolerance * scale);
  expect(parseOnnx(readFileSync(path), "again").notes.form).toEqual(notes.form);
  const written = fromBinary(ModelProtoSchema, readFileSync(path)).graph!;
  return { graph, notes, check, written };
}

describe("channels last", () => {
  const turn = node("Transpose", ["x"], "t", { perm: [0, 3, 1, 2] });
  const conv = node("Conv", ["t", "w"], "c", { pads: [1, 1, 1, 1] });
  const back = node("Transpose", ["c"], "b", { perm: [0, 2, 3, 1] });
  const tensors = [floats("w", [5, 3, 3, 3]), floats("d", [6 * 8 * 5, 4]), floats("e", [4])];
  const input = ["N", 6, 8, 3];

  it("comes in and goes out so, as tf2onnx writes a segmentation", async () => {
    const nodes = [turn, conv, back, node("Relu", ["b"], "y")];
    const { graph, notes, written } = await roundTrip({ nodes, tensors, input }, "float32");
    expect(graph.input.shape).toEqual([3, 6, 8]);
    expect(notes.form).toEqual({ inputLast: true, outputLast: true });
    expect(written.node.map(({ opType }) => opType)).toEqual([
      "Transpose",
      "Conv",
      "Relu",
      "Transpose",
    ]);
    expect([written.input[0].name, written.output[0].name]).toEqual(["x", "y"]);
  });

  it("is flattened by a dense layer, as Keras writes a classifier", async () => {
    const nodes = [
      node("Mul", ["x", "scale"], "s"),
      { ...turn, input: ["s"] },
      conv,
      node("Relu", ["c"], "r"),
      { ...back, input: ["r"] },
      node("Reshape", ["b", "flat"], "f"),
      node("MatMul", ["f", "d"], "m"),
      node("Add", ["m", "e"], "a"),
      node("Softmax", ["a"], "y", { axis: -1 }),
    ];
    const more = [floats("scale", [3], [0.5, 1, 2]), integers("flat", [-1, 240])];
    const model = { nodes, tensors: [...tensors, ...more], input };
    const { graph, notes } = await roundTrip(model, "float32");
    expect(notes.form).toMatchObject({ inputLast: true, activation: { op: "Softmax" } });
    expect(graph.nodes.at(-1)).toMatchObject({ op: "linear" });
    const gemm = [
      ...nodes.slice(0, 5),
      node("Flatten", ["b"], "f"),
      node("Relu", ["f"], "q"),
      node("Gemm", ["q", "d", "e"], "y"),
    ];
    await roundTrip({ ...model, nodes: gemm }, "float32");
    // A constant for each feature would have to be turned as well.
    const moved = [...gemm.slice(0, 6), node("Add", ["f", "each"], "q"), gemm[7]];
    const each = floats("each", [240]);
    expect(() =>
      parseOnnx(built({ ...model, nodes: moved, tensors: [...model.tensors, each] }), "x")
    )
      .toThrow(/"Add_q"/);
  });

  it.skipIf(dataFolder() === undefined)("of files that people ship", async () => {
    for (const path of ["faults/nhwc.onnx", "models/cifar10_medium.onnx"]) {
      await roundTrip(readFileSync(join(dataFolder()!, path)), "float32", 1e-4);
    }
  });
});

describe("bytes as pictures", () => {
  it("are scaled by the model itself, and stay bytes in what is written", async () => {
    const nodes = [
      node("Cast", ["x"], "f", { to: 1 }),
      node("Div", ["f", "most"], "u"),
      node("Sub", ["u", "mean"], "n"),
      node("Conv", ["n", "w"], "c"),
      node("GlobalAveragePool", ["c"], "p"),
      node("Flatten", ["p"], "y"),
    ];
    const tensors = [
      floats("most", [], [255]),
      floats("mean", [1, 3, 1, 1], [0.4, 0.5, 0.6]),
      floats("w", [4, 3, 3, 3]),
    ];
    const model = { nodes, tensors, types: { input: 2 } };
    const { notes, written } = await roundTrip(model, "uint8");
    expect(notes.form).toEqual({ input: "u8" });
    expect(written.node[0].opType).toBe("Cast");
    const path = join(folder, "bytes.onnx");
    writeFileSync(path, built(model));
    const { contract } = await readSource({ weights: path }, { text() {} });
    expect(contract).toMatchObject({ mean: [0, 0, 0], std: [1 / 255, 1 / 255, 1 / 255] });
  });
});

describe("f16", () => {
  const layers = (input: string, output: string) => [
    node("Conv", [input, "w", "b"], "c", { pads: [1, 1, 1, 1] }),
    node("Clip", ["c", "low"], "k"),
    node("GlobalAveragePool", ["k"], "p"),
    node("Flatten", ["p"], "f"),
    node("Gemm", ["f", "fc"], output),
  ];
  const tensors = [
    halves("w", [5, 3, 3, 3]),
    halves("b", [5]),
    halves("fc", [5, 4]),
    { name: "low", dataType: 10, dims: [], rawData: Uint8Array.of(0, 0) },
  ];

  it("goes in and comes out", async () => {
    const model = { nodes: layers("x", "y"), tensors, types: { input: 10, output: 10 } };
    const { graph, notes } = parseOnnx(built(model), "x.onnx");
    expect(notes.form).toEqual({ input: "f16", output: "f16", half: true });
    const path = join(folder, "half.onnx");
    const { difference } = await writeCheckedOnnx(path, graph, { form: notes.form });
    expect(difference).toBeLessThan(5e-3);
    const { graph: written } = fromBinary(ModelProtoSchema, readFileSync(path));
    const types = [...written!.input, ...written!.output, ...written!.valueInfo].map(({ type }) =>
      type!.value.case === "tensorType" ? type!.value.value.elemType : 0
    );
    expect(new Set(types)).toEqual(new Set([10]));
    expect(new Set(written!.initializer.map(({ dataType }) => dataType))).toEqual(new Set([10]));
    // Exact numbers of f16 stay the same bits.
    const weights = written!.initializer.find(({ name }) => name === "w")!;
    expect([...weights.rawData]).toEqual([...halves("w", [5, 3, 3, 3]).rawData!]);
    const large = { ...graph.parameters.get("w")!, data: new Float32Array(135).fill(1e5) };
    const beyond = { ...graph, parameters: new Map(graph.parameters).set("w", large) };
    await expect(writeCheckedOnnx(path, beyond, { form: notes.form }))
      .rejects.toThrow(/weights that f16 holds, up to 65504/);
  });

  it("is what lies between f32 pictures and f32 answers", async () => {
    const nodes = [
      node("Cast", ["x"], "h", { to: 10 }),
      ...layers("h", "g"),
      node("Cast", ["g"], "y", { to: 1 }),
    ];
    const { notes, written, check } = await roundTrip({ nodes, tensors }, "float32", 5e-3);
    expect(notes.form).toEqual({ half: true });
    expect(check?.tolerance).toBe(2e-2);
    expect(written.node.map(({ opType }) => opType).filter((op) => op === "Cast").length).toBe(2);
  });

  it.skipIf(dataFolder() === undefined)("of the file that keeps its input and output", async () => {
    await roundTrip(readFileSync(join(dataFolder()!, "faults/keep_io.onnx")), "float32", 5e-3);
  });

  it("rounds as the standard says, in both directions", () => {
    for (let bits = 0; bits < 0x7c00; bits++) {
      const value = fromHalf(bits), next = fromHalf(bits + 1);
      expect(toHalf(value)).toBe(bits);
      expect(toHalf(-value)).toBe(bits | 0x8000);
      if (bits === 0x7bff) continue;
      const middle = (value + next) / 2;
      expect(toHalf(middle)).toBe(bits % 2 === 0 ? bits : bits + 1);
      expect(toHalf(Math.fround(middle * (1 + 2 ** -22)))).toBe(bits + 1);
    }
    expect([65519, 65520, -1e9, NaN].map(toHalf)).toEqual([0x7bff, 0x7c00, 0xfc00, 0x7e00]);
  });
});

describe("open extents", () => {
  const nodes = [
    node("Conv", ["x", "w"], "c", { strides: [2, 2] }),
    node("GlobalAveragePool", ["c"], "p"),
    node("Flatten", ["p"], "y"),
  ];
  const tensors = [floats("w", [4, 3, 3, 3])];
  const write = (name: string, input: readonly (number | string)[], first = nodes) => {
    writeFileSync(join(folder, name), built({ nodes: first, tensors, input }));
    return join(folder, name);
  };
  const shapeOf = async (values: Parameters<typeof readSource>[0]) => {
    const source = await readSource(values, { text() {} });
    return "graph" in source ? source.graph.input.shape : undefined;
  };

  it("are what is asked for, or else what pictures are cropped or scaled to", async () => {
    const weights = write("open.onnx", ["N", 3, "H", "W"]);
    expect(await shapeOf({ weights, inputShape: [3, 20, 30] })).toEqual([3, 20, 30]);
    expect(await shapeOf({ weights, inputShape: [3, 20, 30], crop: 16 })).toEqual([3, 20, 30]);
    expect(await shapeOf({ weights, crop: 16, resize: 24 })).toEqual([3, 16, 16]);
    expect(await shapeOf({ weights, resize: 24 })).toEqual([3, 24, 24]);
    await expect(shapeOf({ weights })).rejects.toThrow(/with --input-shape CHANNELSxHEIGHTxWIDTH/);
    const last = [{ ...node("Transpose", ["x"], "t", { perm: [0, 3, 1, 2] }) }, {
      ...nodes[0],
      input: ["t", "w"],
    }, ...nodes.slice(1)];
    const turned = write("last.onnx", ["N", "H", "W", 3], last);
    expect(await shapeOf({ weights: turned, inputShape: [3, 20, 30] })).toEqual([3, 20, 30]);
  });

  it("leave those alone that the file fixes", async () => {
    const weights = write("fixed.onnx", ["N", 3, 12, 14]);
    expect(await shapeOf({ weights, crop: 16 })).toEqual([3, 12, 14]);
    await expect(shapeOf({ weights, inputShape: [3, 16, 16] }))
      .rejects.toThrow(/is "3x12x14", not 3x16x16 as asked; leave the shape out/);
    await expect(shapeOf({ weights: "w.pt", model: "resnet20", inputShape: [3, 16, 16] }))
      .rejects.toThrow(/^Expected --input-shape beside an ONNX file that leaves extents open/);
  });
});
