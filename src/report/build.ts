/** From what a run found to its report. */

import type { GameWorth } from "../pruning/options.ts";
import { readFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import process from "node:process";
import type { InputContract } from "../data/contract.ts";
import { classesOf } from "../graph/answer.ts";
import { type Cost, costOf } from "../graph/cost.ts";
import type { Graph } from "../graph/graph.ts";
import { shapesOf } from "../graph/shapes.ts";
import { loadAddon } from "../native/binding.ts";
import { resolveDtype } from "../native/loaded_model.ts";
import { describeDevice, deviceName } from "../native/session.ts";
import type { PruneOptions } from "../pruning/options.ts";
import type { Measured, Pruned } from "../pruning/pipeline.ts";
import type { Estimate } from "../shapley/estimate.ts";
import type { CutCheck } from "../surgery/check.ts";
import {
  type Accuracy,
  ACCURACY_STEPS,
  type AccuracyStep,
  type CheckResult,
  type CostSummary,
  type DataSummary,
  type GroupRow,
  type LatencyRow,
  type LayerRow,
  type Provenance,
  type Report,
  type Results,
  type ShapleyResult,
  type StageTime,
} from "./report.ts";

/** What a report says beside what the run itself found. */
export interface ReportContext {
  readonly options: PruneOptions;
  readonly command: readonly string[];
  /** ISO 8601, UTC. */
  readonly started: string;
  /** Where the weights came from. */
  readonly source: string;
  readonly input: InputContract;
  readonly data: DataSummary;
  readonly latency: readonly LatencyRow[];
  /** Stages before and after pruning itself. */
  readonly stages: readonly StageTime[];
}

/** The version in package.json. */
function ownVersion(): string {
  const manifest = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(manifest) as { version: string }).version;
}

function provenanceOf({ options, command, started }: ReportContext): Provenance {
  const addon = loadAddon();
  const { deno, node } = process.versions;
  return {
    version: ownVersion(),
    command,
    started,
    seed: options.seed,
    options: { ...options, device: deviceName(options.device) },
    versions: { runtime: deno ? `Deno ${deno}` : `Node ${node}`, addon: addon.sourceHash },
    machine: {
      cpu: cpus()[0]?.model.trim() ?? "unknown",
      instructionSets: Object.entries(addon.cpuFeatures())
        .filter(([, present]) => present).map(([name]) => name),
      threads: options.threads ?? availableParallelism(),
      ...(options.device === undefined ? {} : { gpu: describeDevice(options.device) }),
    },
  };
}

const summaryOf = ({ macs, parameters }: Cost): CostSummary => ({ macs, parameters });

function layerRows(original: Graph, pruned: Graph, before: Cost, after: Cost): LayerRow[] {
  const channels = (graph: Graph) => {
    const shapes = shapesOf(graph);
    return new Map(graph.nodes.map((node) => [node.name, shapes.get(node.output)![0]]));
  };
  const channelsBefore = channels(original), channelsAfter = channels(pruned);
  const costsAfter = new Map(after.layers.map((layer) => [layer.name, layer]));
  return before.layers.map(({ name, op, macs, parameters }) => ({
    name,
    op,
    channelsBefore: channelsBefore.get(name)!,
    channelsAfter: channelsAfter.get(name)!,
    macsBefore: macs,
    macsAfter: costsAfter.get(name)?.macs ?? 0,
    parametersBefore: parameters,
    parametersAfter: costsAfter.get(name)?.parameters ?? 0,
  }));
}

function shapleyResult(
  estimate: Estimate,
  kept: ReadonlySet<number>,
  worth: GameWorth,
): ShapleyResult {
  const { players, outcome, approximate, unsettled, pairs, evaluations } = estimate;
  return {
    worth,
    values: players.map(({ value, margin, jointMargin, imageError }, player) => ({
      ...{ value, margin, jointMargin },
      ...(imageError === undefined ? {} : { imageError }),
      kept: kept.has(player),
    })),
    outcome,
    approximate,
    unsettled: unsettled.length,
    pairs,
    evaluations,
  };
}

function groupRows(
  { groups, removals, concentration, rankings, curves }: Pruned,
  worth: GameWorth,
): GroupRow[] {
  return groups.map((group, index) => {
    const removed = new Set(removals[index].removed);
    const kept = group.players.map((_, player) => player).filter((player) => !removed.has(player));
    const figures = concentration?.[index];
    const estimate = rankings[index].estimate;
    return {
      name: group.name,
      kind: group.kind,
      channelsBefore: group.players.length,
      channelsAfter: kept.length,
      kept,
      ...(figures?.rank === undefined ? {} : { rank: figures.rank }),
      ...(figures === undefined
        ? {}
        : { entropy: figures.entropy, concentration: figures.concentration }),
      ratio: removed.size / group.players.length,
      ...(curves === undefined ? {} : { curve: [...curves[index]] }),
      ...(estimate === undefined ? {} : { shapley: shapleyResult(estimate, new Set(kept), worth) }),
    };
  });
}

function accuracyOf(measured: ReadonlyMap<string, Measured>): Results["accuracy"] {
  const accuracy: Partial<Record<AccuracyStep, readonly Accuracy[]>> = {};
  for (const step of ACCURACY_STEPS) {
    const figures = measured.get(step);
    if (figures === undefined) continue;
    accuracy[step] = [{ set: "held-out", ...figures.heldOut }, { set: "test", ...figures.test }];
  }
  return accuracy;
}

function checkResult({ error, scale, tolerance, change, proof, probe }: CutCheck): CheckResult {
  return {
    maxError: error,
    scale,
    tolerance,
    changed: change,
    ...(proof === "pictures" ? {} : { proof }),
    ...(probe === undefined ? {} : { probeChanged: probe.change / probe.scale }),
    dtype: "f32",
  };
}

function resultsOf(pruned: Pruned, context: ReportContext): Results {
  const before = costOf(pruned.original), after = costOf(pruned.graph);
  const { budget } = context.options;
  const { kind, cut } = budget;
  const also = budget.kind === "latency" ? undefined : budget.alsoParameters;
  const { latencyOutcome, ratios: { allowed, reached, step } } = pruned;
  const { moment, epoch } = pruned.written;
  return {
    budget: {
      kind,
      asked: cut,
      original: latencyOutcome?.predicted.original ??
        (kind === "flops" ? before.macs : before.parameters),
      allowed,
      // With two limits, the solver counts what is beyond either.
      reached: also === undefined ? reached : after.macs,
      gap: allowed - (also === undefined ? reached : after.macs),
      step,
      ...(also === undefined ? {} : {
        alsoParameters: {
          asked: also,
          original: before.parameters,
          reached: after.parameters,
        },
      }),
      ...(latencyOutcome ? { times: latencyOutcome } : {}),
    },
    cost: { before: summaryOf(before), after: summaryOf(after) },
    keptSteps: ACCURACY_STEPS.filter((name) => pruned.keptSteps.includes(name)),
    written: { step: moment as AccuracyStep, ...(epoch === undefined ? {} : { epoch }) },
    accuracy: accuracyOf(pruned.measured),
    latency: context.latency,
    check: checkResult(pruned.check),
    groups: groupRows(pruned, context.options.worth),
    constraints: pruned.constraints,
    layers: layerRows(pruned.original, pruned.graph, before, after),
    training: {
      pruned: pruned.history,
      ...(pruned.controlHistory ? { control: pruned.controlHistory } : {}),
      ...(pruned.outcome ? { outcome: pruned.outcome } : {}),
    },
    stages: [...pruned.stages, ...context.stages],
  };
}

/** The report of a finished run. */
export function buildReport(pruned: Pruned, context: ReportContext): Report {
  const { original } = pruned;
  return {
    provenance: provenanceOf(context),
    model: {
      name: original.name,
      source: context.source,
      input: original.input.shape,
      ...(context.options.objective === "match"
        ? { outputs: original.outputs }
        : { classes: classesOf(original) }),
    },
    input: context.input,
    data: context.data,
    dtype: resolveDtype(context.options.dtype, context.options.device),
    results: resultsOf(pruned, context),
  };
}
