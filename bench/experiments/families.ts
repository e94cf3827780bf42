/**
 * Every family of models that secateur knows by name: budgets, the surgery invariant, the exported
 * file in onnxruntime, fine-tuning, and measured latency at half the FLOPs. Weights are random
 * (pretrained ones differ in accuracy, not in what is measured here), batch norm measured on real
 * pictures.
 *
 *   deno run -A bench/experiments/families.ts --data imagefolder:FOLDER --out FILE
 *     [--families resnet50,vgg16_bn] [--batches 1,8] [--seconds 20] [--no-latency]
 *
 * FILE is added to: families already in it are left as they are.
 */

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { solveShares } from "../../src/ratios/shares.ts";
import { calibrationBatches, calibrationSet } from "../../src/data/batches/calibration.ts";
import { type Dataset, loaded, normalisations } from "../../src/data/dataset.ts";
import { openDataset } from "../../src/data/sources/source.ts";
import { reasonOf } from "../../src/errors.ts";
import { type ChannelGroup, prunableGroups } from "../../src/graph/channels.ts";
import { costOf } from "../../src/graph/cost.ts";
import { cutGraph } from "../../src/graph/cut.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { createModel } from "../../src/models/models.ts";
import { writeCheckedOnnx } from "../../src/pruning/export.ts";
import { l1 } from "../../src/criteria/norms.ts";
import { removalsOf } from "../../src/criteria/ranking.ts";
import { checkCut } from "../../src/surgery/check.ts";
import { reestimate } from "../../src/surgery/reestimate.ts";
import { train } from "../../src/training/train.ts";
import { contest } from "./latency_contest.ts";
import { writeExperiment } from "./setting.ts";

const FAMILIES = [
  ...["vgg16_bn", "vgg19_bn", "resnet18", "resnet34", "resnet50", "resnet101", "densenet121"],
  ...["densenet40", "mobilenet_v2", "mobilenet_v3_large", "googlenet", "efficientnet_b0"],
  ...["shufflenet_v2_x1_0"],
];
const BUDGETS = [0.3, 0.5, 0.7];
const LATENCY_BUDGET = 0.5;
const ROUND_TO = [8, 16];
/** Pictures to measure batch norm on and to fine-tune with, and per step. */
const IMAGES = 32;
const BATCH = 16;

const { values: args } = parseArgs({
  options: {
    data: { type: "string" },
    out: { type: "string" },
    families: { type: "string", default: FAMILIES.join(",") },
    batches: { type: "string", default: "1,8" },
    seconds: { type: "string", default: "20" },
    latency: { type: "boolean", default: true },
  },
  allowNegative: true,
});
const { data, out } = args;
if (!data || !out) throw new Error("expects --data and --out");

const normalisation = normalisations.imagenet;
const seed = 1;

interface Budgeted {
  readonly cut: number;
  readonly reached: number;
  /** MACs left below the limit, and what one channel step more would have taken. */
  readonly below: number;
  readonly step: number;
  readonly maskedEqualsCut: number;
  readonly exportDifference: number;
}

async function cutTo(graph: Graph, groups: readonly ChannelGroup[], cut: number, roundTo = 1) {
  const budget = { kind: "flops", cut } as const;
  const ratios = solveShares(graph, groups, groups.map(() => 1), { budget, roundTo });
  const removals = removalsOf(groups, await l1({ graph, groups }), ratios.kept);
  return { ratios, removals, cut: cutGraph(graph, removals) };
}

/** One budget: solved, cut, held against the masked network, exported and run elsewhere. */
async function budgeted(
  graph: Graph,
  groups: readonly ChannelGroup[],
  cut: number,
  pictures: Dataset,
  folder: string,
): Promise<Budgeted> {
  const { ratios, removals, cut: smaller } = await cutTo(graph, groups, cut);
  const [batch] = calibrationBatches(pictures, 2, normalisation);
  const check = await checkCut(graph, smaller, removals, batch);
  const exported = await writeCheckedOnnx(join(folder, "pruned.onnx"), smaller);
  return {
    cut,
    reached: 1 - ratios.reached / costOf(graph).macs,
    below: ratios.allowed - ratios.reached,
    step: ratios.step,
    maskedEqualsCut: check.error / check.scale,
    exportDifference: exported.difference,
  };
}

/** Mean losses of the first and the last epoch of a short fine-tuning. */
async function fineTuned(graph: Graph, pictures: Dataset) {
  const { history } = await train(graph, {
    data: pictures,
    normalisation,
    epochs: 4,
    batch: BATCH,
    learningRate: 0.01,
    optimizer: { kind: "sgd", weightDecay: 5e-4 },
    augment: false,
    seed,
  });
  return { first: history[0].loss, last: history.at(-1)!.loss };
}

async function measureFamily(name: string) {
  const small = name === "densenet40";
  const size = small ? 32 : 224;
  const full = await openDataset(data!, "test", { resize: size, crop: size });
  const pictures = await loaded(calibrationSet(full, IMAGES, seed, "families"));
  const fresh = createModel(name, { classes: full.classes.length, shape: [3, size, size], seed });
  const graph = await reestimate(fresh, pictures, { normalisation, batch: BATCH });
  const groups = prunableGroups(graph, "all");
  const folder = await mkdtemp(join(tmpdir(), "families-"));
  const budgets: (Budgeted | { cut: number; refused: string })[] = [];
  for (const cut of BUDGETS) {
    budgets.push(
      await budgeted(graph, groups, cut, pictures, folder)
        .catch((thrown) => ({ cut, refused: reasonOf(thrown) })),
    );
  }
  await rm(folder, { recursive: true });
  const { cut: half } = await cutTo(graph, groups, LATENCY_BUDGET);
  const variants = new Map([["original", graph], ["pruned", half]]);
  const refused: { variant: string; reason: string }[] = [];
  for (const roundTo of ROUND_TO) {
    const variant = `pruned, round to ${roundTo}`;
    try {
      variants.set(variant, (await cutTo(graph, groups, LATENCY_BUDGET, roundTo)).cut);
    } catch (thrown) {
      refused.push({ variant, reason: reasonOf(thrown) });
    }
  }
  const latency = [];
  for (const batch of args.latency ? args.batches.split(",").map(Number) : []) {
    latency.push(...await contest(variants, batch, Number(args.seconds)));
  }
  const { macs, parameters } = costOf(graph);
  return {
    name,
    input: graph.input.shape,
    classes: full.classes.length,
    macs,
    parameters,
    groups: groups.length,
    budgets,
    fineTuning: await fineTuned(half, pictures),
    costs: [...variants].map(([variant, each]) => ({ variant, ...totals(each) })),
    refused,
    latency,
  };
}

function totals(graph: Graph) {
  const { macs, parameters } = costOf(graph);
  return { macs, parameters };
}

type Family = Awaited<ReturnType<typeof measureFamily>>;

const families: Family[] = existsSync(out) ? JSON.parse(await readFile(out, "utf8")).families : [];
for (const name of args.families.split(",")) {
  if (families.some((family) => family.name === name)) continue;
  const started = performance.now();
  families.push(await measureFamily(name));
  const seconds = (performance.now() - started) / 1000;
  console.log(`${name}, ${seconds.toFixed(0)} s`);
  console.log(JSON.stringify({ ...families.at(-1), latency: undefined }));
  for (const { variant, engine, batch, median } of families.at(-1)!.latency) {
    console.log(`  ${batch}  ${engine}  ${variant}  ${median.toFixed(2)} ms`);
  }
  const result = {
    what: "families of models: budgets, invariants, export, fine-tuning, latency in milliseconds",
    data,
    families,
  };
  await writeExperiment(out, result);
}
