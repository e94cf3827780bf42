// plan.json is enough to cut the same channels out of the same weights with any other tool.

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { findPeers } from "../../bench/peers.ts";
import { readWeights } from "../../src/formats/checkpoint.ts";
import { writeModel } from "../../src/formats/model_file.ts";
import { prunableGroups } from "../../src/graph/channels.ts";
import { cutGraph } from "../../src/graph/cut.ts";
import { bindWeights } from "../../src/models/bind.ts";
import { createModel } from "../../src/models/models.ts";
import { applyPlanSource } from "../../src/pruning/apply_plan.ts";
import { planOf } from "../../src/pruning/plan.ts";
import { RandomStream } from "../../src/random.ts";
import type { StateDict, Tensor } from "../../src/tensor.ts";
import { denoProgram, runCommand } from "../support/command_line.ts";
import { dataFolder } from "../support/data.ts";
import { oddGraph } from "../support/graphs/odd.ts";
import { randomRemovals } from "../support/graphs/removals.ts";
import { writeSmallCifar } from "../support/small_data.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-plan-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const planFile = z.object({
  parameters: z.array(
    z.object({ name: z.string(), axis: z.number(), kept: z.array(z.number()) }),
  ),
});
type PlanFile = z.infer<typeof planFile>;

/** tensor.index_select(axis, kept), element by element, as an outsider would write it. */
function indexSelect({ shape, data }: Tensor, axis: number, kept: readonly number[]): Tensor {
  const smaller = shape.map((extent, each) => each === axis ? kept.length : extent);
  const inner = shape.slice(axis + 1).reduce((product, extent) => product * extent, 1);
  const count = smaller.reduce((product, extent) => product * extent, 1);
  return {
    shape: smaller,
    data: Float32Array.from({ length: count }, (_, i) => {
      const at = Math.floor(i / inner) % kept.length;
      const outer = Math.floor(i / inner / kept.length);
      return data[(outer * shape[axis] + kept[at]) * inner + i % inner];
    }),
  };
}

/** A state dict cut by what a plan says and nothing else. */
function cutBy({ parameters }: PlanFile, weights: ReadonlyMap<string, Tensor>): StateDict {
  const cut = new Map(weights);
  for (const { name, axis, kept } of parameters) {
    cut.set(name, indexSelect(cut.get(name)!, axis, kept));
  }
  return cut;
}

/** The same names, shapes and bits, whatever the order. */
function expectSame(found: ReadonlyMap<string, Tensor>, wanted: ReadonlyMap<string, Tensor>): void {
  expect([...found.keys()].sort()).toEqual([...wanted.keys()].sort());
  for (const [name, { shape, data }] of wanted) {
    expect(found.get(name)!.shape, name).toEqual(shape);
    expect(found.get(name)!.data, name).toEqual(data);
  }
}

const asFile = (plan: unknown): PlanFile => planFile.parse(JSON.parse(JSON.stringify(plan)));

describe("plan.json", () => {
  it.skipIf(denoProgram() === undefined)(
    "cuts weights to what pruned.safetensors holds",
    async () => {
      const model = createModel("resnet8", { classes: 10 });
      await writeModel(join(folder, "model.safetensors"), model);
      writeSmallCifar(join(folder, "cifar"), 200, 100);
      const command = "prune --data cifar10:cifar --weights model.safetensors --cut-flops 40% " +
        "--criterion l1 --ratios uniform --epochs 0 --no-compensate --no-reestimate --force --out pruned";
      const { code, err } = await runCommand(command.split(" "), { cwd: folder });
      expect(code, err).toBe(0);
      const text = readFileSync(join(folder, "pruned", "plan.json"), "utf8");
      const plan = planFile.parse(JSON.parse(text));
      const weights = await readWeights(join(folder, "model.safetensors"));
      expect(plan.parameters.length).toBeGreaterThan(10);
      expectSame(
        cutBy(plan, weights),
        await readWeights(join(folder, "pruned", "pruned.safetensors")),
      );
      const script = readFileSync(join(folder, "pruned", "apply_plan.py"), "utf8");
      const [, held] = /^PLAN = json\.loads\(r"""(.*)"""\)$/m.exec(script)!;
      expect(JSON.parse(held)).toEqual(JSON.parse(text));
    },
  );

  it("says all there is to know about random networks", () => {
    for (let seed = 0; seed < 100; seed++) {
      const graph = oddGraph(seed);
      const random = new RandomStream(seed, "plan");
      const removals = randomRemovals(prunableGroups(graph, "all"), random);
      const plan = asFile(planOf(graph, removals));
      expectSame(cutBy(plan, graph.parameters), cutGraph(graph, removals).parameters);
    }
  });
});

const data = dataFolder();
const peers = findPeers();
const python = "interpreter" in peers ? peers.interpreter.path : undefined;
const missing = data === undefined || python === undefined;
const why = data === undefined ? "there is no data" : "there is no Python with PyTorch";

describe("apply_plan.py CHECKPOINT OUT", () => {
  it.skipIf(missing)(
    `cuts ResNet-20's checkpoint in PyTorch to the same tensors${
      missing ? `: skipped, ${why}` : ""
    }`,
    async () => {
      const checkpoint = join(data!, "weights", "resnet20-12fca82f.th");
      const weights = await readWeights(checkpoint);
      const graph = bindWeights(createModel("resnet20", { classes: 10 }), weights, "resnet20");
      const random = new RandomStream(1, "plan");
      const removals = randomRemovals(prunableGroups(graph, "all"), random);
      mkdirSync(join(folder, "peer"));
      const [script, out] = ["apply_plan.py", "cut.pt"].map((name) => join(folder, "peer", name));
      writeFileSync(script, await applyPlanSource(planOf(graph, removals)));
      const { status, stderr } = spawnSync(python!, [script, checkpoint, out], {
        encoding: "utf8",
      });
      expect(status, stderr).toBe(0);
      const cut = await readWeights(out);
      const wanted = cutGraph(graph, removals).parameters;
      expect([...cut.keys()].filter((name) => !wanted.has(name))).toEqual([]);
      expectSame(cut, wanted);
    },
  );
});
