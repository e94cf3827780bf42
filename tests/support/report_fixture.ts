/** Reports that look like real runs, made of numbers drawn from a seed. */

import type { ChannelGroup } from "../../src/graph/channels.ts";
import { prunableGroups } from "../../src/graph/channels.ts";
import { type Cost, costOf } from "../../src/graph/cost.ts";
import { cutShapes } from "../../src/graph/cut.ts";
import { shapesOf } from "../../src/graph/shapes.ts";
import { createModel } from "../../src/models/models.ts";
import { RandomStream } from "../../src/random.ts";
import type { Accuracy, GroupRow, LayerRow, Report, ShapleyRow } from "../../src/report/report.ts";
import type { EpochRecord } from "../../src/training/checkpoint_position.ts";

function groupRow(group: ChannelGroup, random: RandomStream): GroupRow {
  const size = group.players.length;
  const keep = Math.max(1, Math.round(size * (0.35 + 0.6 * random.uniform())));
  const scores = Array.from({ length: size }, () => {
    return { value: 0.02 * random.uniform() ** 3 - 0.0004, margin: 0.001 * random.uniform() };
  });
  const order = scores.map((_, i) => i).sort((a, b) => scores[b].value - scores[a].value);
  const kept = order.slice(0, keep).sort((a, b) => a - b);
  const values = scores.map(({ value, margin }, i): ShapleyRow => ({
    value,
    margin,
    jointMargin: 1.6 * margin,
    imageError: 0.4 * margin,
    kept: kept.includes(i),
  }));
  const rank = 0.3 + 0.6 * random.uniform();
  const entropy = 0.4 + 0.5 * random.uniform();
  return {
    name: group.name,
    kind: group.kind,
    channelsBefore: size,
    channelsAfter: keep,
    kept,
    rank,
    entropy,
    concentration: Math.sqrt(rank / 0.6 * entropy / 0.65),
    ratio: 1 - keep / size,
    shapley: {
      worth: "loss",
      values,
      outcome: random.uniform() < 0.6 ? "separated" : "spent",
      approximate: false,
      unsettled: random.integer(4),
      pairs: 4 * (1 + random.integer(4)),
      evaluations: 2 + 8 * size,
    },
  };
}

function history(epochs: number, random: RandomStream): EpochRecord[] {
  return Array.from({ length: epochs }, (_, i): EpochRecord => ({
    epoch: i + 1,
    loss: 0.15 + 0.5 * Math.exp(-i / 5) + 0.01 * random.uniform(),
    learningRate: 0.025 * (1 + Math.cos(Math.PI * i / epochs)),
    seconds: 61 + random.uniform(),
    validation: {
      loss: 0.2 + 0.3 * Math.exp(-i / 6),
      top1: 0.935 - 0.08 * Math.exp(-i / 4) + 0.004 * random.uniform(),
    },
  }));
}

function accuracy(set: Accuracy["set"], top1: number, total: number): Accuracy {
  const correct = Math.round(top1 * total);
  const top5 = Math.min(1, top1 + 0.09);
  return { set, loss: -Math.log(top1) * 1.2, top1: correct / total, top5, correct, total };
}

/** A report of a run on a model, with every section filled. */
export function reportFixture(model = "resnet56", epochs = 20): Report {
  const graph = createModel(model, { classes: 10 });
  const random = new RandomStream(7, "report fixture");
  const channelGroups = prunableGroups(graph, "all");
  const groups = channelGroups.map((group) => groupRow(group, random));
  const cut = cutShapes(
    graph,
    channelGroups.map((group, i) => ({
      group,
      removed: group.players.map((_, p) => p).filter((p) => !groups[i].kept.includes(p)),
    })),
  );
  const before = costOf(graph), after = costOf(cut);
  const shapes = shapesOf(graph), cutTo = shapesOf(cut);
  const costIn = (cost: Cost, name: string) => cost.layers.find((layer) => layer.name === name)!;
  const layers = before.layers.map(({ name, op, macs, parameters }): LayerRow => ({
    name,
    op,
    channelsBefore: shapes.get(name)![0],
    channelsAfter: cutTo.get(name)![0],
    macsBefore: macs,
    macsAfter: costIn(after, name).macs,
    parametersBefore: parameters,
    parametersAfter: costIn(after, name).parameters,
  }));
  const both = (heldOut: number, test: number) => [
    accuracy("held-out", heldOut, 5000),
    accuracy("test", test, 10000),
  ];
  return {
    provenance: {
      version: "0.1.0",
      command: ["prune", "--model", model, "--weights", "w.safetensors", "--data", "imagefolder:d"],
      started: "2026-01-02T03:04:05.000Z",
      seed: 0,
      options: { budget: { kind: "flops", cut: 0.455 }, pairs: 16, calibration: 512 },
      versions: { runtime: "Deno 2.9.6", addon: "0123456789abcdef-onednn" },
      machine: { cpu: "Example CPU @ 2.00GHz", instructionSets: ["avx2", "avx512"], threads: 2 },
    },
    model: { name: model, source: "weights/w.safetensors", input: [3, 32, 32], classes: 10 },
    input: {
      mean: [0.485, 0.456, 0.406],
      std: [0.229, 0.224, 0.225],
      channels: "rgb",
    },
    data: {
      spec: "imagefolder:cifar10-jpeg.tar",
      training: 45000,
      heldOut: 5000,
      test: 10000,
      skipped: 0,
    },
    dtype: "bf16",
    results: {
      budget: {
        kind: "flops",
        asked: 0.455,
        original: before.macs,
        allowed: before.macs * 0.545,
        reached: after.macs,
        gap: 12345,
        step: 36864,
      },
      cost: {
        before: { macs: before.macs, parameters: before.parameters },
        after: { macs: after.macs, parameters: after.parameters },
      },
      written: { step: "bestEpoch", epoch: epochs - 1 },
      keptSteps: ["afterCompensation", "afterReestimation"],
      accuracy: {
        original: both(0.9384, 0.8978),
        afterCut: both(0.412, 0.3971),
        afterCompensation: both(0.781, 0.7554),
        afterReestimation: both(0.852, 0.8231),
        lastEpoch: both(0.9302, 0.8931),
        bestEpoch: both(0.931, 0.8928),
        controlLast: both(0.9371, 0.8995),
        controlBest: both(0.9379, 0.8991),
      },
      latency: [1, 64].map((batch) => ({
        batch,
        original: { median: 0.9 * batch ** 0.9, low: 0.85 * batch ** 0.9, high: batch ** 0.9 },
        pruned: { median: 0.6 * batch ** 0.9, low: 0.57 * batch ** 0.9, high: 0.7 * batch ** 0.9 },
        runs: 30,
      })),
      check: { maxError: 2.1e-5, scale: 14.2, tolerance: 1e-4, changed: 3.3, dtype: "f32" },
      groups,
      constraints: { keep: [], maxRatio: {} },
      layers,
      training: { pruned: history(epochs, random), control: history(epochs, random) },
      stages: [
        { name: "statistics", seconds: 12.3 },
        { name: "shapley", seconds: 741.9 },
        { name: "fine-tuning", seconds: 1250.4 },
      ],
    },
  };
}
