import { describe, expect, it } from "vitest";
import { calibrationBatches } from "../../src/data/batches/calibration.ts";
import { normalisations } from "../../src/data/dataset.ts";
import { generateDataset } from "../../src/data/sources/generated.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import { cifarResNet } from "../../src/models/resnet.ts";
import type { Progress } from "../../src/progress.ts";
import { countingError } from "../../src/training/best.ts";
import { evaluate } from "../../src/training/evaluate.ts";
import { learningRate } from "../../src/training/schedule.ts";
import { train } from "../../src/training/train.ts";
import { batchOf } from "../../src/data/batches/batches.ts";
import { outcome, QUICK, SGD } from "../support/quick_training.ts";
import { overflowing, smallNetwork } from "../support/pictures/small.ts";

describe("training", () => {
  it("lowers the loss on generated pictures, and reports how far it is", async () => {
    const reports: Progress[] = [];
    const graph = cifarResNet({ depth: 8, width: 8, classes: 10, shape: [3, 32, 32], seed: 1 });
    const { last, best, history } = await train(graph, {
      data: generateDataset("train", { count: 640 }),
      normalisation: normalisations.cifar,
      epochs: 4,
      batch: 64,
      optimizer: SGD,
      learningRate: 0.1,
      seed: 1,
      dtype: "f32",
      onProgress: (progress) => reports.push(progress),
    });
    expect(history.map(({ epoch }) => epoch)).toEqual([1, 2, 3, 4]);
    expect(history[0].loss).toBeGreaterThan(2.1);
    expect(history[3].loss).toBeLessThan(history[0].loss - 0.25);
    expect(best).toBe(last);
    expect(reports).toHaveLength(40);
    expect(reports[9]).toMatchObject({ stage: "train", done: 640, total: 2560, unit: "images" });
    expect(reports[9].figures).toMatchObject({ epoch: 1 });
    const moved = [...last.parameters].filter(([name, { data }]) =>
      data.some((value, i) => value !== graph.parameters.get(name)!.data[i])
    );
    expect(moved).toHaveLength(graph.parameters.size);
  });

  it("learns with AdamW", async () => {
    const { history } = await train(smallNetwork(), {
      ...QUICK,
      epochs: 8,
      optimizer: { kind: "adamw", weightDecay: 0.01 },
      learningRate: 0.01,
      augment: false,
      smoothing: 0,
    });
    expect(history[0].loss).toBeGreaterThan(0.8);
    expect(history[7].loss).toBeLessThan(0.3);
    expect(history[7].validation!.top1).toBeGreaterThan(0.8);
  });

  it("is steps in order, each with its own learning rate and count", async () => {
    const { data, normalisation } = QUICK;
    const hyper = {
      sgd: (rate: number) => [rate, 0.8],
      adamw: (rate: number, step: number) => [rate, 0.9, 0.999, 1e-8, step + 1],
    };
    for (const kind of ["sgd", "adamw"] as const) {
      const optimizer = { kind, weightDecay: 0.01, momentum: 0.8 };
      const options = { epochs: 2, batch: 24, learningRate: 0.01, warmupEpochs: 0.5 };
      const { last } = await train(smallNetwork(), {
        ...QUICK,
        ...options,
        optimizer,
        augment: false,
        shuffle: false,
      });
      using model = LoadedModel.open(smallNetwork(), [
        { kind: "step", name: "step", images: 24, loss: { smoothing: 0.1 }, optimizer },
      ], { dtype: "f32" });
      const { feeds } = model.entry("step");
      const batches = calibrationBatches(data, 24, normalisation);
      for (const [step, { images, labels }] of [...batches, ...batches].entries()) {
        const rate = learningRate({ peak: 0.01, warmupSteps: 2, totalSteps: 6 }, step);
        await model.run("step", {
          feeds: {
            [feeds.images!]: images,
            [feeds.labels!]: labels,
            [feeds.hyper!]: Float32Array.from(hyper[kind](rate, step)),
          },
        });
      }
      expect([...(await model.current()).parameters]).toEqual([...last.parameters]);
    }
  });

  it("keeps the best weights on validation pictures, of the start and every epoch", async () => {
    const result = await train(smallNetwork(), { ...QUICK, epochs: 6, learningRate: 0.3 });
    const scores = [result.outcome.start!, ...result.history.map(({ validation }) => validation!)];
    const highest = Math.max(...scores.map(({ top1 }) => top1!));
    const { epoch, ...best } = result.outcome.best!;
    expect(epoch).toBe(result.bestEpoch);
    expect(scores[epoch]).toEqual(best);
    expect(best.top1).toBeGreaterThanOrEqual(highest - countingError(highest, 24));
    expect(scores[0]).toEqual(scoreOf(await evaluate(smallNetwork(), QUICK.validation, QUICK)));
    expect(scoreOf(await evaluate(result.best, QUICK.validation, QUICK))).toEqual(best);
  });

  it("learns from pictures mixed of two", async () => {
    for (const mixing of [{ mixup: 0.4 }, { cutmix: 1 }]) {
      const options = { ...QUICK, epochs: 12, augment: false, smoothing: 0 };
      const { outcome, history } = await train(smallNetwork(), { ...options, mixing });
      expect(outcome.best!.top1).toBeGreaterThan(0.8);
      // Mixtures have no certain answer, which the loss of their labels shows.
      expect(history[11].loss).toBeGreaterThan(0.1);
    }
  });

  it("averages weights as a plain computation does, and lets the average compete", async () => {
    const decay = 0.8, seen: Float32Array[] = [];
    const options = {
      ...QUICK,
      epochs: 2,
      augment: false,
      shuffle: false,
      batch: 24,
      average: decay,
    };
    const { history, outcome, best } = await train(smallNetwork(), options);
    using model = LoadedModel.open(smallNetwork(), [
      { kind: "step", name: "step", images: 24, loss: { smoothing: 0.1 }, optimizer: SGD },
    ], { dtype: "f32", threads: 2 });
    const { feeds } = model.entry("step");
    const batches = calibrationBatches(QUICK.data, 24, QUICK.normalisation);
    let average = smallNetwork().parameters;
    for (const [step, { images, labels }] of [...batches, ...batches].entries()) {
      const rate = learningRate({ peak: 0.1, warmupSteps: 3, totalSteps: 6 }, step);
      await model.run("step", {
        feeds: {
          [feeds.images!]: images,
          [feeds.labels!]: labels,
          [feeds.hyper!]: Float32Array.of(rate, 0.9),
        },
      });
      const now = (await model.current()).parameters;
      const pace = 1 - Math.min(decay, (1 + step) / (10 + step));
      average = new Map([...average].map(([name, { shape, data }]) => [name, {
        shape,
        data: data.map((value, i) => value + pace * (now.get(name)!.data[i] - value)),
      }]));
      if (step % 3 === 2) {
        const graph = { ...smallNetwork(), parameters: average };
        const { loss, top1 } = await evaluate(graph, QUICK.validation, QUICK);
        const found = history[Math.floor(step / 3)].averaged!;
        expect(found.top1).toBe(top1);
        expect(found.loss).toBeCloseTo(loss, 5);
        expect(found.loss).not.toBe(history[Math.floor(step / 3)].validation!.loss);
        seen.push(average.get("linear.weight")!.data);
      }
    }
    expect(seen).toHaveLength(2);
    if (outcome.best!.averaged) {
      const kept = best.parameters.get("linear.weight")!.data;
      kept.forEach((value, i) => expect(value).toBeCloseTo(seen[outcome.best!.epoch - 1][i], 5));
    }
  });

  it("gives the same bytes on 1 and 2 threads, in f32 and bf16", async () => {
    for (const dtype of ["f32", "bf16"] as const) {
      const results = [];
      for (const threads of [1, 2]) {
        results.push(outcome(await train(smallNetwork(), { ...QUICK, slice: 4, dtype, threads })));
      }
      expect(results[1]).toEqual(results[0]);
    }
  });

  it("follows the teacher when distilled from one", async () => {
    const teacher = await train(smallNetwork(7), { ...QUICK, epochs: 6 });
    // The teacher's mistakes are what its pupil alone can know.
    const contrary = relabelled(teacher.last);
    const distances = [];
    for (const share of [0, 1]) {
      const student = await train(smallNetwork(), {
        ...QUICK,
        epochs: 8,
        augment: false,
        smoothing: 0,
        ...(share > 0 ? { distillation: { teacher: contrary, share, temperature: 2 } } : {}),
      });
      distances.push(await divergence(contrary, student.last));
    }
    const before = await divergence(contrary, smallNetwork());
    expect(distances[0]).toBeGreaterThan(before);
    expect(distances[1]).toBeLessThan(before / 4);
  });

  it("refuses weights whose loss is not finite to begin with", async () => {
    const broken = train(overflowing(smallNetwork()), QUICK);
    await expect(broken).rejects.toMatchObject({ code: "numeric-failure" });
    await expect(broken).rejects.toThrow(/^The loss of resnet8 on small pictures 2 is NaN: check/);
  });

  it("refuses pictures the network does not take", async () => {
    const data = generateDataset("train", { count: 20 });
    await expect(train(smallNetwork(), { ...QUICK, data })).rejects
      .toMatchObject({ code: "data-mismatch" });
    await expect(train(smallNetwork(), { ...QUICK, validation: data })).rejects
      .toMatchObject({ code: "data-mismatch" });
  });
});

/** The network with its last layer's classes turned by one, so that it is wrong about all. */
function relabelled(graph: Graph): Graph {
  const { shape, data } = graph.parameters.get("linear.weight")!;
  const rows = shape[0], columns = shape[1];
  const turned = data.map((_, i) => data[(i + columns) % (rows * columns)]);
  const bias = graph.parameters.get("linear.bias")!.data;
  return {
    ...graph,
    parameters: new Map(graph.parameters)
      .set("linear.weight", { shape, data: turned })
      .set("linear.bias", { shape: [rows], data: bias.map((_, i) => bias[(i + 1) % rows]) }),
  };
}

/** Mean Kullback-Leibler divergence of the student's answers from the teacher's. */
async function divergence(teacher: Graph, student: Graph): Promise<number> {
  const { data, normalisation } = QUICK;
  const indices = Int32Array.from({ length: data.count }, (_, i) => i);
  const answers = [];
  for (const graph of [teacher, student]) {
    using model = LoadedModel.open(
      graph,
      [{ kind: "forward", name: "answer", images: data.count }],
      { dtype: "f32" },
    );
    const { feeds, logits } = model.entry("answer");
    const result = await model.run("answer", {
      feeds: { [feeds.images!]: batchOf(data, indices, normalisation) },
      fetch: [logits!],
    });
    answers.push(logSoftmax(result[logits!] as Float32Array, data.classes.length));
  }
  const [p, q] = answers;
  return p.reduce((sum, log, i) => sum + Math.exp(log) * (log - q[i]), 0) / data.count;
}

function logSoftmax(logits: Float32Array, classes: number): Float64Array {
  const out = Float64Array.from(logits);
  for (let at = 0; at < out.length; at += classes) {
    const row = out.subarray(at, at + classes);
    const normaliser = Math.log(row.reduce((sum, logit) => sum + Math.exp(logit), 0));
    row.forEach((logit, i) => row[i] = logit - normaliser);
  }
  return out;
}

/** What training says of an evaluation. */
const scoreOf = ({ loss, top1 }: { loss: number; top1: number }) => ({ loss, top1 });
