import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { SecateurError } from "../../src/errors.ts";
import { readWeights } from "../../src/formats/checkpoint.ts";
import { parseModel, readModel, writeModel } from "../../src/formats/model_file.ts";
import { encodeSafetensors, writeSafetensors } from "../../src/formats/safetensors.ts";
import { prunableGroups } from "../../src/graph/channels.ts";
import { costOf } from "../../src/graph/cost.ts";
import { cutGraph } from "../../src/graph/cut.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { createModel } from "../../src/models/models.ts";
import { randomGraph } from "../support/graphs/random.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-model-file-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const model = createModel("resnet8", { classes: 10 });

/** resnet8 with a quarter of every prunable group cut. */
function prunedModel(): Graph {
  const removals = prunableGroups(model, "all").map((group) => ({
    group,
    removed: group.players.map((_, index) => index).filter((index) => index % 4 === 0),
  }));
  return cutGraph(model, removals);
}

describe("model files", () => {
  it("give back a pruned graph with its weights, bit for bit", async () => {
    const pruned = prunedModel();
    const path = join(folder, "pruned.safetensors");
    await writeModel(path, pruned, { note: "kept" });
    const read = await readModel(path);
    expect(read).toEqual({ ...pruned, parameters: new Map(pruned.parameters) });
    expect(costOf(read!).macs).toBeLessThan(costOf(model).macs);

    const first = readFileSync(path);
    await writeModel(path, read!, { note: "kept" });
    expect(readFileSync(path).equals(first)).toBe(true);
  });

  it("give back graphs of every operator", async () => {
    const path = join(folder, "random.safetensors");
    for (const graph of [...Array(20).keys()].map((seed) => randomGraph(seed))) {
      await writeModel(path, graph);
      expect((await readModel(path))!.nodes).toEqual(graph.nodes);
    }
  });

  it("are plain state dicts to other readers", async () => {
    const path = join(folder, "plain.safetensors");
    await writeModel(path, model);
    expect([...(await readWeights(path)).keys()]).toEqual([...model.parameters.keys()]);
  });

  it("are told from weights alone and from other formats", async () => {
    const path = join(folder, "weights.safetensors");
    await writeSafetensors(path, new Map(model.parameters), { format: "pt" });
    expect(await readModel(path)).toBe(undefined);
    const other = join(folder, "weights.th");
    writeFileSync(other, "\x80\x02 something else");
    expect(await readModel(other)).toBe(undefined);
  });
});

/** What the graph of `model` looks like in a file, open to mischief. */
function stored(): Record<string, unknown> & { nodes: Record<string, unknown>[] } {
  const { name, input, outputs, nodes } = model;
  return JSON.parse(JSON.stringify({ name, input, outputs, nodes }));
}

/** The stored graph after a change to one of its layers. */
function withNode(op: string, change: Record<string, unknown>): string {
  const graph = stored();
  const index = graph.nodes.findIndex((node) => node.op === op);
  graph.nodes[index] = { ...graph.nodes[index], ...change };
  return JSON.stringify(graph);
}

const HOSTILE: readonly (readonly [string, string, string])[] = [
  ["not JSON", "{", "format-corrupt"],
  ["another thing", "[]", "format-corrupt"],
  ["no layers", JSON.stringify({ ...stored(), nodes: [] }), "format-corrupt"],
  ["a key too many", JSON.stringify({ ...stored(), script: "rm" }), "format-corrupt"],
  ["an unknown operator", withNode("relu", { op: "eval" }), "format-corrupt"],
  ["a stride of nothing", withNode("convolution", { stride: [0, 1] }), "format-corrupt"],
  ["a huge kernel", withNode("convolution", { kernel: [1e9, 1e9] }), "format-corrupt"],
  ["a broken number", withNode("batch_norm", { epsilon: "1e-5" }), "format-corrupt"],
  ["a newline in a name", withNode("relu", { name: "relu\n" }), "format-corrupt"],
  ["too few inputs", withNode("add", { inputs: ["relu1"] }), "format-corrupt"],
  [
    "huge pictures",
    JSON.stringify({ ...stored(), input: { name: "input", shape: [3, 65536, 65536] } }),
    "graph-invalid",
  ],
  ["a value nobody writes", withNode("relu", { inputs: ["nowhere"] }), "graph-invalid"],
  ["a cycle", withNode("convolution", { inputs: ["linear"] }), "graph-invalid"],
  [
    "another kernel than the weights'",
    withNode("convolution", { kernel: [5, 5] }),
    "graph-invalid",
  ],
  ["two layers of one name", withNode("relu", { name: "conv1" }), "graph-invalid"],
  ["a channel outside", withNode("channel_map", { from: [40000] }), "graph-invalid"],
  ["a missing tensor", withNode("convolution", { weight: "absent" }), "weights-missing"],
];

describe("hostile graphs in metadata", () => {
  it.each(HOSTILE)("are refused: %s", (_what, text, code) => {
    const bytes = encodeSafetensors(new Map(model.parameters), { "secateur.graph": text });
    let thrown: unknown;
    try {
      parseModel(bytes, "model.safetensors");
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(SecateurError);
    expect(thrown).toMatchObject({ code });
    expect((thrown as Error).message).toMatch(/^model\.safetensors: [^\n]+\.$/);
  });

  it("are refused when the file holds a tensor the graph does not name", () => {
    const tensors = new Map(model.parameters);
    tensors.set("extra", { shape: [1], data: Float32Array.of(1) });
    const bytes = encodeSafetensors(tensors, { "secateur.graph": JSON.stringify(stored()) });
    expect(() => parseModel(bytes, "model.safetensors")).toThrow(/also holds "extra"/);
  });
});
