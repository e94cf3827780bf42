/** Damaged and hostile ONNX files: a graph or one coded sentence, soon, in bounded memory. */

import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { type ErrorCode, SecateurError } from "../../src/errors.ts";
import type { Imported } from "../../src/formats/onnx/import/import.ts";
import {
  type ModelProto,
  ModelProtoSchema,
  type NodeProtoSchema,
  TensorProtoSchema,
} from "../../src/formats/onnx/proto/onnx_pb.ts";
import { parseOnnx, readOnnx } from "../../src/formats/onnx/read/read.ts";
import { RandomStream } from "../../src/random.ts";
import { onnxFixture } from "../support/onnx/files.ts";

const fixture = (name: string): Uint8Array => readFileSync(onnxFixture(`${name}.onnx`));

/** What parsing ends in; anything but a graph or a coded error is thrown on. */
function outcome(bytes: Uint8Array): Imported | SecateurError {
  try {
    return parseOnnx(bytes, "x.onnx");
  } catch (thrown) {
    if (thrown instanceof SecateurError) return thrown;
    throw thrown;
  }
}

function refusal(bytes: Uint8Array): { code: ErrorCode; message: string } {
  const result = outcome(bytes);
  if (!(result instanceof SecateurError)) throw new Error("it was accepted");
  const { code, message } = result;
  expect(message).toMatch(/^[^\n]+\.$/);
  expect(message.length).toBeLessThan(1000);
  return { code, message };
}

/** A fixture after a change to its messages. */
function changed(name: string, change: (model: ModelProto) => void): Uint8Array {
  const model = fromBinary(ModelProtoSchema, fixture(name));
  change(model);
  return toBinary(ModelProtoSchema, model);
}

/** A fixture with nodes put before its own. */
function preceded(
  name: string,
  ...nodes: MessageInitShape<typeof NodeProtoSchema>[]
): Uint8Array {
  return changed(name, (model) => {
    const added = create(ModelProtoSchema, { graph: { node: nodes } }).graph!.node;
    model.graph!.node.unshift(...added);
  });
}

function initializer(model: ModelProto, index = 0) {
  return model.graph!.initializer[index];
}

describe("damaged ONNX files", () => {
  it("names what is wrong with other formats", () => {
    expect(refusal(new Uint8Array(0))).toMatchObject({ code: "format-unknown" });
    expect(refusal(new TextEncoder().encode("<html>not a model</html>")).code)
      .toMatch(/^format-(corrupt|unknown)$/);
    expect(refusal(new Uint8Array(100)).code).toBe("format-corrupt");
  });

  it("refuses every truncation", () => {
    for (const name of ["conv_groups", "where_equal_range", "unsorted_fixed_batch"]) {
      const whole = fixture(name);
      for (let length = 0; length < whole.length; length++) {
        const result = outcome(whole.subarray(0, length));
        // The opset comes last, so nothing shorter is complete.
        expect(result, `${name} cut to ${length}`).toBeInstanceOf(SecateurError);
      }
    }
  });

  it("survives changed bytes", () => {
    const names = readdirSync(onnxFixture("."))
      .filter((name) => name.endsWith(".onnx") && name !== "external.onnx");
    const random = new RandomStream(7, "onnx fuzz");
    const codes = new Map<string, number>();
    for (let round = 0; round < 6000; round++) {
      const bytes = Uint8Array.from(readFixture(names[round % names.length]));
      const changes = 1 + random.integer(3);
      for (let k = 0; k < changes; k++) bytes[random.integer(bytes.length)] = random.integer(256);
      const result = outcome(bytes);
      const code = result instanceof SecateurError ? result.code : "accepted";
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
    // Both ends and the stages between them are reached.
    for (const code of ["accepted", "format-corrupt", "graph-invalid", "graph-unsupported"]) {
      expect(codes.get(code) ?? 0, code).toBeGreaterThan(50);
    }
  });
});

const cache = new Map<string, Uint8Array>();

function readFixture(name: string): Uint8Array {
  const bytes = cache.get(name) ?? readFileSync(onnxFixture(name));
  cache.set(name, bytes);
  return bytes;
}

interface Case {
  readonly what: string;
  readonly bytes: () => Uint8Array;
  readonly code: ErrorCode;
  readonly says: string;
}

const relu = (name: string, input: string, output: string) => ({
  name,
  opType: "Relu",
  input: [input],
  output: [output],
});

const CASES: readonly Case[] = [
  {
    what: "a cycle",
    bytes: () =>
      changed("unsorted_fixed_batch", ({ graph }) => {
        graph!.node.find(({ opType }) => opType === "Relu")!.input = ["y"];
      }),
    code: "graph-invalid",
    says: "depends on its own output",
  },
  {
    what: "a value nothing writes",
    bytes: () => changed("conv_groups", ({ graph }) => void (graph!.node[0].input[0] = "no")),
    code: "graph-invalid",
    says: `reads "no", which nothing writes`,
  },
  {
    what: "a value written twice",
    bytes: () => preceded("conv_groups", relu("r", "x", "y")),
    code: "graph-invalid",
    says: `writes "y", which is there already`,
  },
  {
    what: "a node that overwrites the input",
    bytes: () => preceded("conv_groups", relu("r", "x", "x")),
    code: "graph-invalid",
    says: `writes "x", which is there already`,
  },
  {
    what: "two nodes of one name",
    bytes: () => preceded("conv_groups", relu("Conv_y", "x", "z")),
    code: "graph-invalid",
    says: `two nodes are named "Conv_y"`,
  },
  {
    what: "two initializers of one name",
    bytes: () =>
      changed(
        "conv_same_upper",
        (model) => void model.graph!.initializer.push(initializer(model)),
      ),
    code: "graph-invalid",
    says: `two initializers are named "w"`,
  },
  {
    what: "less data than the shape needs",
    bytes: () =>
      changed("conv_groups", (model) => {
        initializer(model).rawData = initializer(model).rawData.slice(4);
      }),
    code: "format-corrupt",
    says: "needs 144 bytes of f32 but has 140",
  },
  {
    what: "extents whose product is beyond all memory",
    bytes: () =>
      changed("conv_groups", (model) => {
        initializer(model).dims = [2n ** 40n, 2n ** 40n, 3n, 2n];
      }),
    code: "format-corrupt",
    says: "has the impossible shape",
  },
  {
    what: "a negative extent",
    bytes: () => changed("conv_groups", (model) => void (initializer(model).dims[1] = -1n)),
    code: "format-corrupt",
    says: "has the impossible shape",
  },
  {
    what: "integer weights",
    bytes: () => changed("conv_groups", (model) => void (initializer(model).dataType = 6)),
    code: "graph-unsupported",
    says: "i32 weights",
  },
  {
    what: "an unknown element type",
    bytes: () => changed("conv_groups", (model) => void (initializer(model).dataType = 99)),
    code: "graph-unsupported",
    says: "unknown element type 99",
  },
  {
    what: "an attribute of the wrong type",
    bytes: () =>
      changed("conv_groups", ({ graph }) => {
        for (const attribute of graph!.node[0].attribute) attribute.type = 3;
      }),
    code: "graph-unsupported",
    says: `"Conv_y" (Conv, which has an attribute`,
  },
  {
    what: "pictures larger than any memory",
    bytes: () =>
      changed("conv_groups", ({ graph }) => {
        const type = graph!.input[0].type!.value;
        if (type.case !== "tensorType") throw new Error("no tensor");
        type.value.shape!.dim[2].value = { case: "dimValue", value: 2n ** 40n };
      }),
    code: "graph-unsupported",
    says: "too large",
  },
  {
    what: "padding beyond all bounds",
    bytes: () =>
      changed("conv_groups", ({ graph }) => {
        graph!.node[0].attribute.find(({ name }) => name === "pads")!.ints[3] = 2n ** 40n;
      }),
    code: "graph-unsupported",
    says: "1099511627776]",
  },
  {
    what: "an operator set of the future",
    bytes: () => changed("conv_groups", (model) => void (model.opsetImport[0].version = 99n)),
    code: "graph-unsupported",
    says: "from 7 to 28, but it is 99",
  },
  {
    what: "operators of another domain",
    bytes: () => changed("conv_groups", ({ graph }) => void (graph!.node[0].domain = "com.acme")),
    code: "graph-unsupported",
    says: `"Conv_y" (com.acme::Conv)`,
  },
  {
    what: "operators named like parts of JavaScript",
    bytes: () => changed("conv_groups", ({ graph }) => void (graph!.node[0].opType = "toString")),
    code: "graph-unsupported",
    says: `"Conv_y" (toString)`,
  },
  {
    what: "a sum of nothing",
    bytes: () =>
      changed("conv_groups", ({ graph }) => {
        const sum = { name: "sum", opType: "Sum", output: ["none"] };
        graph!.node.unshift(...create(ModelProtoSchema, { graph: { node: [sum] } }).graph!.node);
        graph!.node[1].input[2] = "none";
      }),
    code: "graph-unsupported",
    says: `"sum" (Sum, which lacks its input 0)`,
  },
  {
    what: "a join with a piece left out",
    bytes: () =>
      changed("conv_groups", ({ graph }) => {
        const weight = graph!.node[0].input[1];
        const join = { name: "join", opType: "Concat", input: [weight, ""], output: ["both"] };
        graph!.node.unshift(
          ...create(ModelProtoSchema, {
            graph: { node: [{ ...join, attribute: [{ name: "axis", type: 2, i: 0n }] }] },
          }).graph!.node,
        );
        graph!.node[1].input[1] = "both";
      }),
    code: "graph-unsupported",
    says: `"join" (Concat, which lacks its input 1)`,
  },
  {
    what: "two outputs of one name",
    bytes: () => changed("conv_groups", ({ graph }) => void graph!.output.push(graph!.output[0])),
    code: "graph-invalid",
    says: `two outputs are named "y"`,
  },
  {
    what: "no output",
    bytes: () => changed("conv_groups", ({ graph }) => void (graph!.output = [])),
    code: "graph-unsupported",
    says: "a model with 1 to 1000 outputs, but it has 0",
  },
];

describe("hostile ONNX files", () => {
  it.each(CASES)("$what", ({ bytes, code, says }) => {
    const refused = refusal(bytes());
    expect(refused.message).toContain(says);
    expect(refused.code).toBe(code);
  });

  it("cannot unpack to much more memory than they take", () => {
    // Two bytes for each empty node, which would be hundreds on the heap.
    const nodes = Uint8Array.from({ length: 2 ** 21 }, (_, i) => i % 2 === 0 ? 0x0a : 0);
    const length = [0x80, 0x80, 0x80, 0x01];
    const bytes = Uint8Array.from([0x08, 8, 0x3a, ...length, ...nodes]);
    expect(refusal(bytes)).toMatchObject({ code: "format-corrupt" });
    expect(refusal(bytes).message).toContain("unpack to about");
  });

  it("cannot fold constants larger than any memory", () => {
    const constant = (name: string, ...ints: bigint[]) => ({
      name,
      opType: "Constant",
      output: [name],
      attribute: [{ name: "value_ints", type: 7, ints }],
    });
    const bytes = changed("gather_channels", ({ graph }) => {
      const extra = create(ModelProtoSchema, {
        graph: {
          node: [
            constant("size", 2n ** 31n, 2n ** 20n),
            { name: "huge", opType: "ConstantOfShape", input: ["size"], output: ["zeros"] },
          ],
        },
      });
      graph!.node.unshift(...extra.graph!.node);
      graph!.node.at(-1)!.input[1] = "zeros";
    });
    const { code, message } = refusal(bytes);
    expect(code).toBe("graph-unsupported");
    expect(message).toContain(`"huge" (ConstantOfShape, which makes a constant of the excessive`);
  });

  it("cannot make a chain of nodes too deep", () => {
    const chain = Array.from({ length: 20_000 }, (_, i) => relu(`r${i}`, `v${i + 1}`, `v${i}`));
    const bytes = changed("conv_groups", ({ graph }) => {
      const added = create(ModelProtoSchema, { graph: { node: chain } }).graph!.node;
      graph!.node.push(
        ...added,
        ...create(ModelProtoSchema, {
          graph: { node: [relu("start", "x", "v20000")] },
        }).graph!.node,
      );
      graph!.node[0].input[0] = "v0";
    });
    const result = outcome(bytes);
    expect(result).not.toBeInstanceOf(SecateurError);
    expect((result as Imported).graph.nodes.length).toBe(20_002);
  });
});

describe("external data", () => {
  async function code(location: string, extra: Record<string, string> = {}): Promise<string> {
    const folder = mkdtempSync(join(tmpdir(), "secateur-onnx-"));
    try {
      mkdirSync(join(folder, "model"));
      writeFileSync(join(folder, "outside.bin"), readFileSync(onnxFixture("external.bin")));
      writeFileSync(join(folder, "model", "in.bin"), readFileSync(onnxFixture("external.bin")));
      symlinkSync(join(folder, "outside.bin"), join(folder, "model", "link.bin"));
      const bytes = changed("external", ({ graph }) => {
        for (const tensor of graph!.initializer) {
          const kept = tensor.externalData.filter(({ key }) => key !== "location");
          const entries = Object.entries({
            ...Object.fromEntries(kept.map(({ key, value }) => [key, value])),
            location,
            ...extra,
          });
          tensor.externalData = create(TensorProtoSchema, {
            externalData: entries.map(([key, value]) => ({ key, value })),
          }).externalData;
        }
      });
      writeFileSync(join(folder, "model", "x.onnx"), bytes);
      return await readOnnx(join(folder, "model", "x.onnx")).then(
        () => "accepted",
        (thrown: SecateurError) => {
          expect(thrown.message).toMatch(/^[^\n]+\.$/);
          return thrown.code;
        },
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  it("is read from the model's own folder alone", async () => {
    expect(await code("in.bin")).toBe("accepted");
    expect(await code("./in.bin")).toBe("accepted");
    for (const outside of ["../outside.bin", "a/../../outside.bin", "/etc/hostname", "link.bin"]) {
      expect(await code(outside), outside).toBe("format-unsafe");
    }
    expect(await code("")).toBe("format-unsafe");
    expect(await code("absent.bin")).toBe("file-missing");
    expect(await code(".")).toMatch(/^f/);
  });

  it("must lie within its file", async () => {
    expect(await code("in.bin", { offset: "1000000000000" })).toBe("format-corrupt");
    expect(await code("in.bin", { offset: "-1" })).toBe("format-corrupt");
    expect(await code("in.bin", { length: "99999999999" })).toBe("format-corrupt");
  });

  it("is refused where there is no folder", () => {
    expect(refusal(fixture("external")).code).toBe("format-corrupt");
  });
});
