/** What exporters leave to be computed while a model is read: weights, padding, calls of functions. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { SecateurError } from "../../src/errors.ts";
import { parseOnnx } from "../../src/formats/onnx/read/read.ts";
import { RandomStream } from "../../src/random.ts";
import { dataFolder } from "../support/data.ts";
import { randomImages } from "../support/interpreted.ts";
import { built, type BuiltModel, floats, integers, node } from "../support/onnx/build.ts";
import { largestDifference, runOnnx, runOracle } from "../support/onnx/files.ts";

/** How far what is read lies from what onnxruntime makes of the same bytes. */
async function difference(bytes: Uint8Array): Promise<number> {
  const { graph } = parseOnnx(bytes, "x.onnx");
  const images = randomImages(graph, 2, new RandomStream(3, "computed"));
  return largestDifference(
    runOracle(graph, images),
    await runOnnx(bytes, images, graph.input.shape),
  );
}

function refusal(bytes: Uint8Array): SecateurError {
  try {
    parseOnnx(bytes, "x.onnx");
  } catch (thrown) {
    if (thrown instanceof SecateurError) return thrown;
    throw thrown;
  }
  throw new Error("it was accepted");
}

/** A file of the shared folder; its test is left out where that is not there. */
const data = dataFolder();
const shared = (path: string) => readFileSync(join(data!, path));

describe("weights made of one number", () => {
  it("are those of whole networks, in files of a few bytes", () => {
    // 23 million of them, where 2^20 were all that a file could make.
    const layers = 10, channels = 512;
    const nodes = Array.from({ length: layers }, (_, k) => [
      node("ConstantOfShape", ["shape"], `w${k}`, { value: floats("", [1], [0.25]) }),
      node("Conv", [k === 0 ? "x" : `c${k - 1}`, `w${k}`], k === layers - 1 ? "y" : `c${k}`, {
        pads: [1, 1, 1, 1],
      }),
    ]).flat();
    const tensors = [integers("shape", [channels, channels, 3, 3])];
    const { graph } = parseOnnx(built({ nodes, tensors, input: ["N", channels, 4, 4] }), "x.onnx");
    expect(graph.parameters.size).toBe(layers);
    expect(graph.parameters.get("w9")!.data.at(-1)).toBe(0.25);
  });

  it("have bounds all the same", () => {
    const nodes = [
      node("ConstantOfShape", ["shape"], "w"),
      node("Conv", ["x", "w"], "y"),
    ];
    const tensors = [integers("shape", [2 ** 14, 2 ** 14, 1, 1])];
    expect(refusal(built({ nodes, tensors })).message)
      .toContain("makes a constant of the excessive shape [16384, 16384, 1, 1]");
  });

  it.skipIf(data === undefined)("are those of ONNX's own light ResNet-50", () => {
    const { graph } = parseOnnx(shared("models/light_resnet50.onnx"), "light.onnx");
    const weights = [...graph.parameters.values()].reduce((sum, { data }) => sum + data.length, 0);
    expect(weights).toBe(25_610_152);
  });
});

/** SAME padding from the picture's size, as timm's Conv2dSame is traced: Clip and Ceil of floats. */
function samePadding(): BuiltModel {
  const one = (axis: number, name: string) => [
    node("Shape", ["x"], `s${name}`),
    node("Gather", [`s${name}`, `axis${axis}`], `g${name}`),
    node("Cast", [`g${name}`], `f${name}`, { to: 1 }),
    node("Div", [`f${name}`, "two"], `d${name}`),
    node("Ceil", [`d${name}`], `e${name}`),
    node("Sub", [`e${name}`, "one"], `m${name}`),
    node("Mul", [`m${name}`, "two"], `t${name}`),
    node("Add", [`t${name}`, "three"], `a${name}`),
    node("Sub", [`a${name}`, `f${name}`], `n${name}`),
    node("Clip", [`n${name}`, "zero"], `c${name}`),
    node("Cast", [`c${name}`], `i${name}`, { to: 7 }),
    node("Unsqueeze", [`i${name}`, "first"], `p${name}`),
  ];
  return {
    nodes: [
      ...one(2, "h"),
      ...one(3, "w"),
      node("Concat", ["none", "none", "none", "none", "none", "none", "ph", "pw"], "pads", {
        axis: 0,
      }),
      node("Pad", ["x", "pads"], "padded"),
      node("Conv", ["padded", "k"], "y", { strides: [2, 2] }),
    ],
    tensors: [
      ...[2, 3].map((axis) => integers(`axis${axis}`, [axis], true)),
      ...[["zero", 0], ["one", 1], ["two", 2], ["three", 3]].map(([name, value]) =>
        floats(String(name), [], [Number(value)])
      ),
      integers("first", [0]),
      integers("none", [0]),
      floats("k", [4, 3, 3, 3]),
    ],
  };
}

describe("shape arithmetic", () => {
  it("gives SAME padding", async () => {
    const bytes = built(samePadding());
    expect(parseOnnx(bytes, "x.onnx").graph.nodes.map(({ op }) => op)).toEqual([
      "pad",
      "convolution",
    ]);
    expect(await difference(bytes)).toBeLessThan(1e-5);
  });

  it.skipIf(data === undefined)("gives it in a whole network", async () => {
    expect(await difference(shared("faults/open_batch.onnx"))).toBeLessThan(1e-5);
  });

  it("standardises weights, whatever does it", async () => {
    const nodes = [
      node("ReduceMean", ["w"], "mean", { axes: [1, 2, 3] }),
      node("Sub", ["w", "mean"], "centred"),
      node("ReduceSumSquare", ["centred"], "squares", { axes: [1, 2, 3] }),
      node("Div", ["squares", "count"], "variance"),
      node("ReduceMax", ["variance"], "most", { axes: [0], keepdims: 1 }),
      node("Max", ["variance", "least", "least"], "safe"),
      node("Sqrt", ["safe"], "deviation"),
      node("Reciprocal", ["deviation"], "factor"),
      node("Mul", ["centred", "factor"], "standard"),
      node("Div", ["most", "most"], "unit"),
      node("Tile", ["unit", "times"], "ones"),
      node("Mul", ["standard", "ones"], "k"),
      node("Conv", ["x", "k"], "y"),
    ];
    const tensors = [
      floats("w", [4, 3, 3, 3]),
      floats("count", [], [27]),
      floats("least", [], [1e-5]),
      integers("times", [4, 1, 1, 1]),
    ];
    const bytes = built({ nodes, tensors });
    expect(parseOnnx(bytes, "x.onnx").graph.nodes.map(({ op }) => op)).toEqual(["convolution"]);
    expect(await difference(bytes)).toBeLessThan(1e-5);
  });

  /** Weights that batch norm makes, with which a convolution follows. */
  function normalised(
    opset: number,
    attributes: Readonly<Record<string, number>>,
    outputs: readonly string[],
  ): Uint8Array {
    const nodes = [
      node("Reshape", ["w", "rows"], "r"),
      node("BatchNormalization", ["r", "scale", "offset", "means", "variances"], [
        "flat",
        ...outputs,
      ], attributes),
      node("Reshape", ["flat", "kernel"], "k"),
      node("Conv", ["x", "k"], "y"),
    ];
    const tensors = [
      ...[floats("w", [4, 3, 3, 3]), integers("rows", [1, 4, -1])],
      ...[floats("scale", [4]), floats("offset", [4]), integers("kernel", [4, 3, 3, 3])],
      ...[floats("means", [4], [0.1, 0, -0.2, 0]), floats("variances", [4], [1, 2, 1, 0.5])],
    ];
    return built({ nodes, tensors, opset });
  }

  it("normalises them by batch norm, by given statistics or as in training", async () => {
    const training = normalised(14, { training_mode: 1 }, ["mean", "variance"]);
    for (const bytes of [normalised(17, {}, []), training]) {
      const { graph } = parseOnnx(bytes, "x.onnx");
      expect(graph.nodes.map(({ op }) => op)).toEqual(["convolution"]);
      expect(await difference(bytes)).toBeLessThan(1e-5);
    }
    // onnxruntime no longer runs files that asked for training by their outputs.
    const older = parseOnnx(normalised(13, {}, ["m", "v", "mm", "vv"]), "x.onnx").graph;
    expect(older.parameters).toEqual(parseOnnx(training, "x.onnx").graph.parameters);
  });
});

const LEAKY = {
  name: "Leaky",
  domain: "mine",
  input: ["value"],
  output: ["result"],
  attribute: ["slope"],
  opsetImport: [{ domain: "", version: 17n }],
  node: [
    {
      ...node("LeakyRelu", ["value"], "inner"),
      attribute: [{ name: "alpha", type: 1, refAttrName: "slope" }],
    },
    node("Identity", ["inner"], "result"),
  ],
};

const TWICE = {
  name: "Twice",
  domain: "mine",
  input: ["value", "weight"],
  output: ["result"],
  opsetImport: [{ domain: "", version: 17n }, { domain: "mine", version: 1n }],
  node: [
    node("Conv", ["value", "weight"], "inner"),
    node("mine::Leaky", ["inner"], "active", { slope: { float: 0.25 } }),
    node("Conv", ["active", "weight"], "result"),
  ],
};

describe("functions of a model's own", () => {
  const tensors = [floats("w", [3, 3, 1, 1])];
  const nodes = [
    node("mine::Twice", ["x", "w"], "a"),
    node("mine::Leaky", ["a"], "b", { slope: { float: 0.5 } }),
    node("mine::Twice", ["b", "w"], "y"),
  ];
  const functions = [LEAKY, TWICE];

  it("are what they stand for, attributes passed on, called in one another and twice", async () => {
    const bytes = built({ nodes, tensors, functions });
    const { graph } = parseOnnx(bytes, "x.onnx");
    expect(graph.nodes.map(({ op }) => op)).toEqual([
      ...["convolution", "activation", "convolution"],
      "activation",
      ...["convolution", "activation", "convolution"],
    ]);
    const slopes = graph.nodes.flatMap((each) => each.op === "activation" ? [each.alpha] : []);
    expect(slopes).toEqual([0.25, 0.5, 0.25]);
    expect(await difference(bytes)).toBeLessThan(1e-5);
  });

  it("are refused where they never end, multiply, or mean other operators", () => {
    const endless = { ...TWICE, node: [node("mine::Twice", ["value", "weight"], "result")] };
    expect(refusal(built({ nodes, tensors, functions: [LEAKY, endless] })).message)
      .toMatch(/"Twice" goes deeper; inline its functions with onnx\.inliner/);
    const many = Array.from({ length: 30 }, (_, k) => ({
      name: `F${k}`,
      domain: "mine",
      input: ["value"],
      output: ["result"],
      opsetImport: [{ domain: "", version: 17n }],
      // The last makes nothing, two to the thirtieth times.
      node: k === 29
        ? []
        : [node(`mine::F${k + 1}`, ["value"], "a"), node(`mine::F${k + 1}`, ["value"], "result")],
    }));
    const calls = [node("mine::F0", ["x"], "y")];
    expect(refusal(built({ nodes: calls, functions: many })).message).toContain(
      "at most 100000 nodes",
    );
    const older = { ...LEAKY, opsetImport: [{ domain: "", version: 9n }] };
    expect(refusal(built({ nodes, tensors, functions: [older, TWICE] })).message)
      .toContain(`its function "Leaky" is of operator set 9 where the model is of 17`);
  });

  it.skipIf(data === undefined)("are read in a whole network", async () => {
    expect(await difference(shared("faults/function.onnx"))).toBeLessThan(1e-5);
  });
});

describe("what a refused model is told", () => {
  it("names causes, and not what lies behind them", () => {
    const nodes = [
      node("Hardmax", ["x"], "h"),
      node("Shape", ["h"], "s"),
      node("Gather", ["s", "zero"], "n"),
      node("Cast", ["n"], "f", { to: 1 }),
      node("Floor", ["f"], "r"),
      node("Ceil", ["r"], "i"),
      node("Sinh", ["h"], "y0"),
      node("Mul", ["y0", "i"], "y"),
    ];
    const { message } = refusal(built({ nodes, tensors: [integers("zero", [0], true)] }));
    expect(message).toContain(`2 are not supported: "Hardmax_h" (Hardmax), "Sinh_y0" (Sinh);`);
  });

  it("never sees the number that stands for the batch", () => {
    const nodes = [node("Reshape", ["x", "to"], "r"), node("Relu", ["r"], "y")];
    const { message } = refusal(built({ nodes, tensors: [integers("to", [-1, 3, 2, 2, 2])] }));
    expect(message).toContain("turns [N, 3, 8, 8] into [8N, 3, 2, 2, 2]");
    expect(message).not.toMatch(/65537|524296/);
  });

  it("reads networks exported in training mode, at inference", async () => {
    const vectors = ["g", "b", "m"].map((name) => floats(name, [3]));
    const norm = (training: number) =>
      built({
        nodes: [
          node(
            "BatchNormalization",
            ["x", "g", "b", "m", "v"],
            training ? ["n", "rm", "rv"] : ["n"],
            {
              training_mode: training,
            },
          ),
          node("Dropout", ["n", "ratio", training ? "yes" : ""], "d"),
          node("Relu", ["d"], "y"),
        ],
        tensors: [
          ...vectors,
          floats("v", [3], [0.5, 1, 2]),
          floats("ratio", [], [0.5]),
          { name: "yes", dataType: 9, dims: [], rawData: Uint8Array.of(1) },
        ],
      });
    const { graph, notes } = parseOnnx(norm(1), "x.onnx");
    expect(notes.trainingMode).toBe(true);
    expect(parseOnnx(norm(0), "x.onnx").notes.trainingMode).toBe(false);
    const images = randomImages(graph, 2, new RandomStream(3, "training"));
    const expected = await runOnnx(norm(0), images, graph.input.shape);
    expect(largestDifference(runOracle(graph, images), expected)).toBeLessThan(1e-5);
  });
});
