/**
 * Which cut loses least: criteria, ratio rules and scopes side by side, and Torch-Pruning's own choice of
 * channels, all at one budget and all compensated alike; accuracy and loss on held-out and test pictures,
 * before any training and, with --epochs, after it.
 *
 *   deno run -A bench/experiments/cuts.ts --model resnet20 --weights FILE --data cifar10:FOLDER \
 *     --out FILE [--arms shapley/global,l1/uniform/inner,group-l2.json,control] [--seeds 3]
 *     [--cut-flops 0.455] [--cut-params 0.403] [--epochs 10 --lr 0.02 ...]
 *
 * An arm is criterion/rule[/scope[/option=value...]] with options of `prune` by their camel-case names, such
 * as shapley/global/inner/worth=loss; a plan of Torch-Pruning (peer_plan.ts) by its file; or
 * `control`, the unpruned network. Weights that saw all training pictures make held-out figures look
 * well: read differences between arms. Every seed draws its own pictures and chances. Rows that the
 * result file has already are not run again.
 *
 * What would refute the default: any rival within two standard errors of it, or ahead.
 */

import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { pruneOptions } from "../../src/commands/options/prune.ts";
import { measureSites } from "../../src/concentration/statistics.ts";
import { calibrationBatches, calibrationSet } from "../../src/data/batches/calibration.ts";
import { normalisations } from "../../src/data/dataset.ts";
import { type ChannelGroup, prunableGroups } from "../../src/graph/channels.ts";
import { costOf } from "../../src/graph/cost.ts";
import { cutGraph, type Removal } from "../../src/graph/cut.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { type ChoiceStages, choose, mostRemovable } from "../../src/pruning/choice.ts";
import { shapleyOf } from "../../src/pruning/network_shapley.ts";
import type { PruneOptions } from "../../src/pruning/options.ts";
import { StageStore } from "../../src/pruning/store.ts";
import { Games } from "../../src/reproduction/games.ts";
import { measureSensitivity, sensitivityImages } from "../../src/reproduction/sensitivity.ts";
import { compensate } from "../../src/surgery/compensate.ts";
import { evaluate } from "../../src/training/evaluate.ts";
import { train } from "../../src/training/train.ts";
import { peerRemovals, readPeerPlan } from "./peer_plan.ts";
import { openSetting, openTest, SETTING_OPTIONS, writeExperiment } from "./setting.ts";

const { values: args } = parseArgs({
  options: {
    ...SETTING_OPTIONS,
    arms: {
      type: "string",
      default: "random/uniform/inner,l1/uniform/inner,shapley/global/inner",
    },
    seeds: { type: "string", default: "3" },
    "first-seed": { type: "string", default: "0" },
    "cut-flops": { type: "string", default: "0.455" },
    "cut-params": { type: "string" },
    epochs: { type: "string", default: "0" },
    lr: { type: "string", default: "0.02" },
    batch: { type: "string", default: "128" },
    "weight-decay": { type: "string", default: "0.0005" },
    distill: { type: "string", default: "0" },
    temperature: { type: "string", default: "4" },
    dtype: { type: "string", default: "auto" },
  },
});

const setting = await openSetting(args);
const { graph, training, heldOut } = setting;
const test = await openTest(args);
const normalisation = normalisations.imagenet;
const epochs = Number(args.epochs);

interface Figures {
  readonly loss: number;
  readonly top1: number;
}

interface Row {
  readonly arm: string;
  readonly seed: number;
  readonly flopsCut: number;
  readonly parametersCut: number;
  /** Seconds to rank and to compensate; the machine may have done other things meanwhile. */
  readonly seconds: Readonly<Record<string, number>>;
  readonly afterCut?: { readonly heldOut: Figures; readonly test: Figures };
  readonly compensated?: { readonly heldOut: Figures; readonly test: Figures };
  /** Test accuracy after every epoch. */
  readonly epochs?: readonly Figures[];
}

async function figures(network: Graph, pictures: typeof heldOut): Promise<Figures> {
  const { loss, top1 } = await evaluate(network, pictures, { normalisation, dtype: "f32-fast" });
  return { loss, top1 };
}

const both = async (network: Graph) => ({
  heldOut: await figures(network, heldOut),
  test: await figures(network, test),
});

/** Games are measured once for each scope and seed. */
const measured = new Map<string, Promise<Games>>();

function once<T>(made: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  const known = made.get(key) ?? make();
  made.set(key, known);
  return known;
}

/** An arm's words as the options of `prune` that they stand for. */
function optionsOf(arm: string, seed: number): PruneOptions {
  const [criterion, ratios = "global", scope = "inner", ...rest] = arm.split("/");
  const more = Object.fromEntries(rest.map((option) => option.split("=")));
  const budget = { cutFlops: args["cut-flops"], cutParams: args["cut-params"] };
  return pruneOptions({ criterion, ratios, scope, ...budget, ...more, seed: `${seed}` }, false);
}

/** The stages of a choice, not stored. */
function stagesOf(groups: readonly ChannelGroup[], options: PruneOptions): ChoiceStages {
  const { scope, seed, cap, roundTo, pairs, calibration, worth } = options;
  const pictures = (count: number, purpose: string) =>
    Promise.resolve(calibrationSet(training, count, seed, purpose));
  const games = () =>
    once(
      measured,
      `${scope} ${seed}`,
      async () => Games.measure(graph, groups, await pictures(2048, "moments"), { normalisation }),
    );
  const most = mostRemovable(groups, groups.map(() => cap), roundTo);
  const context = { graph, groups, most, seed, normalisation, compute: {}, pictures, games };
  const { budget } = options;
  if (budget.kind === "latency") throw new TypeError("arms are compared at one count of FLOPs");
  return {
    budget,
    settled: (solve) => Promise.resolve(solve(budget)),
    statistics: async () =>
      measureSites(graph, groups, await pictures(options.entropyImages, "statistics"), {
        normalisation,
        rankImages: options.rankImages,
        entropyImages: options.entropyImages,
      }),
    rankings: (find) => find(context),
    curves: async (rankings) => (await games()).curves(rankings.map(({ order }) => order)),
    sensitivities: async (rankings, curves) => {
      const orders = rankings.map(({ order }) => order);
      const sampled = await pictures(sensitivityImages(graph), "sensitivity");
      const question = { orders, curves, most };
      return await measureSensitivity(graph, groups, await games(), question, sampled, {
        normalisation,
      });
    },
    networkShapley: async (kept) => {
      if (worth === "compensated") throw new TypeError("the compensated game plays no network");
      const folder = await mkdtemp(join(tmpdir(), "cuts-"));
      const store = await StageStore.open(folder, "cuts", false);
      const sampled = await pictures(calibration, "shapley");
      const batches = calibrationBatches(sampled, Math.min(128, sampled.count), normalisation);
      return await shapleyOf(graph, groups, kept, batches, store, { seed, pairs, worth });
    },
  };
}

async function chosen(arm: string, seed: number): Promise<readonly Removal[]> {
  if (arm.endsWith(".json")) return peerRemovals(graph, await readPeerPlan(arm));
  const options = optionsOf(arm, seed);
  const groups = prunableGroups(graph, options.scope);
  const caps = groups.map(() => options.cap);
  return (await choose(graph, groups, caps, options, stagesOf(groups, options))).removals;
}

/** Fine-tunes and tests after every epoch; a stopped run goes on from its checkpoint. */
async function trained(network: Graph, arm: string, seed: number): Promise<Figures[]> {
  const share = Number(args.distill);
  const checkpoint = `${setting.out}.${arm.replaceAll(/\W/g, "-")}.${seed}.checkpoint`;
  const { history } = await train(network, {
    data: training,
    // Read after every epoch and never chosen by: what counts are the last weights.
    validation: test,
    normalisation,
    epochs,
    batch: Number(args.batch),
    learningRate: Number(args.lr),
    warmupEpochs: Math.min(1, epochs / 10),
    smoothing: 0,
    optimizer: { kind: "sgd", weightDecay: Number(args["weight-decay"]) },
    ...(share > 0
      ? { distillation: { teacher: graph, share, temperature: Number(args.temperature) } }
      : {}),
    augment: true,
    seed,
    dtype: args.dtype as "auto" | "f32",
    checkpoint,
    resume: true,
    onEpoch: ({ epoch, loss, validation, seconds }) =>
      console.error(
        `${arm} seed ${seed} epoch ${epoch}: loss ${loss.toFixed(4)}, test ` +
          `${percent(validation!.top1!)}, ${seconds.toFixed(0)} s`,
      ),
  });
  await rm(checkpoint, { force: true });
  return history.map(({ validation }) => ({ loss: validation!.loss, top1: validation!.top1! }));
}

async function rowOf(arm: string, seed: number): Promise<Row> {
  const clock = () => performance.now() / 1000;
  const started = clock();
  const removals = arm === "control" ? [] : await chosen(arm, seed);
  const rankedAt = clock();
  const cut = cutGraph(graph, removals);
  const pictures = calibrationSet(training, 2048, seed, "surgery");
  const better = await compensate(graph, cut, removals, pictures, { normalisation });
  const compensatedAt = clock();
  const [before, after] = [costOf(graph), costOf(cut)];
  return {
    arm: armName(arm),
    seed,
    flopsCut: 1 - after.macs / before.macs,
    parametersCut: 1 - after.parameters / before.parameters,
    seconds: { rank: rankedAt - started, compensate: compensatedAt - rankedAt },
    afterCut: await both(cut),
    compensated: await both(better),
    ...(epochs > 0 ? { epochs: await trained(better, armName(arm), seed) } : {}),
  };
}

const percent = (figure: number) => `${(100 * figure).toFixed(2)}%`;

/** A plan's file without its folder; other arms as they were asked for. */
const armName = (arm: string) => arm.endsWith(".json") ? arm.split("/").at(-1)! : arm;

const known: Row[] = existsSync(setting.out)
  ? JSON.parse(await readFile(setting.out, "utf8")).rows
  : [];
const rows = [...known];
const original = await both(graph);
const first = Number(args["first-seed"]);
for (let seed = first; seed < first + Number(args.seeds); seed++) {
  for (const arm of args.arms.split(",")) {
    if (rows.some((row) => row.arm === armName(arm) && row.seed === seed)) continue;
    const row = await rowOf(arm, seed);
    rows.push(row);
    const { compensated, epochs: after } = row;
    console.log(
      `${row.arm} seed ${seed}: held out ${percent(compensated!.heldOut.top1)}, test ` +
        `${percent(compensated!.test.top1)}` +
        (after ? `, trained ${after.map(({ top1 }) => percent(top1)).join(" ")}` : ""),
    );
    await writeExperiment(setting.out, { experiment: "cuts", ...setting.about, original, rows });
  }
}
