import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { calibrationBatches } from "../../src/data/batches/calibration.ts";
import { type Dataset, normalisations, type PictureSet } from "../../src/data/dataset.ts";
import { generateDataset } from "../../src/data/sources/generated.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { LoadedModel } from "../../src/native/loaded_model.ts";
import { cifarResNet } from "../../src/models/resnet.ts";
import type { Progress } from "../../src/progress.ts";
import { countingError } from "../../src/training/best.ts";
import { evaluate } from "../../src/training/evaluate.ts";
import { readCheckpoint } from "../../src/training/checkpoint.ts";
import { learningRate } from "../../src/training/schedule.ts";
import { train, type TrainOptions, type TrainResult } from "../../src/training/train.ts";
import { batchOf } from "../../src/data/batches/batches.ts";
import { smallNetwork, smallPictures } from "../support/small_pictures.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-training-"));
afterAll(() => rmSync(folder, { recursive: true }));

const SGD = { kind: "sgd", weightDecay: 1e-4 } as const;

/** A quick run on small pictures: 3 epochs of 5 steps, the last of them with 8 pictures. */
const QUICK = {
  data: smallPictures(72),
  validation: smallPictures(24, 2),
  normalisation: normalisations.cifar,
  epochs: 3,
  batch: 16,
  optimizer: SGD,
  learningRate: 0.1,
  warmupEpochs: 1,
  smoothing: 0.1,
  augment: true,
  seed: 3,
  dtype: "f32",
  threads: 2,
} satisfies TrainOptions;

/** Weights, best weights and history, without the time it took. */
function outcome({ last, best, bestEpoch, history }: TrainResult) {
  return {
    last: [...last.parameters],
    best: [...best.parameters],
    bestEpoch,
    history: history.map((record) => ({ ...record, seconds: 0 })),
  };
}

/** Stops a run after its `steps`-th step and goes on from its checkpoint. */
async function stopAndResume(options: TrainOptions, steps: number): Promise<TrainResult> {
  const checkpoint = join(folder, `stopped-${steps}-${options.dtype}.safetensors`);
  const controller = new AbortController();
  let done = 0;
  const stopped = train(smallNetwork(), {
    ...options,
    checkpoint,
    signal: controller.signal,
    onProgress: ({ stage }) => {
      if (stage === "train" && ++done === steps) controller.abort();
    },
  });
  await expect(stopped).rejects.toMatchObject({ code: "cancelled" });
  expect(done).toBe(steps);
  return await train(smallNetwork(), { ...options, checkpoint, resume: true });
}

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
    const highest = Math.max(...scores.map(({ top1 }) => top1));
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

/** The network with answers beyond what f32 holds. */
function overflowing(graph: Graph): Graph {
  const weight = graph.parameters.get("linear.weight")!;
  const parameters = new Map(graph.parameters)
    .set("linear.weight", { ...weight, data: weight.data.map((x) => x > 0 ? 3e38 : -3e38) });
  return { ...graph, parameters };
}

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

/** The same pictures, read when they are needed; `onRead` is called before. */
function streamed(dataset: Dataset, onRead: () => void = () => {}): PictureSet {
  const { pixels, ...rest } = dataset;
  const size = dataset.height * dataset.width * 3;
  const read = (positions: Int32Array) => {
    onRead();
    const read = new Uint8Array(positions.length * size);
    positions.forEach((position, i) =>
      read.set(pixels.subarray(position * size, (position + 1) * size), i * size)
    );
    return Promise.resolve(read);
  };
  const positions = Int32Array.from({ length: dataset.count }, (_, i) => i);
  return { ...rest, source: { identity: dataset.name, read }, positions };
}

/** What training says of an evaluation. */
const scoreOf = ({ loss, top1 }: { loss: number; top1: number }) => ({ loss, top1 });

describe("a stopped run", () => {
  it("goes on to the same bytes from any step, in f32", async () => {
    const whole = outcome(await train(smallNetwork(), QUICK));
    expect(whole.history).toHaveLength(3);
    expect(whole.history[2].learningRate).toBeGreaterThan(0);
    // In the middle of an epoch, at its last step, and before the last step of all.
    for (const steps of [2, 5, 8, 14]) {
      const resumed = outcome(await stopAndResume(QUICK, steps));
      expect(resumed, `stopped after step ${steps}`).toEqual(whole);
    }
  });

  it("goes on to the same bytes with AdamW and a teacher", async () => {
    const options: TrainOptions = {
      ...QUICK,
      optimizer: { kind: "adamw", weightDecay: 0.01 },
      learningRate: 0.01,
      distillation: { teacher: smallNetwork(7), share: 0.5, temperature: 2 },
    };
    const whole = outcome(await train(smallNetwork(), options));
    expect(outcome(await stopAndResume(options, 7))).toEqual(whole);
  });

  it("goes on to the same bytes with a moving average, clipped gradients and a probe", async () => {
    const options: TrainOptions = { ...QUICK, average: 0.9, clip: 0.5, probe: true };
    const whole = outcome(await train(smallNetwork(), options));
    expect(whole.history[2].averaged).toBeDefined();
    for (const steps of [3, 9]) {
      expect(outcome(await stopAndResume(options, steps)), `after ${steps}`).toEqual(whole);
    }
    expect(outcome(await train(smallNetwork(), QUICK)).last).not.toEqual(whole.last);
  });

  it("goes on to the same bytes with pictures mixed of two and a teacher that sees them", async () => {
    const distillation = { teacher: smallNetwork(7), share: 0.5, temperature: 2 };
    const options: TrainOptions = { ...QUICK, mixing: { mixup: 0.4, cutmix: 1 }, distillation };
    const whole = outcome(await train(smallNetwork(), options));
    expect(outcome(await stopAndResume(options, 7))).toEqual(whole);
    const plain = outcome(await train(smallNetwork(), { ...QUICK, distillation }));
    expect(plain.last).not.toEqual(whole.last);
  });

  it("goes on to the same bytes from a stop before its first step, and within an evaluation", async () => {
    const options: TrainOptions = { ...QUICK, probe: true, average: 0.9 };
    const moments = ["start", "probe", "evaluation"] as const;
    for (const moment of moments) {
      const checkpoint = join(folder, `stopped-in-${moment}.safetensors`);
      const controller = new AbortController();
      let reads = 0;
      const validation = streamed(QUICK.validation, () => {
        // The start, then the weights and the average of each epoch.
        if (moment === "evaluation" && ++reads === 3) controller.abort();
      });
      const interrupted = train(smallNetwork(), {
        ...options,
        validation,
        checkpoint,
        signal: controller.signal,
        onStart: () => moment === "start" && controller.abort(),
        onProgress: ({ stage }) =>
          moment === "probe" && stage === "rate probe" && controller.abort(),
      });
      await expect(interrupted, moment).rejects.toMatchObject({ code: "cancelled" });
      await expect(interrupted).rejects.toThrow(/go on with --resume\.$/);
      const resumed = await train(smallNetwork(), {
        ...options,
        validation: streamed(QUICK.validation),
        checkpoint,
        resume: true,
      });
      expect(outcome(resumed), moment).toEqual(outcome(await train(smallNetwork(), options)));
    }
  });

  it("goes on to the same bytes in bf16", async () => {
    const options: TrainOptions = { ...QUICK, dtype: "bf16", epochs: 2 };
    const whole = outcome(await train(smallNetwork(), options));
    expect(outcome(await stopAndResume(options, 3))).toEqual(whole);
    const f32 = await train(smallNetwork(), { ...options, dtype: "f32" });
    expect(outcome(f32).last).not.toEqual(whole.last);
  });

  it("is over when its checkpoint is, whatever is asked again", async () => {
    const checkpoint = join(folder, "finished.safetensors");
    const options = { ...QUICK, epochs: 1, warmupEpochs: 0, checkpoint };
    const whole = await train(smallNetwork(), options);
    let steps = 0;
    const again = await train(smallNetwork(), {
      ...options,
      resume: true,
      onProgress: () => steps++,
    });
    expect(steps).toBe(0);
    expect(again.history).toEqual(whole.history);
    expect(outcome(again)).toEqual(outcome(whole));
  });

  it("goes on where it is given more epochs, and says how", async () => {
    const checkpoint = join(folder, "longer.safetensors");
    const first = await train(smallNetwork(), { ...QUICK, epochs: 2, checkpoint });
    const notes: string[] = [];
    const more = { ...QUICK, epochs: 5, checkpoint, resume: true };
    const longer = await train(smallNetwork(), { ...more, onNote: (note) => notes.push(note) });
    expect(longer.history.slice(0, 2)).toEqual(first.history);
    expect(longer.history.map(({ epoch }) => epoch)).toEqual([1, 2, 3, 4, 5]);
    // The cosine of five epochs, from the third on: 5 steps each, 5 of warm-up.
    const rates = [14, 19, 24].map((step) =>
      learningRate({ peak: 0.1, warmupSteps: 5, totalSteps: 25 }, step)
    );
    expect(longer.history.slice(2).map((record) => record.learningRate)).toEqual(rates);
    expect(notes).toEqual([
      expect.stringMatching(
        /^Training goes on after epoch 2 of what were to be 2, now towards 5: /,
      ),
    ]);
    expect((await train(smallNetwork(), more)).history).toEqual(longer.history);
    const warmer = train(smallNetwork(), { ...more, warmupEpochs: 2 });
    await expect(warmer).rejects.toThrow(/another run: another warm-up \(1, now 2\)/);
    const fewer = train(smallNetwork(), { ...more, epochs: 3 });
    await expect(fewer).rejects.toMatchObject({ code: "checkpoint-mismatch" });
    await expect(fewer).rejects.toThrow(/has 5 epochs behind it, more than the 3 asked for/);
  });

  it("is refused under other options, pictures or weights, which are named", async () => {
    const checkpoint = join(folder, "other.safetensors");
    const options = { ...QUICK, epochs: 1, warmupEpochs: 0, checkpoint };
    await train(smallNetwork(), options);
    const data = smallPictures(72);
    const pixels = data.pixels.map((byte, i) => i === 100 ? byte ^ 1 : byte);
    const others: [Graph, Partial<TrainOptions>, string][] = [
      [smallNetwork(), { seed: 4 }, "another run: another seed (3, now 4). Repeat"],
      [smallNetwork(), { learningRate: 0.05 }, "another learning rate (0.1, now 0.05)"],
      [smallNetwork(), { data: { ...data, pixels } }, "other training pictures"],
      [smallNetwork(), { validation: undefined }, "other held-out pictures"],
      [
        smallNetwork(2),
        { clip: 3 },
        "other starting weights, another largest gradient (none, now 3)",
      ],
    ];
    for (const [graph, changed, named] of others) {
      const resumed = train(graph, { ...options, ...changed, resume: true });
      await expect(resumed).rejects.toMatchObject({ code: "checkpoint-mismatch" });
      await expect(resumed).rejects.toThrow(named);
    }
  });

  it("starts anew without a checkpoint, and refuses a damaged one", async () => {
    const missing = join(folder, "missing.safetensors");
    expect(await readCheckpoint(missing, {})).toBeUndefined();
    const options = { ...QUICK, epochs: 1, warmupEpochs: 0, resume: true };
    expect((await train(smallNetwork(), { ...options, checkpoint: missing })).history)
      .toHaveLength(1);
    const damaged = join(folder, "damaged.safetensors");
    writeFileSync(damaged, "not a checkpoint");
    await expect(train(smallNetwork(), { ...options, checkpoint: damaged })).rejects
      .toMatchObject({ code: expect.stringMatching(/^format-/) });
  });
});

describe("the learning rate", () => {
  const schedule = { peak: 0.4, warmupSteps: 4, totalSteps: 12 };

  it("warms up linearly and falls along half a cosine", () => {
    const rates = Array.from({ length: 12 }, (_, step) => learningRate(schedule, step));
    expect(rates.slice(0, 4).map((rate) => rate.toFixed(12)))
      .toEqual([0.1, 0.2, 0.3, 0.4].map((rate) => rate.toFixed(12)));
    expect(rates[4]).toBe(0.4);
    expect(rates[8]).toBeCloseTo(0.2, 12);
    expect(rates[6]).toBeCloseTo(0.2 * (1 + Math.SQRT1_2), 12);
    expect(rates[11]).toBeCloseTo(0.2 * (1 - Math.cos(Math.PI / 8)), 12);
    expect(learningRate(schedule, 12)).toBe(0);
  });
});
