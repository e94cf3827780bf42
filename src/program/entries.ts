/** Puts the passes together for each kind of entry. */

import { SecateurError } from "../errors.ts";
import type { Graph } from "../graph/graph.ts";
import { operatorOf } from "../graph/operators/table.ts";
import { splitAtGates, suffixOf } from "./passes/coalitions.ts";
import { removeDead } from "./passes/dead.ts";
import { differentiate } from "./passes/differentiate.ts";
import type { Draft, DraftEntry, DraftInstruction } from "./draft.ts";
import { fuse } from "./passes/fuse.ts";
import { composeGathers } from "./passes/gathers.ts";
import { insertGates, sinkGates, tap } from "./passes/instrument.ts";
import { logitsOf, lower, type Lowered } from "./lower/lower.ts";
import { classLosses, lossOf, matchLosses } from "./loss.ts";
import { type LowerOptions, present } from "./lower/lowering.ts";
import { hoist, pack, type PackedBytes } from "./passes/pack.ts";
import { imageTypeOf, type Precision } from "./precision.ts";
import { rematerialise } from "./passes/rematerialise.ts";
import type {
  CoalitionsRequest,
  CompiledEntry,
  ForwardRequest,
  StatisticsRequest,
  StepRequest,
} from "./requests.ts";
import { chooseSlice } from "./memory/slice.ts";
import {
  average,
  averageOf,
  hyperFeed,
  optimizerState,
  paceFeed,
  update,
} from "./passes/update.ts";

/** What all entries of a program share. */
export interface Context {
  readonly draft: Draft;
  readonly graph: Graph;
  readonly precision: Precision;
  /** Images per slice; chosen per entry by default. */
  readonly slice?: number;
  readonly packedBytes: PackedBytes;
}

/** An entry, the work it leaves to "prepare", and its interface. */
export interface Built {
  readonly entry: DraftEntry;
  readonly prepare: readonly DraftInstruction[];
  readonly compiled: CompiledEntry;
}

/** The network's instructions in an entry; `momentum` is the feed that statistics move by. */
export function lowerFor(
  context: Context,
  entry: string,
  images: number,
  batchNorm: LowerOptions["batchNorm"],
  momentum?: string,
): Lowered {
  const { draft, graph, precision } = context;
  const options = { entry, images, dtype: imageTypeOf(precision), batchNorm };
  return lower(draft, graph, momentum === undefined ? options : { ...options, momentum });
}

/** Composes gathers and fuses, keeping the pinned values. */
export function optimize(
  draft: Draft,
  instructions: readonly DraftInstruction[],
  pinned: ReadonlySet<string>,
): DraftInstruction[] {
  return fuse(draft, composeGathers(draft, instructions, pinned), pinned);
}

/** Packs, hoists and wraps up; `wanted` stays readable after a run. */
export function finish(
  context: Context,
  name: string,
  images: number,
  instructions: readonly DraftInstruction[],
  wanted: readonly string[],
): { entry: DraftEntry; prepare: DraftInstruction[] } {
  const { draft, precision, packedBytes } = context;
  const slice = Math.min(context.slice ?? chooseSlice(draft, instructions, images), images);
  const packed = pack(draft, instructions, { slice, precision, packedBytes });
  const { prepare, rest } = hoist(draft, packed);
  return { entry: { name, images, slice, instructions: rest, keep: new Set(wanted) }, prepare };
}

/** Entries that change weights prepare their own, and so never run on stale ones. */
function selfContained(
  { entry, prepare }: { entry: DraftEntry; prepare: readonly DraftInstruction[] },
): Pick<Built, "entry" | "prepare"> {
  return {
    entry: { ...entry, instructions: [...prepare, ...entry.instructions] },
    prepare: [],
  };
}

/** What entries that do not measure, train or average leave. */
export const NOTHING = {
  outputs: new Map<string, string>(),
  values: new Map<string, string>(),
  ranks: new Map<string, string>(),
  means: new Map<string, string>(),
  optimizerState: new Map<string, readonly string[]>(),
  averages: new Map<string, string>(),
};

/** Inference, with whatever is asked to be seen. */
export function buildForward(context: Context, request: ForwardRequest): Built {
  const { draft } = context;
  const { name, images } = request;
  const lowered = lowerFor(context, name, images, "running");
  const gated = insertGates(draft, name, lowered, request.gates ?? []);
  const taps = tap(draft, name, lowered, request);
  const values = new Map((request.fetch ?? []).map((value) => {
    const known = lowered.values.get(value);
    if (known !== undefined) return [value, known.name];
    throw new SecateurError("program-invalid", `There is no value ${value} to fetch from ${name}.`);
  }));
  const loss = request.loss === undefined
    ? undefined
    : lossOf(context.draft, name, images, logitsOf(context.graph, lowered), request.loss);
  const wanted = present({ logits: lowered.logits, loss: loss?.loss });
  const { outputs } = lowered;
  const kept = [...outputs.values(), ...values.values(), ...taps.ranks.values()];
  if (loss !== undefined) kept.push(loss.loss);
  kept.push(...taps.means.values());
  const all = [...gated.instructions, ...taps.instructions];
  if (loss !== undefined) all.push(loss.instruction);
  const instructions = optimize(draft, sinkGates(draft, all), new Set(kept));
  const feeds = { images: lowered.images, gates: gated.feeds };
  return {
    ...finish(context, name, images, instructions, kept),
    compiled: {
      name,
      images,
      feeds: loss === undefined ? feeds : { ...feeds, labels: loss.feeds.labels },
      ...wanted,
      ...NOTHING,
      outputs,
      values,
      ranks: taps.ranks,
      means: taps.means,
    },
  };
}

/** Parameters a step updates. */
function trainableOf(graph: Graph, frozen: ReadonlySet<string>): Set<string> {
  const names = graph.nodes.flatMap((node) => operatorOf(node).trainable(node));
  return new Set(names.filter((name) => !frozen.has(name)));
}

/** One step of training. */
export function buildStep(context: Context, request: StepRequest): Built {
  const { draft, graph, precision } = context;
  const { name, images, optimizer } = request;
  const lowered = lowerFor(context, name, images, "batch");
  const matched = "scales" in request.loss ? request.loss : undefined;
  const ends = matched ? [...lowered.outputs.values()] : [logitsOf(graph, lowered)];
  const forward = optimize(draft, lowered.instructions, new Set(ends));
  const { loss, instructions: losses, feeds: lossFeeds, seeds } = "scales" in request.loss
    ? matchLosses(draft, name, images, lowered.outputs, request.loss, precision)
    : classLosses(draft, name, images, ends[0], request.loss, precision);
  const trainable = trainableOf(graph, request.frozen ?? new Set());
  const backward = differentiate(draft, forward, {
    entry: name,
    images,
    precision,
    trainable,
    seeds,
  });
  const wanted = [...ends, loss];
  // Those that no layer reads have no place in the program yet.
  const averaged = request.average
    ? [...graph.parameters.keys()].filter((parameter) => draft.values.has(parameter))
    : [];
  const all = [
    ...forward,
    ...losses,
    ...backward.instructions,
    ...update(draft, name, backward.gradients, optimizer),
    ...average(draft, averaged),
  ];
  const instructions = request.recompute === false ? all : rematerialise(draft, all, {
    forward: forward.length + losses.length,
    pinned: new Set(wanted),
  });
  const feeds = {
    images: lowered.images,
    ...lossFeeds,
    hyper: hyperFeed(draft, optimizer.kind),
    ...(averaged.length > 0 ? { pace: paceFeed(draft) } : {}),
  };
  return {
    ...selfContained(finish(context, name, images, instructions, wanted)),
    compiled: {
      name,
      images,
      feeds: { ...feeds, gates: new Map() },
      ...(matched ? {} : { logits: ends[0] }),
      loss,
      ...NOTHING,
      outputs: lowered.outputs,
      optimizerState: new Map(
        [...backward.gradients.keys()].map((parameter) => [
          parameter,
          optimizerState(optimizer.kind, parameter),
        ]),
      ),
      averages: new Map(averaged.map((parameter) => [parameter, averageOf(parameter)])),
    },
  };
}

/** Batch-norm re-estimation. */
export function buildStatistics(context: Context, request: StatisticsRequest): Built {
  const { draft } = context;
  const { name, images } = request;
  const momentum = draft.value({
    name: "momentum",
    dtype: "f32",
    shape: [1],
    images: 0,
    place: "feeds",
  });
  const lowered = lowerFor(context, name, images, "batch", momentum);
  const alive = removeDead(draft, lowered.instructions, []);
  const instructions = optimize(draft, alive, new Set());
  return {
    ...selfContained(finish(context, name, images, instructions, [])),
    compiled: {
      name,
      images,
      feeds: { images: lowered.images, momentum, gates: new Map() },
      ...NOTHING,
    },
  };
}

/** The prefix and the suffixes of a game. */
export function buildCoalitions(context: Context, request: CoalitionsRequest): Built[] {
  const { draft } = context;
  const { name, images } = request;
  const source = `${name}/prefix`;
  const lowered = lowerFor(context, source, images, "running");
  const gated = insertGates(draft, source, lowered, request.gates);
  const end = logitsOf(context.graph, lowered);
  const pinned = new Set([end]);
  const split = splitAtGates(
    draft,
    optimize(draft, sinkGates(draft, gated.instructions), pinned),
  );
  const left = [...split.boundary].filter((value) => draft.get(value).place === "activations");
  const prefix = finish(context, source, images, removeDead(draft, split.prefix, left), []);
  const built: Built[] = [{
    entry: { ...prefix.entry, lasting: { game: name, values: new Set(left) } },
    prepare: prefix.prepare,
    compiled: {
      name: source,
      images,
      feeds: { images: lowered.images, gates: new Map() },
      ...NOTHING,
    },
  }];
  for (const coalitions of request.coalitions) {
    const entry = `${name}/suffix/${coalitions}`;
    const suffix = suffixOf(draft, split, { entry, source, coalitions });
    const logits = suffix.valueOf(end);
    const stacked = images * coalitions;
    const loss = lossOf(context.draft, entry, stacked, logits, request.loss);
    const instructions = removeDead(draft, [...suffix.instructions, loss.instruction], [
      logits,
      loss.loss,
    ]);
    const gates = new Map(
      [...gated.feeds.keys()].map((label) => [label, `${entry}:gates/${label}`]),
    );
    built.push({
      ...finish(context, entry, stacked, instructions, [logits, loss.loss]),
      compiled: {
        name: entry,
        images: stacked,
        feeds: { labels: loss.feeds.labels, gates },
        logits,
        loss: loss.loss,
        ...NOTHING,
      },
    });
  }
  return built;
}
