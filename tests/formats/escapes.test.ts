/** Nothing that a file says reaches a terminal as a control sequence. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { afterAll, describe, expect, it } from "vitest";
import { readSource } from "../../src/commands/inputs/model.ts";
import { ModelProtoSchema } from "../../src/formats/onnx/proto/onnx_pb.ts";
import { writeSafetensors } from "../../src/formats/safetensors.ts";
import { bindWeights } from "../../src/models/bind.ts";
import { createModel } from "../../src/models/models.ts";
import { built, floats, node } from "../support/onnx/build.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-escapes-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Clears the screen, names the window, and the same by a single C1 character. */
const HOSTILE = "a\x1b[2J\x1b]0;owned\x07\x9b2Jz\u202e";
// deno-lint-ignore no-control-regex
const CONTROL = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]/;

/** All that is said while a model is read, the refusal included. */
async function said(
  { model, weights }: { model?: string; weights?: string },
): Promise<string> {
  const lines: string[] = [];
  await readSource({ model, weights }, { text: (line) => void lines.push(line) }).catch((
    thrown: Error,
  ) => lines.push(thrown.message));
  return lines.join("\n");
}

function written(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

const linear = [node("Gemm", ["x", "w"], "l", { transB: 1 })];
const weights = [floats("w", [3, 4])];

describe("terminal escapes", () => {
  it("are escaped in the exporter's name and in names of layers", async () => {
    const softmax = { ...node("Softmax", ["l"], "y", { axis: -1 }), name: HOSTILE };
    const model = { nodes: [...linear, softmax], tensors: weights, input: ["N", 4] };
    const text = await said({ weights: written("p.onnx", built({ ...model, producer: HOSTILE })) });
    expect(text).toContain("owned");
    expect(text).not.toMatch(CONTROL);
  });

  it("are escaped in operators, domains, attributes and names that are refused", async () => {
    const nodes = [
      { ...node("Resize", ["x", "", "s"], "r", { mode: HOSTILE }), name: `r${HOSTILE}` },
      { ...node("Odd", ["x"], "o"), opType: HOSTILE, domain: HOSTILE },
      node("Add", ["r", "o"], "y"),
    ];
    const bytes = built({ nodes, tensors: [floats("s", [4], [1, 1, 2, 2])] });
    const text = await said({ weights: written("o.onnx", bytes) });
    expect(text.match(/owned/g)!.length).toBeGreaterThanOrEqual(3);
    expect(text).not.toMatch(CONTROL);
  });

  it("are escaped in where external data is said to be", async () => {
    const outside = [{ key: "location", value: `${HOSTILE}/w.bin` }];
    const tensor = {
      name: "w",
      dataType: 1,
      dims: [3n, 4n],
      dataLocation: 1,
      externalData: outside,
    };
    const model = create(ModelProtoSchema, {
      irVersion: 8n,
      opsetImport: [{ domain: "", version: 17n }],
      graph: {
        node: linear,
        initializer: [tensor],
        input: [{ name: "x" }],
        output: [{ name: "l" }],
      },
    });
    const text = await said({ weights: written("e.onnx", toBinary(ModelProtoSchema, model)) });
    expect(text).toContain("owned");
    expect(text).not.toMatch(CONTROL);
  });

  it("are escaped in names of models and of a checkpoint's tensors", async () => {
    const text = await said({ model: HOSTILE, weights: "w.pt" });
    expect(text).toContain("owned");
    expect(text).not.toMatch(CONTROL);
    const graph = createModel("resnet8", { classes: 2, shape: [3, 8, 8] });
    const path = join(folder, "w.safetensors");
    const tensors = new Map([...graph.parameters, [HOSTILE, {
      shape: [1],
      data: Float32Array.of(1),
    }]]);
    await writeSafetensors(path, tensors);
    let refused = "";
    try {
      bindWeights(graph, tensors, "w");
    } catch (thrown) {
      refused = (thrown as Error).message;
    }
    expect(refused).toContain("owned");
    expect(refused).not.toMatch(CONTROL);
    expect(await said({ model: "resnet8", weights: path })).not.toMatch(CONTROL);
  });
});
