// apply_plan.py: the plan in it, and PyTorch models cut by it against the exported ONNX files.

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findPeers } from "../../bench/peers.ts";
import { encodeOnnx } from "../../src/formats/onnx/export/export.ts";
import { readOnnx } from "../../src/formats/onnx/read/read.ts";
import { runInOnnxRuntime } from "../../src/formats/onnx/runtime.ts";
import { writeModel } from "../../src/formats/model_file.ts";
import { writeSafetensors } from "../../src/formats/safetensors.ts";
import { prunableGroups, type Scope } from "../../src/graph/channels.ts";
import { cutGraph } from "../../src/graph/cut.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { createModel } from "../../src/models/models.ts";
import { applyPlanSource } from "../../src/pruning/apply_plan.ts";
import { type Plan, planOf } from "../../src/pruning/plan.ts";
import { RandomStream } from "../../src/random.ts";
import { elementCount, type Tensor } from "../../src/tensor.ts";
import { dataFolder } from "../support/data.ts";
import { oddGraph } from "../support/graphs/odd.ts";
import { randomRemovals } from "../support/graphs/removals.ts";
import { readReferences, referenceModel, relativeDifference } from "../support/model_reference.ts";

/** Largest difference of logits between PyTorch and onnxruntime, as a share of the largest. */
const TOLERANCE = 1e-5;
/** Of torchvision, and which of their groups are cut: ShuffleNet's halves must stay halves. */
const FAMILIES: readonly (readonly [string, RegExp])[] = [
  ["resnet18", /./],
  ["vgg16_bn", /./],
  ["mobilenet_v2", /./],
  ["efficientnet_b0", /./],
  ["densenet121", /./],
  ["mobilenet_v3_small", /./],
  ["googlenet", /./],
  ["shufflenet_v2_x1_0", /branch2\.0$/],
];
const ODD_GRAPHS = 60;
const IMAGES = 2;

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "secateur-apply-plan-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function drawn(graph: Graph, { scope = "all", only = /./, seed = 1 }: CaseOptions) {
  const random = new RandomStream(seed, "apply plan");
  const groups = prunableGroups(graph, scope).filter(({ name }) => only.test(name));
  const removals = randomRemovals(groups, random);
  return { ...planOf(graph, removals), cut: cutGraph(graph, removals) };
}

/** Other weights near a graph's, as training leaves them. */
function trained(graph: Graph): Graph {
  const random = new RandomStream(7, "trained");
  const parameters = new Map<string, Tensor>();
  for (const [name, { shape, data }] of graph.parameters) {
    parameters.set(name, { shape, data: data.map((x) => x * (1 + 0.1 * random.normal())) });
  }
  return { ...graph, parameters };
}

interface Case {
  readonly name: string;
  readonly graph: Graph;
  readonly cut: Graph;
  readonly pruned: Graph;
  readonly path: string;
}

interface CaseOptions {
  readonly scope?: Scope;
  /** Which groups lose channels, by name. */
  readonly only?: RegExp;
  readonly seed?: number;
  /** What apply_plans.py reads beside the model's name. */
  readonly about?: Readonly<Record<string, unknown>>;
}

/** Writes the folder of a case for tests/support/torch/apply_plans.py. */
async function writeCase(
  name: string,
  model: string,
  graph: Graph,
  options: CaseOptions = {},
): Promise<Case> {
  const path = join(folder, name);
  await mkdir(path);
  const { cut, ...plan } = drawn(graph, options);
  const pruned = trained(cut);
  await writeModel(join(path, "original.safetensors"), graph);
  await writeModel(join(path, "pruned.safetensors"), pruned);
  const { data } = pictures(graph);
  const inputs = { shape: [IMAGES, ...graph.input.shape], data: channelsFirst(graph, data) };
  await writeSafetensors(join(path, "pictures.safetensors"), new Map([["inputs", inputs]]));
  await writeFile(join(path, "apply_plan.py"), await applyPlanSource(plan));
  await writeFile(join(path, "case.json"), JSON.stringify({ model, ...options.about }));
  return { name, graph, cut, pruned, path };
}

/** [images][height][width][channels], as the engine takes them. */
function pictures({ input: { shape } }: Graph): Tensor {
  const random = new RandomStream(3, "pictures");
  const length = IMAGES * elementCount(shape);
  return { shape: [length], data: Float32Array.from({ length }, () => random.normal()) };
}

function channelsFirst({ input: { shape } }: Graph, data: Float32Array): Float32Array {
  const channels = shape[0], area = elementCount(shape) / channels;
  return data.map((_, at) => {
    const image = Math.floor(at / area / channels);
    const channel = Math.floor(at / area) % channels;
    return data[(image * area + at % area) * channels + channel];
  });
}

async function textOf({ path }: Case, name: string): Promise<string | undefined> {
  return existsSync(join(path, name)) ? await readFile(join(path, name), "utf8") : undefined;
}

/** How far PyTorch's logits, in a file of the case, are from onnxruntime's. */
async function differenceOf(one: Case, file: "cut.bin" | "pruned.bin"): Promise<number> {
  const bytes = await readFile(join(one.path, file));
  const found = new Float32Array(
    bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length),
  );
  const onnx = encodeOnnx(file === "cut.bin" ? one.cut : one.pruned);
  const { data } = pictures(one.graph);
  return relativeDifference(found, await runInOnnxRuntime(onnx, data, one.graph.input.shape));
}

/** That PyTorch computed what onnxruntime does, cut alone and with other weights in it. */
async function expectSame(one: Case): Promise<void> {
  expect(await textOf(one, "error.txt") ?? "", one.name).toBe("");
  expect(await differenceOf(one, "cut.bin"), one.name).toBeLessThan(TOLERANCE);
  expect(await differenceOf(one, "pruned.bin"), one.name).toBeLessThan(TOLERANCE);
}

/** A Python program to run, if there is one. */
const python = ["python3", "python"].find((program) =>
  spawnSync(program, ["--version"]).status === 0
);

describe("applyPlanSource", () => {
  const plan: Plan = {
    model: 'res"""net\\"\n\u001b]0;\u2028\ud83c\udf33',
    groups: [{ name: "a\\", kind: "inner", channels: 3, kept: [0, 2] }],
    parameters: [{ name: '""");exit(3)', axis: 0, extent: 3, kept: [0, 2] }],
    maps: [],
    constraints: { keep: ['\\"""'], maxRatio: {} },
  };

  it("holds the plan, as JSON", async () => {
    const source = await applyPlanSource(plan);
    const [, text] = /^PLAN = json\.loads\(r"""(.*)"""\)$/m.exec(source)!;
    expect(JSON.parse(text)).toEqual(plan);
    expect(/^[\n\x20-\x7e]*$/.test(source)).toBe(true);
  });

  it.skipIf(python === undefined)(
    `is Python that holds the plan${python === undefined ? ": skipped, there is no Python" : ""}`,
    async () => {
      const path = join(folder, "apply_plan.py");
      await writeFile(path, await applyPlanSource(plan));
      // Only read, as torch may be missing: the argument of the call that PLAN is made by.
      const read = "import ast, sys\n" +
        "tree = ast.parse(open(sys.argv[1], encoding='utf-8').read())\n" +
        "plan, = [n.value.args[0] for n in tree.body if isinstance(n, ast.Assign)" +
        " and n.targets[0].id == 'PLAN']\n" +
        "print(ast.literal_eval(plan))";
      const { status, stdout, stderr } = spawnSync(python!, ["-c", read, path], {
        encoding: "utf8",
      });
      expect(status, stderr).toBe(0);
      expect(JSON.parse(stdout)).toEqual(plan);
      const compiled = spawnSync(python!, ["-m", "py_compile", path], { encoding: "utf8" });
      expect(compiled.status, compiled.stderr).toBe(0);
    },
  );
});

const found = findPeers();
const missing = !("interpreter" in found)
  ? "PyTorch"
  : "torchvision" in found.interpreter.versions
  ? undefined
  : "torchvision";
const why = missing ? `: skipped, there is no ${missing}` : "";

/** Runs apply_plans.py over cases. */
function applyPlans(cases: readonly Case[]): void {
  if (!("interpreter" in found)) throw new Error("there is no PyTorch");
  const script = fileURLToPath(new URL("../support/torch/apply_plans.py", import.meta.url));
  const args = [script, ...cases.map(({ path }) => path)];
  const { status, stderr } = spawnSync(found.interpreter.path, args, { encoding: "utf8" });
  expect(status, stderr).toBe(0);
}

describe.skipIf(missing !== undefined)(`apply_plan.py in PyTorch${why}`, () => {
  it.each(FAMILIES)("cuts torchvision's %s to what the ONNX file computes", async (name, only) => {
    const { forward } = await readReferences();
    const reference = forward.find(({ model }) => model === name)!;
    const { narrower = 1 } = reference;
    const one = await writeCase(name, name, referenceModel(reference), {
      only,
      about: { narrower },
    });
    applyPlans([one]);
    await expectSame(one);
    expect(await textOf(one, "again.txt")).toContain("it was cut already");
  }, 600_000);

  it("cuts option-A shortcuts that are modules, and inside of wrappers", async () => {
    const graph = createModel("resnet20", { classes: 10, shape: [3, 32, 32] });
    const cases = [
      await writeCase("shortcuts", "resnet20", graph, { about: { shortcuts: "named" } }),
      await writeCase("wrapped", "resnet20", graph, {
        about: { shortcuts: "named", wrapped: true },
      }),
      await writeCase("inner", "resnet20", graph, {
        scope: "inner",
        about: { shortcuts: "unnamed" },
      }),
    ];
    applyPlans(cases);
    for (const one of cases) await expectSame(one);
  }, 600_000);

  const exported = join(dataFolder() ?? "", "onnx-models", "resnet56-bn-op17.onnx");
  const absent = !existsSync(exported);
  it.skipIf(absent)(
    `finds PyTorch's modules by the names in its ONNX files${
      absent ? ": skipped, there is no onnx-models/resnet56-bn-op17.onnx" : ""
    }`,
    async () => {
      const { graph } = await readOnnx(exported);
      const one = await writeCase("exported", "resnet56", graph, {
        about: { shortcuts: "named" },
      });
      applyPlans([one]);
      await expectSame(one);
    },
    600_000,
  );

  it("refuses what it cannot cut, before it cuts anything", async () => {
    const graph = createModel("resnet20", { classes: 10, shape: [3, 32, 32] });
    const { forward } = await readReferences();
    const shuffled = referenceModel(forward.find(({ model }) => model === "shufflenet_v2_x0_5")!);
    const [unnamed, other, halves] = [
      await writeCase("unnamed", "resnet20", graph, { about: { shortcuts: "unnamed" } }),
      await writeCase("other", "resnet18", graph),
      await writeCase("halves", "shufflenet_v2_x0_5", shuffled),
    ];
    applyPlans([unnamed, other, halves]);
    expect(await textOf(unnamed, "error.txt")).toContain("layer2.0.shortcut");
    expect(await textOf(unnamed, "error.txt")).toContain("--keep conv1 --keep layer2.0.conv2");
    expect(await textOf(other, "error.txt")).toMatch(/^ValueError: expected/);
    expect(await textOf(halves, "error.txt")).toContain("stage2.");
  }, 600_000);

  it("cuts random networks in which channels couple in every way", async () => {
    const cases: Case[] = [];
    for (let seed = 0; seed < ODD_GRAPHS; seed++) {
      cases.push(await writeCase(`odd${seed}`, "graph", oddGraph(seed), { seed }));
    }
    applyPlans(cases);
    for (const one of cases) await expectSame(one);
  }, 600_000);
});
