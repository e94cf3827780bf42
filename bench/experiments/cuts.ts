/**
 * Which cut loses least: criteria, ratio rules and scopes side by side, and Torch-Pruning's own choice of
 * channels, all at one budget and all compensated alike; accuracy and loss on held-out and test pictures,
 * before any training and, with --epochs, after it.
 *
 *   deno run -A bench/experiments/cuts.ts --model resnet20 --weights FILE --data cifar10:FOLDER \
 *     --out FILE [--arms shapley/global,l1/uniform/inner,group-l2.json,control] [--seeds 3]
 *     [--cut-flops 0.455] [--epochs 10 --lr 0.02 ...]
 *
 * An arm is criterion/rule[/scope[/option=value...]], with `stages`, `pairs`, `ahead` and `exponent` of
 * the compensated game and `worth` as options; a plan of Torch-Pruning (peer_plan.ts) by its file; or
 * `control`, the unpruned network. Weights that saw all training pictures make held-out figures look
 * well: read differences between arms. Every seed draws its own pictures and chances. Rows that the
 * result file has already are not run again.
 *
 * What would refute the default: any rival within two standard errors of it, or ahead.
 */

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { concentrate, concentrationOf } from "../../src/concentration/concentration.ts";
import { measureSites } from "../../src/concentration/statistics.ts";
import { type Criterion, rank } from "../../src/criteria/criteria.ts";
import { type Ranking, removalsOf } from "../../src/criteria/ranking.ts";
import { sequentialRanking } from "../../src/criteria/shapley.ts";
import { calibrationSet } from "../../src/data/batches/calibration.ts";
import { normalisations } from "../../src/data/dataset.ts";
import { prunableGroups, type Scope } from "../../src/graph/channels.ts";
import { costOf } from "../../src/graph/cost.ts";
import { cutGraph, type Removal } from "../../src/graph/cut.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { mostRemovable } from "../../src/pruning/choice.ts";
import { solveKnapsack } from "../../src/ratios/knapsack.ts";
import { solveShares } from "../../src/ratios/shares.ts";
import { Games } from "../../src/reproduction/games.ts";
import { compensate } from "../../src/surgery/compensate.ts";
import { evaluate } from "../../src/training/evaluate.ts";
import { train } from "../../src/training/train.ts";
import { peerRemovals, readPeerPlan } from "./peer_plan.ts";
import { openSetting, openTest, SETTING_OPTIONS, writeExperiment } from "./setting.ts";

const { values: args } = parseArgs({
  options: {
    ...SETTING_OPTIONS,
    arms: { type: "string", default: "random/uniform/inner,l1/uniform/inner,shapley/global/inner" },
    seeds: { type: "string", default: "3" },
    "first-seed": { type: "string", default: "0" },
    "cut-flops": { type: "string", default: "0.455" },
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
const budget = { kind: "flops", cut: Number(args["cut-flops"]) } as const;
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

interface Arm {
  readonly criterion: Criterion;
  readonly rule: string;
  readonly scope: Scope;
  readonly options: Readonly<Record<string, string>>;
}

function parseArm(text: string): Arm {
  const [criterion, rule = "global", scope = "inner", ...rest] = text.split("/");
  const options = Object.fromEntries(rest.map((option) => option.split("=")));
  return { criterion: criterion as Criterion, rule, scope: scope as Scope, options };
}

async function chosen(text: string, seed: number): Promise<Removal[]> {
  if (text.endsWith(".json")) return peerRemovals(graph, await readPeerPlan(text));
  const { criterion, rule, scope, options } = parseArm(text);
  const groups = prunableGroups(graph, scope);
  const pictures = (count: number, purpose: string) =>
    Promise.resolve(calibrationSet(training, count, seed, purpose));
  const key = `${scope} ${seed}`;
  const games = () => {
    let known = measured.get(key);
    if (known === undefined) {
      known = pictures(2048, "moments").then((data) =>
        Games.measure(graph, groups, data, { normalisation })
      );
      measured.set(key, known);
    }
    return known;
  };
  const most = mostRemovable(groups, groups.map(() => 0.9), 1);
  const context = { graph, groups, most, seed, normalisation, compute: {}, pictures, games };
  const { stages = "16", pairs = "8", ahead = "0.25", exponent = "0" } = options;
  const shapley = sequentialRanking({
    stages: Number(stages),
    pairs: Number(pairs),
    ahead: ahead === "all" ? "all" : Number(ahead),
  });
  const rankings: Ranking[] = await rank(criterion, context, shapley);
  const concentrationFigures = async () => {
    const data = await pictures(2048, "statistics");
    const sites = await measureSites(graph, groups, data, { normalisation });
    return concentrationOf(graph, groups, concentrate(sites)).map(({ concentration }) =>
      concentration
    );
  };
  const solve = async () => {
    if (rule === "uniform") return solveShares(graph, groups, groups.map(() => 1), { budget });
    if (rule === "concentration") {
      const power = Number(options.exponent ?? 1);
      const shares = (await concentrationFigures()).map((figure) => figure ** power);
      return solveShares(graph, groups, shares, { budget });
    }
    const own = await games();
    const power = Number(exponent);
    const weights = power > 0
      ? (await concentrationFigures()).map((figure) => figure ** power)
      : groups.map(() => 1);
    const curves = await Promise.all(
      rankings.map(async ({ order }, index) =>
        (await own.curve(index, order)).map((loss) => loss * weights[index])
      ),
    );
    return solveKnapsack(graph, groups, curves, { budget });
  };
  return removalsOf(groups, rankings, (await solve()).kept);
}

/** Fine-tunes and tests after every epoch. */
async function trained(network: Graph, seed: number): Promise<Figures[]> {
  const share = Number(args.distill);
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
  });
  return history.map(({ validation }) => ({ loss: validation!.loss, top1: validation!.top1 }));
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
    ...(epochs > 0 ? { epochs: await trained(better, seed) } : {}),
  };
}

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
    const percent = (figure: number) => `${(100 * figure).toFixed(2)}%`;
    console.log(
      `${row.arm} seed ${seed}: held out ${percent(compensated!.heldOut.top1)}, test ` +
        `${percent(compensated!.test.top1)}` +
        (after ? `, trained ${after.map(({ top1 }) => percent(top1)).join(" ")}` : ""),
    );
    await writeExperiment(setting.out, { experiment: "cuts", ...setting.about, original, rows });
  }
}
