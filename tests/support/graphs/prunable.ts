/** Everything that must hold of pruning one random network. */

import { solveShares } from "../../../src/ratios/shares.ts";
import { SecateurError } from "../../../src/errors.ts";
import { type ChannelGroup, channelGroups, prunableGroups } from "../../../src/graph/channels.ts";
import { costOf } from "../../../src/graph/cost.ts";
import { cutGraph, cutShapes, type Removal } from "../../../src/graph/cut.ts";
import type { Graph } from "../../../src/graph/graph.ts";
import { shapesOf } from "../../../src/graph/shapes.ts";
import { RandomStream } from "../../../src/random.ts";
import { evaluateGraph, type Masks } from "../../oracle/graph.ts";
import { randomImages } from "../interpreted.ts";
import { masksOf, type RandomRemoval, randomRemovals } from "./removals.ts";

/** What became of one network. */
export interface PrunableResult {
  /** Whether any channel went, and whether that changed the answer. */
  readonly cut: boolean;
  readonly changed: boolean;
  /** Budgets that were met, and that were refused. */
  readonly met: number;
  readonly refused: number;
}

function fail(seed: number, finding: string): never {
  throw new Error(`network ${seed}: ${finding}`);
}

/** No channel and no slice of a parameter belongs to two players; names differ. */
function expectConsistent(groups: readonly ChannelGroup[], seed: number): void {
  const names = new Set<string>();
  const owners = new Map<string, unknown>();
  const claim = (key: string, player: unknown) => {
    const owner = owners.get(key) ?? player;
    if (owner !== player) fail(seed, `two players have ${key}`);
    owners.set(key, player);
  };
  for (const { name, players, sites } of groups) {
    if (names.has(name)) fail(seed, `two groups are called ${name}`);
    names.add(name);
    if (players.length === 0) fail(seed, `${name} has no players`);
    for (const player of players) {
      if (player.channels.length === 0) fail(seed, `a player of ${name} has no channels`);
      for (const { value, channel } of player.channels) claim(`${value} ${channel}`, player);
      for (const { parameter, axis, index } of player.slices) {
        claim(`${parameter} ${axis} ${index}`, player);
      }
      for (const { value } of player.sites) {
        if (!sites.includes(value)) fail(seed, `${name} does not name its site ${value}`);
      }
    }
  }
}

/** Every channel that a layer makes is a player's, and so is every index of its parameters. */
function expectComplete(graph: Graph, groups: readonly ChannelGroup[], seed: number): void {
  const players = groups.flatMap((group) => group.players);
  const shapes = shapesOf(graph);
  const channels = new Map<string, number>();
  const slices = new Map<string, Set<number>>();
  for (const player of players) {
    for (const { value } of player.channels) channels.set(value, (channels.get(value) ?? 0) + 1);
    for (const { parameter, axis, index } of player.slices) {
      const key = `${parameter}\n${axis}`;
      slices.set(key, (slices.get(key) ?? new Set()).add(index));
    }
  }
  for (const { producers } of groups) {
    for (const name of producers) {
      const { output } = graph.nodes.find((node) => node.name === name)!;
      if (channels.get(output) !== shapes.get(output)![0]) {
        fail(seed, `${channels.get(output)} of the ${shapes.get(output)![0]} channels of ${name}`);
      }
    }
  }
  for (const node of graph.nodes) {
    if (node.op !== "convolution" && node.op !== "linear") continue;
    const owned = slices.get(`${node.weight}\n0`)?.size ?? 0;
    const depthwise = node.op === "convolution" && node.groups > 1;
    const out = graph.parameters.get(node.weight)!.shape[0];
    // A depthwise layer behind the model's input, or behind zeros, belongs to nobody.
    if (owned !== out && !(depthwise && owned === 0)) {
      fail(seed, `${owned} of the ${out} outputs of ${node.weight} belong to players`);
    }
  }
}

/** No channel of an output can go. */
function expectPinned({ outputs }: Graph, groups: readonly ChannelGroup[], seed: number): void {
  for (const { name, pinned, players } of groups) {
    const held = players.flatMap(({ channels }) => channels)
      .find(({ value }) => outputs.includes(value));
    if (held !== undefined && pinned === undefined) {
      fail(seed, `${name} may lose channels of the output ${held.value}`);
    }
  }
}

const largest = (values: Float64Array): number =>
  values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);

const difference = (a: Float64Array, b: Float64Array): number => {
  if (a.length !== b.length) return Infinity;
  // NaN counts as a difference.
  return a.reduce((most, x, i) => Math.abs(x - b[i]) <= most ? most : Math.abs(x - b[i]), 0);
};

/** Cuts; the cut network must have the shapes and cost foretold, and the masked one's answer. */
function expectSurgery(
  graph: Graph,
  removals: readonly RandomRemoval[],
  random: RandomStream,
  seed: number,
): { graph: Graph; changed: () => boolean } {
  const cut = cutGraph(graph, removals);
  const shapes = shapesOf(cut), before = shapesOf(graph);
  for (const output of graph.outputs) {
    if (shapes.get(output)?.join() !== before.get(output)!.join()) {
      fail(seed, `its output ${output} lost numbers`);
    }
  }
  const real = costOf(cut), foretold = costOf(cutShapes(graph, removals));
  if (real.macs !== foretold.macs || real.parameters !== foretold.parameters) {
    fail(seed, `costs ${real.macs} MACs where ${foretold.macs} were foretold`);
  }
  const [image] = randomImages(graph, 1, random);
  const answers = (of: Graph, masks: Masks = new Map()) => {
    const values = evaluateGraph(of, image, masks);
    return graph.outputs.map((output) => values.get(output)!);
  };
  const masked = answers(graph, masksOf(removals)), after = answers(cut);
  masked.forEach((values, i) => {
    const scale = largest(values), error = difference(values, after[i]);
    if (!(error <= 1e-10 * scale)) {
      fail(seed, `is ${error} off its masked output ${graph.outputs[i]} of ${scale}`);
    }
  });
  const changed = () =>
    answers(graph).some((values, i) => difference(values, after[i]) > 1e-8 * largest(masked[i]));
  return { graph: cut, changed };
}

/** Meets a budget within one channel step, or says why not. */
function meetsBudget(
  graph: Graph,
  groups: readonly ChannelGroup[],
  budget: { readonly kind: "flops" | "parameters"; readonly cut: number },
  random: RandomStream,
  seed: number,
): boolean {
  const concentration = groups.map(() => random.uniform() + 0.1);
  const figure = (removals: readonly Removal[]) => {
    const { macs, parameters } = costOf(cutGraph(graph, removals));
    return budget.kind === "flops" ? macs : parameters;
  };
  const keeping = (kept: readonly number[]) =>
    figure(groups.map((group, i) => ({
      group,
      removed: group.players.map((_, player) => player).slice(kept[i]),
    })));
  let ratios;
  try {
    ratios = solveShares(graph, groups, concentration, { budget });
  } catch (thrown) {
    const refused = thrown instanceof SecateurError && thrown.code === "budget-impossible";
    if (!refused) throw thrown;
    const least = keeping(
      groups.map(({ players }) => Math.max(1, Math.ceil(players.length * 0.1))),
    );
    if (least <= (1 - budget.cut) * figure([])) {
      fail(seed, `refuses ${budget.cut} of ${budget.kind}`);
    }
    return false;
  }
  const { kept, allowed, reached } = ratios;
  if (keeping(kept) !== reached || reached > allowed) fail(seed, `reaches ${reached}`);
  // No single channel more fits.
  groups.forEach(({ players }, i) => {
    if (kept[i] === players.length) return;
    if (keeping(kept.with(i, kept[i] + 1)) <= allowed) {
      fail(seed, `could keep a channel more at ${budget.cut} of the ${budget.kind}`);
    }
  });
  return true;
}

/** All players of a group but one, of every group. */
function emptied(groups: readonly ChannelGroup[], random: RandomStream): RandomRemoval[] {
  return randomRemovals(groups, random, 1);
}

/** Throws, naming the network, unless all that must hold of pruning it does. */
export function expectPrunable(seed: number, graph: Graph): PrunableResult {
  const random = new RandomStream(seed, "pruned");
  const all = channelGroups(graph);
  expectConsistent(all, seed);
  expectComplete(graph, all, seed);
  expectPinned(graph, all, seed);
  const groups = prunableGroups(graph, "all");
  const removals = seed % 5 === 0 ? emptied(groups, random) : randomRemovals(groups, random);
  const once = expectSurgery(graph, removals, random, seed);
  // What was cut can be cut again.
  const again = prunableGroups(once.graph, "all");
  expectConsistent(channelGroups(once.graph), seed);
  expectSurgery(once.graph, randomRemovals(again, random), random, seed);
  let met = 0, refused = 0;
  for (const cut of seed % 4 === 0 && groups.length > 0 ? [0.3, 0.5, 0.7] : []) {
    const kind = random.integer(2) === 0 ? "flops" : "parameters";
    if (meetsBudget(graph, groups, { kind, cut }, random, seed)) met++;
    else refused++;
  }
  const cut = removals.some(({ removed }) => removed.length > 0);
  return { cut, changed: cut && once.changed(), met, refused };
}
