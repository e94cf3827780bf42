/**
 * Torch-Pruning's choice of channels, as removals from our graph of the same network: what goes is
 * its own, what follows (compensation, fine-tuning) can be the same on both sides.
 *
 *   deno run -A bench/experiments/peer_plan.ts --model resnet56 --weights FILE --out PLAN
 *     [--criterion group-l2|taylor|fpgm|random] [--ranking local|global] [--scope inner|all]
 *     [--cut-flops 0.455] [--rounds 1] [--seed 1] [--pictures CIFAR10_FOLDER --images 1024]
 *
 * makes a plan with the Python of the benchmarks' peers (bench/peers.ts) and checks it.
 */

import { spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import process from "node:process";
import { z } from "zod";
import type { CalibrationBatch } from "../../src/data/batches/calibration.ts";
import { reasonOf, SecateurError } from "../../src/errors.ts";
import { writeSafetensors } from "../../src/formats/safetensors.ts";
import { readWeights } from "../../src/formats/checkpoint.ts";
import { channelGroups, type Player } from "../../src/graph/channels.ts";
import { costOf } from "../../src/graph/cost.ts";
import { cutShapes, type Removal } from "../../src/graph/cut.ts";
import type { Graph, Shape } from "../../src/graph/graph.ts";
import { bindWeights } from "../../src/models/bind.ts";
import { createModel } from "../../src/models/models.ts";
import { type PeerInterpreter, peerScript } from "../peer_process.ts";
import { findPeers } from "../peers.ts";

const cost = z.object({ macs: z.number(), flops: z.number(), parameters: z.number() });

/** What bench/peers/torch_pruning_plan.py writes. */
const peerPlan = z.object({
  versions: z.record(z.string(), z.string()),
  model: z.string(),
  criterion: z.string(),
  ranking: z.enum(["local", "global"]),
  scope: z.enum(["inner", "all"]),
  rounds: z.number(),
  seed: z.number(),
  /** Pictures that gradients were taken on. */
  images: z.number().optional(),
  cutFlops: z.number(),
  /** Torch-Pruning's ratio, and the higher one that some of its groups got where it ranks locally. */
  pruning: z.object({
    ratio: z.number(),
    raised: z.object({ ratio: z.number(), groups: z.number(), of: z.number() }).optional(),
  }),
  /**
   * Before and after, and one step of the search less, which does not meet the budget. `macs` are
   * those of convolutions and linear layers, of `flops` that Torch-Pruning counts.
   */
  cost: z.object({ before: cost, after: cost, below: cost }),
  /** Output channels of every convolution and linear layer that stay, in the original's numbers. */
  layers: z.array(z.object({
    name: z.string(),
    channels: z.number(),
    kept: z.array(z.number()),
  })),
});

export type PeerPlan = z.infer<typeof peerPlan>;

/** Reads a plan. Throws "format-corrupt" where it is none. */
export async function readPeerPlan(path: string): Promise<PeerPlan> {
  try {
    return peerPlan.parse(JSON.parse(await readFile(path, "utf8")));
  } catch (thrown) {
    throw new SecateurError(
      "format-corrupt",
      `Expected a plan of bench/peers/torch_pruning_plan.py at ${path}, but ${reasonOf(thrown)}.`,
    );
  }
}

const differs = (plan: PeerPlan, what: string) =>
  new SecateurError(
    "check-failed",
    `Torch-Pruning's plan of ${plan.model} does not fit our graph of it: ${what}.`,
  );

/** Whether a player goes: all of the filters that make it, or none. */
function goes(plan: PeerPlan, kept: ReadonlyMap<string, ReadonlySet<number>>, player: Player) {
  const filters = player.slices.flatMap(({ parameter, axis, index }) => {
    const channels = axis === 0 ? kept.get(parameter) : undefined;
    return channels === undefined ? [] : [{ parameter, index, stays: channels.has(index) }];
  });
  const stays = filters.filter((filter) => filter.stays);
  if (stays.length > 0 && stays.length < filters.length) {
    const names = filters.map(({ parameter, index }) => `${parameter}[${index}]`).join(", ");
    throw differs(plan, `only some of ${names} stay, which go together`);
  }
  return filters.length > 0 && stays.length === 0;
}

/**
 * The players of `graph` that a plan removes. Throws "check-failed" where the plan cuts what our
 * groups keep together or whole, or where either network's multiply-accumulates, before or after,
 * are not what Torch-Pruning counted.
 */
export function peerRemovals(graph: Graph, plan: PeerPlan): Removal[] {
  const kept = new Map(
    plan.layers.map((layer) => [`${layer.name}.weight`, new Set(layer.kept)] as const),
  );
  const removals = channelGroups(graph).map((group) => ({
    group,
    removed: group.players.flatMap((player, index) => goes(plan, kept, player) ? [index] : []),
  })).filter(({ removed }) => removed.length > 0);
  for (const { group: { name, pinned } } of removals) {
    if (pinned !== undefined) throw differs(plan, `${name} must stay whole, because ${pinned}`);
  }
  const ours = { before: costOf(graph), after: costOf(cutShapes(graph, removals)) };
  for (const moment of ["before", "after"] as const) {
    const { macs } = ours[moment], theirs = plan.cost[moment].macs;
    if (macs !== theirs) {
      throw differs(plan, `it counts ${theirs} multiply-accumulates ${moment}, and we ${macs}`);
    }
  }
  return removals;
}

/** Writes pictures as --pictures of the plan's script reads them, for gradients. */
export async function writePeerPictures(
  path: string,
  batches: readonly CalibrationBatch[],
  [channels, height, width]: Shape,
): Promise<void> {
  const plane = height * width, size = channels * plane;
  const labels = Float32Array.from(batches.flatMap((batch) => [...batch.labels]));
  const inputs = new Float32Array(labels.length * size);
  let at = 0;
  for (const { images } of batches) {
    // [image][cell][channel] to [image][channel][cell]
    for (let from = 0; from < images.length; from++) {
      const image = Math.floor(from / size), within = from % size;
      inputs[at + image * size + (within % channels) * plane + Math.floor(within / channels)] =
        images[from];
    }
    at += images.length;
  }
  await writeSafetensors(
    path,
    new Map([
      ["inputs", { shape: [labels.length, channels, height, width], data: inputs }],
      ["labels", { shape: [labels.length], data: labels }],
    ]),
  );
}

/** Lets Torch-Pruning make a plan, with the options of the script. Throws "addon-failed". */
export function makePeerPlan({ path }: PeerInterpreter, options: readonly string[]): void {
  const script = peerScript("torch_pruning_plan.py");
  const { status, stderr, error } = spawnSync(path, [script, ...options], { encoding: "utf8" });
  if (status === 0) return;
  const reason = error?.message ?? stderr.trim().split("\n").at(-1);
  throw new SecateurError("addon-failed", `Torch-Pruning made no plan: ${reason}.`);
}

/** The value of an option of the script. */
function optionOf(options: readonly string[], name: string): string {
  const at = options.indexOf(name);
  if (at < 0 || at + 1 >= options.length) throw new Error(`expects ${name}`);
  return options[at + 1];
}

async function main(options: readonly string[]): Promise<void> {
  const found = findPeers();
  if ("missing" in found) throw new SecateurError("addon-missing", found.missing);
  const weights = optionOf(options, "--weights"), out = optionOf(options, "--out");
  makePeerPlan(found.interpreter, options);
  const plan = await readPeerPlan(out);
  const tensors = await readWeights(weights);
  const size = plan.model === "mobilenet_v2" ? 224 : 32;
  const classes = plan.layers.at(-1)!.channels;
  const graph = bindWeights(
    createModel(plan.model, { classes, shape: [3, size, size] }),
    tensors,
    weights,
  );
  const { before, after } = plan.cost;
  for (const { group, removed } of peerRemovals(graph, plan)) {
    console.log(group.name, `${[...removed].length} of ${group.players.length} go`);
  }
  console.log(`${(100 * (1 - after.macs / before.macs)).toFixed(2)}% of the MACs, as counted here`);
}

if (import.meta.main) await main(process.argv.slice(2));
