/**
 * Small ONNX files that would take much: time or memory out of proportion to their bytes. Each was
 * found to, once.
 */

import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { afterAll, describe, expect, it } from "vitest";
import { SecateurError } from "../../src/errors.ts";
import { readWeights } from "../../src/formats/checkpoint.ts";
import { readModel } from "../../src/formats/model_file.ts";
import { type GraphProtoSchema, ModelProtoSchema } from "../../src/formats/onnx/proto/onnx_pb.ts";
import { parseOnnx, readOnnx } from "../../src/formats/onnx/read/read.ts";

type Graph = Exclude<MessageInitShape<typeof GraphProtoSchema>, { $typeName: string }>;
type Nodes = NonNullable<Graph["node"]>;
type Tensors = NonNullable<Graph["initializer"]>;

const FLOAT = 1, U8 = 2, I64 = 7, INT = 2;

function info(name: string, ...shape: number[]) {
  const dim = shape.map((extent) => ({
    value: { case: "dimValue" as const, value: BigInt(extent) },
  }));
  const value = { elemType: FLOAT, shape: { dim } };
  return { name, type: { value: { case: "tensorType" as const, value } } };
}

/** A model of f32 [1, features] in and out. */
function model(node: Nodes, initializer: Tensors, features = 4): Uint8Array {
  const output = node.at(-1)!.output!.at(-1)!;
  return toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, {
      irVersion: 8n,
      opsetImport: [{ domain: "", version: 17n }],
      graph: { node, initializer, input: [info("x", 1, features)], output: [info(output, 1, 4)] },
    }),
  );
}

const integers = (name: string, ...values: number[]) => ({
  name,
  dims: [BigInt(values.length)],
  dataType: I64,
  rawData: new Uint8Array(BigInt64Array.from(values.map(BigInt)).buffer),
});

const zeros = (name: string, dataType: number, bytes: number, ...dims: number[]) => ({
  name,
  dims: dims.map(BigInt),
  dataType,
  rawData: new Uint8Array(bytes * dims.reduce((product, extent) => product * extent, 1)),
});

const axis = (i: number) => [{ name: "axis", type: INT, i: BigInt(i) }];

/** Nodes of one kind that each read x and the constant. */
function many(count: number, opType: string, attribute: Nodes[number]["attribute"] = []): Nodes {
  return Array.from({ length: count }, (_, i) => ({
    name: `${opType}${i}`,
    opType,
    input: ["x", "big"],
    output: [`y${i}`],
    attribute,
  }));
}

/** Nodes whose outputs one more joins, so that all are needed. */
function joined(nodes: Nodes): Nodes {
  const input = nodes.map(({ output }) => output![0]);
  return [...nodes, { name: "all", opType: "Concat", input, output: ["all"], attribute: axis(1) }];
}

/** Of the first, what fits is read, and the rest kept as it is. */
const READ_IN_PART = "copies of one weight, each scaled otherwise";

const BOMBS: readonly (readonly [what: string, bytes: () => Uint8Array, says: string])[] = [
  [
    READ_IN_PART,
    () =>
      model(
        Array.from({ length: 3000 }, (_, k) => ({
          name: `gemm${k}`,
          opType: "Gemm",
          input: [k === 0 ? "x" : `y${k - 1}`, "w"],
          output: [`y${k}`],
          attribute: [{ name: "alpha", type: 1, f: 1 + k }],
        })),
        [zeros("w", FLOAT, 4, 256, 256)],
        256,
      ),
    "makes more numbers of the model's constants than any model needs",
  ],
  [
    "thousands of biases for thousands of channels, put off until it shows what they are for",
    () => {
      const from = zeros("every", I64, 8, 2 ** 16);
      return model(
        [
          { name: "g", opType: "Gather", input: ["x", "every"], output: ["g"], attribute: axis(1) },
          ...joined(many(3000, "Add")).map((node) => ({
            ...node,
            input: node.input!.map((name) => name === "x" ? "g" : name),
          })),
        ],
        [from, zeros("big", FLOAT, 4, 2 ** 16)],
      );
    },
    "makes more numbers of the model's constants than any model needs",
  ],
  [
    "a weight of nothing but rows",
    () =>
      model(
        [{ name: "m", opType: "MatMul", input: ["x", "w"], output: ["y"] }],
        [zeros("w", FLOAT, 4, 2 ** 53 - 1, 0)],
      ),
    `has empty weights "w"`,
  ],
  [
    "thousands of empty pieces in half a million rows",
    () =>
      model(
        [
          { name: "e", opType: "ConstantOfShape", input: ["none"], output: ["e"] },
          { name: "f", opType: "ConstantOfShape", input: ["one"], output: ["f"] },
          {
            name: "c",
            opType: "Concat",
            input: ["f", ...Array<string>(20_000).fill("e")],
            output: ["c"],
            attribute: axis(1),
          },
          { name: "r", opType: "Reshape", input: ["x", "c"], output: ["y"] },
        ],
        [integers("none", 2 ** 19, 0), integers("one", 2 ** 19, 1)],
      ),
    "524288 numbers, more than a tensor has axes",
  ],
  [
    "hundreds of shapes of a million axes",
    () => model(joined(many(500, "Reshape")), [zeros("big", I64, 8, 2 ** 20)]),
    "1048576 numbers, more than a tensor has axes",
  ],
  [
    "thousands of gathers of all channels",
    () => model(joined(many(2000, "Gather", axis(1))), [zeros("big", I64, 8, 2 ** 16)]),
    "at most 4194304 channels in all",
  ],
  [
    "thousands of gathers that fail at their end",
    () => {
      const indices = zeros("big", I64, 8, 2 ** 16);
      indices.rawData.fill(0x7f, indices.rawData.length - 8);
      return model(joined(many(5000, "Gather", axis(1))), [indices]);
    },
    "at least 1000 are not supported",
  ],
  [
    "bytes that would become eight each",
    () =>
      model(
        [{ name: "r", opType: "Reshape", input: ["x", "big"], output: ["y"] }],
        [zeros("big", U8, 1, 2 ** 24)],
      ),
    `"big" of 16777216 u8 numbers`,
  ],
];

const MIB = 2 ** 20;

/** What refuses, checked to be a sentence with a code, and how much memory that took at the end. */
async function refusal(work: () => unknown): Promise<{ message: string; grown: number }> {
  const before = process.memoryUsage.rss();
  try {
    await work();
  } catch (thrown) {
    if (!(thrown instanceof SecateurError)) throw thrown;
    expect(thrown.message).toMatch(/^[^\n]+\.$/);
    return { message: thrown.message, grown: (process.memoryUsage.rss() - before) / MIB };
  }
  throw new Error("it was accepted");
}

describe("ONNX files that ask for much", () => {
  it.each(BOMBS)("%s", async (what, bytes, says) => {
    const file = bytes();
    const started = process.cpuUsage();
    const { message, grown } = await refusal(() => {
      const { notes } = parseOnnx(file, "x.onnx");
      if (what !== READ_IN_PART) return;
      throw new SecateurError("graph-unsupported", `${notes.behind!.inTheWay.join()}.`);
    });
    expect(message).toContain(says);
    const { user, system } = process.cpuUsage(started);
    expect((user + system) / 1e6).toBeLessThan(10);
    expect(grown).toBeLessThan(256);
  });
});

const folder = mkdtempSync(join(tmpdir(), "secateur-large-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A file of this size that takes no room on the disk. */
function sparse(name: string, size: number, beginning: Uint8Array = new Uint8Array(0)): string {
  const path = join(folder, name);
  writeFileSync(path, beginning);
  truncateSync(path, size);
  return path;
}

/** A model that multiplies by a weight kept in another file, of so many columns. */
function writeExternal(columns: number, location: string): string {
  const path = join(folder, "external.onnx");
  const weight = {
    name: "w",
    dims: [4n, BigInt(columns)],
    dataType: FLOAT,
    dataLocation: 1,
    externalData: [{ key: "location", value: location }],
  };
  const node = { name: "m", opType: "MatMul", input: ["x", "w"], output: ["y"] };
  writeFileSync(path, model([node], [weight]));
  return path;
}

describe("files of 2 GiB and more", () => {
  const header = Uint8Array.from([0x10, 0, 0, 0, 0, 0, 0, 0, 0x7b]);

  it("are refused unread, whatever they are", async () => {
    for (const size of [2 ** 31, 2 ** 31 + 1, 2 ** 40]) {
      for (const read of [readOnnx, readWeights, readModel]) {
        const { message, grown } = await refusal(() => read(sparse("large", size, header)));
        expect(message).toContain(`less than 2 GiB, but this has ${size} bytes`);
        expect(grown).toBeLessThan(64);
      }
    }
  });

  it("may hold external data, of which only what is asked for is read", async () => {
    sparse("data.bin", 2 ** 33);
    const { graph } = await readOnnx(writeExternal(4, "data.bin"));
    expect(graph.parameters.get("w")!.shape).toEqual([4, 4]);
    const { message, grown } = await refusal(() => readOnnx(writeExternal(2 ** 28, "data.bin")));
    expect(message).toContain("less than 4 GiB of external data");
    expect(grown).toBeLessThan(64);
  });

  it("are not what lengths beyond them say", async () => {
    sparse("short.bin", 64);
    for (const columns of [5, 2 ** 26, 2 ** 40]) {
      const { message, grown } = await refusal(() => readOnnx(writeExternal(columns, "short.bin")));
      expect(message).toMatch(/has only 64 for all tensors|less than 4 GiB/);
      expect(grown).toBeLessThan(64);
    }
  });

  it("may be missing what a model needs", async () => {
    const { message } = await refusal(() => readOnnx(writeExternal(4, "gone.bin")));
    expect(message).toContain(`external data in "gone.bin" beside the model`);
  });
});
