/** Every way in which a classifier's probabilities end it: taken off, put back, or refused. */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBinary } from "@bufbuild/protobuf";
import sharp from "sharp";
import { afterAll, describe, expect, it } from "vitest";
import { graphOf, readSource } from "../../src/commands/inputs/model.ts";
import { ModelProtoSchema } from "../../src/formats/onnx/proto/onnx_pb.ts";
import { parseOnnx } from "../../src/formats/onnx/read/read.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { createModel } from "../../src/models/models.ts";
import { withOwnAnswer, withTwoClasses } from "../../src/pruning/answer.ts";
import { writeCheckedOnnx } from "../../src/pruning/export.ts";
import { RandomStream } from "../../src/random.ts";
import { denoProgram, runCommand } from "../support/command_line.ts";
import { dataFolder } from "../support/data.ts";
import { randomImages } from "../support/interpreted.ts";
import { built, type BuiltNode, floats, integers, node } from "../support/onnx/build.ts";
import { largestDifference, runOnnx, runOracle } from "../support/onnx/files.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-answers-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const CLASSES = 4;
const tensors = [
  floats("w", [CLASSES, 3, 1, 1]),
  floats("fc", [CLASSES, CLASSES]),
  integers("flat", [0, -1]),
  integers("four", [0, CLASSES, 1, 1]),
  integers("area", [2, 3]),
];

const conv = [node("Conv", ["x", "w"], "c")];
const pooled = [...conv, node("GlobalAveragePool", ["c"], "p")];
const vector = [...pooled, node("Flatten", ["p"], "f"), node("Gemm", ["f", "fc"], "g")];

type Ending = readonly [
  what: string,
  nodes: readonly BuiltNode[],
  op: "Softmax" | "LogSoftmax" | "Sigmoid",
  opset?: number,
];

const ENDINGS: readonly Ending[] = [
  ["softmax of a vector", [...vector, node("Softmax", ["g"], "y", { axis: -1 })], "Softmax"],
  ["softmax at 1x1", [...pooled, node("Softmax", ["p"], "y", { axis: 1 })], "Softmax"],
  [
    "softmax at 1x1, opset 11",
    [...pooled, node("Softmax", ["p"], "y", { axis: 1 })],
    "Softmax",
    11,
  ],
  [
    "softmax before a flatten",
    [...pooled, node("Softmax", ["p"], "s", { axis: -3 }), node("Flatten", ["s"], "y")],
    "Softmax",
  ],
  [
    "softmax before reshapes",
    [
      ...pooled,
      node("Softmax", ["p"], "s", { axis: 1 }),
      node("Reshape", ["s", "flat"], "r"),
      node("Identity", ["r"], "y"),
    ],
    "Softmax",
  ],
  [
    "softmax of channels laid out last",
    [
      ...pooled,
      node("Transpose", ["p"], "t", { perm: [0, 2, 3, 1] }),
      node("Softmax", ["t"], "s", { axis: -1 }),
      node("Flatten", ["s"], "y"),
    ],
    "Softmax",
  ],
  [
    "softmax behind a reshape to 1x1",
    [...vector, node("Reshape", ["g", "four"], "r"), node("Softmax", ["r"], "y", { axis: 1 })],
    "Softmax",
  ],
  [
    "softmax whose end is dropped out",
    [...vector, node("Softmax", ["g"], "s", { axis: 1 }), node("Dropout", ["s"], "y")],
    "Softmax",
  ],
  ["log-softmax", [...vector, node("LogSoftmax", ["g"], "y", { axis: 1 })], "LogSoftmax"],
  [
    "log-softmax before a squeeze",
    [...pooled, node("LogSoftmax", ["p"], "s", { axis: 1 }), node("Squeeze", ["s", "area"], "y")],
    "LogSoftmax",
  ],
  ["sigmoids", [...vector, node("Sigmoid", ["g"], "y")], "Sigmoid"],
  [
    "sigmoids before a flatten",
    [...pooled, node("Sigmoid", ["p"], "s"), node("Flatten", ["s"], "y")],
    "Sigmoid",
  ],
];

describe("a classifier's probabilities", () => {
  it.each(ENDINGS)("%s: taken off, and back in what is written", async (what, nodes, op, opset) => {
    const bytes = built({ nodes, tensors, ...(opset === undefined ? {} : { opset }) });
    const { graph, notes } = parseOnnx(bytes, "x.onnx");
    expect(notes.form.activation).toMatchObject({ op, output: "y" });
    expect(graph.nodes.every((each) => each.op !== "softmax" && each.op !== "activation")).toBe(
      true,
    );
    const images = randomImages(graph, 3, new RandomStream(5, what));
    const logits = runOracle(graph, images);
    const sums = images.map((_, n) =>
      logits.slice(n * CLASSES, (n + 1) * CLASSES).reduce((sum, value) => sum + Math.exp(value), 0)
    );
    const expected = logits.map((value, i) =>
      op === "Sigmoid"
        ? 1 / (1 + Math.exp(-value))
        : op === "LogSoftmax"
        ? value - Math.log(sums[Math.floor(i / CLASSES)])
        : Math.exp(value) / sums[Math.floor(i / CLASSES)]
    );
    const theirs = await runOnnx(bytes, images, graph.input.shape);
    expect(largestDifference(expected, theirs)).toBeLessThan(1e-5);
    const path = join(folder, "written.onnx");
    const check = await writeCheckedOnnx(path, graph, { form: notes.form });
    expect(check.difference).toBeLessThan(1e-5);
    const written = readFileSync(path);
    expect(largestDifference(await runOnnx(written, images, graph.input.shape), theirs))
      .toBeLessThan(1e-5);
    const { graph: outer } = fromBinary(ModelProtoSchema, written);
    expect([outer!.output[0].name, outer!.node.at(-1)!.opType]).toEqual(["y", op]);
    expect(parseOnnx(written, "again").notes.form).toEqual(notes.form);
  });

  const MIXED: readonly (readonly [string, readonly BuiltNode[]])[] = [
    [
      "averaged over pixels",
      [...conv, node("Softmax", ["c"], "s", { axis: 1 }), node("GlobalAveragePool", ["s"], "y")],
    ],
    [
      "of two networks, added up",
      [
        ...vector,
        node("Softmax", ["g"], "s", { axis: 1 }),
        node("Softmax", ["f"], "t", { axis: 1 }),
        node("Add", ["s", "t"], "y"),
      ],
    ],
    [
      "of two heads, side by side",
      [
        ...vector,
        node("Sigmoid", ["g"], "s"),
        node("Softmax", ["f"], "t", { axis: 1 }),
        node("Concat", ["s", "t"], "y", { axis: 1 }),
      ],
    ],
    [
      "of which some are picked",
      [
        ...vector,
        node("Softmax", ["g"], "s", { axis: 1 }),
        node("Slice", ["s", "one", "three", "one"], "y"),
      ],
    ],
  ];

  it.each(MIXED)("%s: inspected, and refused where losses need logits", async (what, nodes) => {
    const path = join(folder, "mixed.onnx");
    const more = [integers("one", [1]), integers("three", [3])];
    writeFileSync(path, built({ nodes, tensors: [...tensors, ...more] }));
    const source = await readSource({ model: undefined, weights: path }, { text() {} });
    expect("graph" in source, what).toBe(true);
    expect(() => graphOf(source, { classes: 4, shape: [3, 8, 8] }))
      .toThrow(
        /put together from the probabilities of "(Softmax|Sigmoid)_\w".*; export it without/,
      );
  });

  it("within a network are left alone", () => {
    const gated = [
      ...vector,
      node("Sigmoid", ["g"], "s"),
      node("Mul", ["f", "s"], "m"),
      node("Gemm", ["m", "fc"], "y"),
    ];
    const { graph, notes } = parseOnnx(built({ nodes: gated, tensors }), "x.onnx");
    expect(notes.form.activation ?? notes.mixedProbabilities).toBeUndefined();
    expect(graph.nodes.filter(({ op }) => op === "activation").length).toBe(1);
    const early = [
      ...pooled,
      node("LogSoftmax", ["p"], "l", { axis: 1 }),
      node("Relu", ["l"], "y"),
    ];
    expect(() => parseOnnx(built({ nodes: early, tensors }), "x.onnx"))
      .toThrow(/"LogSoftmax_l" \(LogSoftmax, which is not the end of a classifier\)/);
  });

  it.skipIf(dataFolder() === undefined)("of the network that kept them are taken off", () => {
    const path = join(dataFolder()!, "faults", "softmax_at_1x1.onnx");
    const { graph, notes } = parseOnnx(readFileSync(path), path);
    expect(notes.form.activation).toEqual({ op: "Softmax", node: "/Softmax", output: "logits" });
    expect(graph.nodes.some(({ op }) => op === "softmax")).toBe(false);
  });
});

/** Tells light pictures from dark ones: half its channels answer to light, half to its absence. */
function binaryModel(ending: readonly BuiltNode[]): Uint8Array {
  const channels = 8;
  const sign = (c: number) => c < channels / 2 ? 1 : -1;
  const each = (c: number) => Array.from({ length: 27 }, () => sign(c) * (0.1 + 0.01 * c));
  return built({
    nodes: [
      node("Conv", ["x", "k"], "c", { pads: [1, 1, 1, 1], strides: [2, 2] }),
      node("Relu", ["c"], "r"),
      node("Conv", ["r", "m"], "d"),
      node("Relu", ["d"], "e"),
      node("ReduceMean", ["e"], "p", { axes: [2, 3], keepdims: 0 }),
      node("Gemm", ["p", "l"], ending.length > 0 ? "z" : "y", { transB: 1 }),
      ...ending,
    ],
    tensors: [
      floats("k", [channels, 3, 3, 3], Array.from({ length: channels }, (_, c) => each(c)).flat()),
      floats(
        "m",
        [channels, channels, 1, 1],
        Array.from({ length: channels ** 2 }, (_, i) => {
          const o = Math.floor(i / channels), c = i % channels;
          return sign(o) === sign(c) ? 0.2 + 0.02 * ((3 * o + 5 * c) % 7) : -0.01;
        }),
      ),
      floats("l", [1, channels], Array.from({ length: channels }, (_, c) => 0.5 * sign(c))),
    ],
    input: ["N", 3, 32, 32],
  });
}

async function writeLight(): Promise<void> {
  const random = new RandomStream(1, "light");
  for (const [split, count] of [["train", 24], ["test", 12]] as const) {
    for (const [label, level] of [["dark", 60], ["light", 190]] as const) {
      const place = join(folder, "pictures", split, label);
      mkdirSync(place, { recursive: true });
      for (let i = 0; i < count; i++) {
        const shade = () => level - 40 + random.integer(80);
        const background = { r: shade(), g: shade(), b: shade() };
        const picture = sharp({ create: { width: 32, height: 32, channels: 3, background } });
        writeFileSync(join(place, `${i}.png`), await picture.png().toBuffer());
      }
    }
  }
}

describe("one number for two classes", () => {
  it("is a logit beside zero, and one number again when written", () => {
    const { graph } = parseOnnx(binaryModel([]), "x.onnx");
    const two = withTwoClasses(graph);
    const images = randomImages(graph, 3, new RandomStream(2, "two"));
    const single = runOracle(graph, images), both = runOracle(two, images);
    expect([...both]).toEqual([...single].flatMap((z) => [0, z]));
    expect(withOwnAnswer(two)).toEqual(graph);
    expect(withOwnAnswer(graph)).toBe(graph);
  });

  it("is what a checkpoint of one class is, too", () => {
    const one = createModel("resnet8", { classes: 1 });
    const source = { source: "w", model: "resnet8", form: {}, weights: new Map(one.parameters) };
    const graph: Graph = graphOf(source, { classes: 2, shape: [3, 32, 32] });
    expect(withOwnAnswer(graph).nodes.at(-1)).toEqual(one.nodes.at(-1));
    expect(graph.nodes.at(-1)).toMatchObject({ op: "channel_map", from: [-1, 0] });
  });

  it.skipIf(denoProgram() === undefined)(
    "is evaluated, trained, pruned and written as it was",
    async () => {
      await writeLight();
      const run = async (line: string) => {
        const { code, out, err } = await runCommand(line.split(" "), { cwd: folder });
        expect(`${code} ${err}`.slice(0, 300)).toMatch(/^0 /);
        return out;
      };
      for (const [name, ending] of [["z", []], ["s", [node("Sigmoid", ["z"], "y")]]] as const) {
        writeFileSync(join(folder, `${name}.onnx`), binaryModel(ending));
        const data = "--data imagefolder:pictures --dtype f32";
        expect(await run(`evaluate --weights ${name}.onnx ${data}`)).toContain("24 of 24 right");
        const out = await run(
          `prune --weights ${name}.onnx ${data} --cut-flops 40% --criterion l1 --ratios uniform ` +
            `--epochs 1 --lr 0.001 --out ${name}`,
        );
        expect(out).toContain("pruned.onnx");
        const path = join(folder, name, "pruned.onnx");
        const { graph } = fromBinary(ModelProtoSchema, readFileSync(path));
        expect(graph!.output[0].name).toBe("y");
        expect(graph!.node.map(({ opType }) => opType).slice(-1))
          .toEqual([ending.length > 0 ? "Sigmoid" : "Gemm"]);
        for (const file of ["pruned.onnx", "pruned.safetensors"]) {
          expect(await run(`evaluate --weights ${name}/${file} ${data}`)).toContain(
            "24 of 24 right",
          );
        }
      }
    },
    600_000,
  );
});
