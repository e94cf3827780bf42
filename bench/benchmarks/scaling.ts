import { costOf } from "../../src/graph/cost.ts";
import { prunableGroups } from "../../src/graph/channels.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { cifarResNet } from "../../src/models/resnet.ts";
import { computeOf, LoadedModel } from "../../src/native/loaded_model.ts";
import { gameRequest, NetworkGame } from "../../src/shapley/game.ts";
import {
  type Benchmark,
  type BenchmarkOptions,
  type Case,
  type Contestant,
  secondsPerRun,
} from "../contestant.ts";
import { openInference } from "./inference.ts";
import {
  CLASSES,
  type Dtype,
  labelsInTurn,
  networkOf,
  noisePictures,
  precisions,
} from "./network.ts";
import { coalitionsOf } from "./shapley.ts";
import { openStep } from "./step.ts";

/** Cost may grow as the work does; a tenth is left to edges and to the clock. */
const PROPORTIONAL = { kind: "ratio", least: 0.9 } as const;

/** A training step of some size, in the arithmetic it does a second. */
interface Size {
  readonly title: string;
  readonly images: number;
  readonly graph: Graph;
}

async function openArithmetic(
  { graph, images }: Size,
  dtype: Dtype,
  options: BenchmarkOptions,
): Promise<Contestant> {
  const step = await openStep(graph, images, dtype, options);
  const operations = 6 * costOf(graph).macs;
  return { ...step, measure: async () => await step.measure() * operations / 1e9 };
}

/** One case for each size after the first, which is what it is compared with. */
function sweep(
  [first, ...larger]: readonly Size[],
  dtype: Dtype,
  options: BenchmarkOptions,
): Case[] {
  return larger.map((size) => ({
    name: `training step ${dtype}, ${size.title}`,
    unit: "GFLOP/s",
    better: "higher",
    details: { images: size.images, macs: costOf(size.graph).macs, dtype },
    ours: () => openArithmetic(size, dtype, options),
    peers: [],
    own: [{
      name: first.title,
      target: PROPORTIONAL,
      open: () => openArithmetic(first, dtype, options),
    }],
  }));
}

function sizes(quick: boolean): Size[][] {
  const depth = quick ? 8 : 20;
  const batch = quick ? 2 : 64;
  const network = (width: number, side: number) =>
    cifarResNet({ depth, classes: CLASSES, shape: [3, side, side], width });
  const plain = network(16, 32);
  const some = (all: readonly number[]) => quick ? all.slice(0, 2) : all;
  return [
    some([1, 2, 4, 8]).map((times) => {
      const images = times * batch / 2;
      return { title: `batch ${images}`, images, graph: plain };
    }),
    some([16, 32, 64]).map((width) => {
      return { title: `${width} channels`, images: batch, graph: network(width, 32) };
    }),
    some([32, 48, 64]).map((side) => {
      return { title: `${side}x${side}`, images: batch, graph: network(16, side) };
    }),
  ];
}

/** All threads against one; another device has its own. */
function threadCases(dtype: Dtype, options: BenchmarkOptions): Case[] {
  const { graph, title } = networkOf(options);
  const images = options.quick ? 8 : 128;
  const { threads, device } = options;
  if (threads === 1 || device !== undefined) return [];
  const one = { ...options, threads: 1 };
  const ways = { inference: openInference, "training step": openStep };
  return Object.entries(ways).map(([what, open]) => ({
    name: `${what} ${title} ${dtype}, ${threads} threads`,
    unit: "images/s",
    better: "higher",
    details: { images, dtype, threads },
    ours: () => Promise.resolve(open(graph, images, dtype, options)),
    peers: [],
    own: [{
      name: "1 thread",
      target: { kind: "ratio", least: 0.9 * threads },
      open: () => Promise.resolve(open(graph, images, dtype, one)),
    }],
  }));
}

/** Evaluations a second of one layer's game, a number of coalitions at a time. */
function openGame(
  graph: Graph,
  coalitions: number,
  dtype: Dtype,
  options: BenchmarkOptions,
): Contestant {
  const groups = prunableGroups(graph, "inner");
  const group = groups[Math.floor(groups.length / 2)];
  const images = options.quick ? 2 : 64;
  const compute = computeOf({ ...options, dtype });
  const model = LoadedModel.open(graph, [gameRequest(graph, group, images)], compute);
  const batch = { images: noisePictures(graph, images), labels: labelsInTurn(images) };
  const game = new NetworkGame(model, group, [batch]);
  const asked = coalitionsOf(group.players.length, coalitions);
  const run = async () => {
    await game.evaluate(asked, {});
  };
  return {
    about: `${dtype}, ${group.name}`,
    measure: async () => coalitions / await secondsPerRun(run, options.seconds),
    close: () => model.dispose(),
  };
}

function coalitionCases(dtype: Dtype, options: BenchmarkOptions): Case[] {
  const { graph, title } = networkOf(options);
  return (options.quick ? [16] : [32, 128]).map((coalitions) => ({
    name: `Shapley, one layer of ${title} ${dtype}, ${coalitions} coalitions`,
    unit: "evaluations/s",
    better: "higher",
    details: { coalitions, dtype },
    ours: () => Promise.resolve(openGame(graph, coalitions, dtype, options)),
    peers: [],
    own: [{
      name: "8 coalitions",
      target: PROPORTIONAL,
      open: () => Promise.resolve(openGame(graph, 8, dtype, options)),
    }],
  }));
}

export const scaling: Benchmark = {
  name: "scaling",
  about: "cost against batch, channels, resolution, coalitions and threads",
  cases: (options) => {
    const { dtype } = precisions(options).at(-1)!;
    return [
      ...precisions(options).flatMap(({ dtype }) => threadCases(dtype, options)),
      ...sizes(options.quick).flatMap((one) => sweep(one, dtype, options)),
      ...coalitionCases(dtype, options),
    ];
  },
};
