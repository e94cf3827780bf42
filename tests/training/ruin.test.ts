// A network that a learning rate ruins comes out no worse than it went in, and the report says why.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { normalisations } from "../../src/data/dataset.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { trainingSentences } from "../../src/report/training.ts";
import { evaluate } from "../../src/training/evaluate.ts";
import { crossEntropy, isRuined, probeSteps } from "../../src/training/probe.ts";
import { train, type TrainOptions } from "../../src/training/train.ts";
import { gatedNetwork } from "../support/gated_network.ts";
import { overflowing, smallNetwork, smallPictures } from "../support/pictures/small.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-ruin-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Three epochs at the default rate of `prune`, which this network does not bear. */
const RUINOUS = {
  data: smallPictures(1024),
  validation: smallPictures(64, 2),
  normalisation: normalisations.cifar,
  epochs: 3,
  batch: 16,
  optimizer: { kind: "sgd", weightDecay: 5e-4 },
  learningRate: 0.02,
  warmupEpochs: 0.75,
  seed: 3,
  dtype: "f32",
  // The same numbers on every machine: what is ruined is a matter of rounding.
  engine: "portable",
  threads: 2,
} satisfies TrainOptions;

let learnt: Graph;
beforeAll(async () => {
  const { best } = await train(gatedNetwork(), {
    ...RUINOUS,
    epochs: 4,
    optimizer: { kind: "adamw", weightDecay: 0.01 },
    learningRate: 0.003,
    clip: 1,
  });
  // As surgery leaves it: every weight a little off.
  const parameters = [...best.parameters].map(([name, { shape, data }]) =>
    [name, { shape, data: data.map((x, i) => x * (1 + 0.1 * Math.sin(37 * i))) }] as const
  );
  learnt = { ...best, parameters: new Map(parameters) };
  expect(await accuracy(learnt)).toBeGreaterThan(0.9);
});

const accuracy = async (graph: Graph) =>
  (await evaluate(graph, RUINOUS.validation, { ...RUINOUS })).top1;

describe("fine-tuning that ruins", () => {
  it("keeps the weights it began with where the loss is no longer finite, and blames the rate", async () => {
    const notes: string[] = [];
    const checkpoint = join(folder, "diverged.safetensors");
    const options = { ...RUINOUS, checkpoint, onNote: (note: string) => notes.push(note) };
    const result = await train(learnt, options);
    expect(result.outcome.diverged).toMatchObject({ epoch: 1 });
    expect(result.bestEpoch).toBe(0);
    expect([...result.best.parameters]).toEqual([...learnt.parameters]);
    expect([...result.last.parameters]).toEqual([...learnt.parameters]);
    expect(notes).toEqual([
      expect.stringMatching(
        /^The loss was no longer finite in epoch 1, step \d+: the learning rate \(at most 0\.02\) .* try --lr 0\.005; /,
      ),
    ]);
    const said = trainingSentences(result.history, result.outcome);
    expect(said[0]).toMatch(/^Training ended in epoch 1, step \d+, where its loss was no longer/);
    expect(said[1]).toMatch(/^Fine-tuning did not help: .* 0\.02 is too high .* --lr 0\.005\.$/);
    // What is over stays over, and no file holds what diverged.
    const again = await train(learnt, { ...options, resume: true });
    expect(again.outcome).toEqual(result.outcome);
    expect([...again.best.parameters]).toEqual([...learnt.parameters]);
  });

  it("keeps them where every epoch is worse, and says so", async () => {
    const result = await train(learnt, { ...RUINOUS, learningRate: 0.1, clip: 5 });
    expect(result.history).toHaveLength(3);
    expect(result.history[2].validation!.top1).toBeLessThan(0.5);
    expect(result.bestEpoch).toBe(0);
    expect(await accuracy(result.best)).toBe(result.outcome.start!.top1);
    const [said] = trainingSentences(result.history, result.outcome);
    expect(said).toMatch(
      /^Fine-tuning did not help: the weights before it \(top-1 \d\d\.\d+%, loss /,
    );
    expect(said).toMatch(/0\.1 is too high for this network, so try --lr 0\.025\.$/);
  });

  it("does not happen with the rate probed and gradients clipped, as commands do", async () => {
    const notes: string[] = [];
    const tame = await train(learnt, { ...RUINOUS, clip: 5, probe: true });
    expect(tame.bestEpoch).toBeGreaterThan(0);
    const result = await train(learnt, {
      ...RUINOUS,
      learningRate: 0.1,
      clip: 5,
      probe: true,
      onNote: (note) => notes.push(note),
    });
    expect(notes).toEqual([
      expect.stringMatching(/^A learning rate of 0\.1 ruins this network within 8 steps; it is /),
    ]);
    const { learningRate, askedRate } = result.outcome;
    expect([askedRate, learningRate < askedRate]).toEqual([0.1, true]);
    expect(result.history[2].learningRate).toBeLessThan(learningRate);
    for (const { validation } of result.history) expect(validation!.top1).toBeGreaterThan(0.8);
    expect(result.bestEpoch).toBeGreaterThan(0);
    expect(await accuracy(result.best)).toBeGreaterThan(await accuracy(learnt));
    expect(trainingSentences(result.history, result.outcome)[0])
      .toMatch(
        /^A learning rate of 0\.1 ruined the network within a few steps, so it was trained at /,
      );
  });

  it("says nothing where all went as asked", () => {
    const outcome = {
      start: { loss: 1, top1: 0.5 },
      best: { loss: 0.5, top1: 0.7, epoch: 2 },
      askedRate: 0.02,
      learningRate: 0.02,
    };
    expect(trainingSentences([], outcome)).toEqual([]);
    expect(trainingSentences([], undefined)).toEqual([]);
  });

  it("blames weights and pictures for a loss that is not finite before any update", async () => {
    const { validation: _, ...unvalidated } = RUINOUS;
    const broken = train(overflowing(smallNetwork()), unvalidated);
    await expect(broken).rejects.toMatchObject({ code: "numeric-failure" });
    await expect(broken).rejects.toThrow(/before its first update: check its weights/);
  });

  it("is refused where nothing could be kept", async () => {
    const { validation: _, ...unvalidated } = RUINOUS;
    const refused = train(learnt, unvalidated);
    await expect(refused).rejects.toMatchObject({ code: "numeric-failure" });
    await expect(refused).rejects.toThrow(/epoch 1, step \d+: .* so try --lr 0\.005\.$/);
  });
});

describe("the probe of a learning rate", () => {
  it("changes nothing where the rate is borne: the same bytes as without it", async () => {
    const options = { ...RUINOUS, epochs: 1, learningRate: 0.05, average: 0.9 };
    const [plain, probed] = [
      await train(smallNetwork(), options),
      await train(smallNetwork(), { ...options, probe: true }),
    ];
    expect(probed.outcome.learningRate).toBe(0.05);
    expect([...probed.last.parameters]).toEqual([...plain.last.parameters]);
    expect(probed.history.map(({ averaged }) => averaged))
      .toEqual(plain.history.map(({ averaged }) => averaged));
  });

  it("takes few steps of a run, and no more than it has", () => {
    expect([2, 48, 600, 100_000].map(probeSteps)).toEqual([2, 8, 12, 16]);
  });

  it("takes for ruin what is not finite, what forgets, and what is far worse than chance", () => {
    const flat = (loss: number, ...more: number[]) => [...Array(4).fill(loss), ...more];
    expect(isRuined(flat(0.1, NaN), 10)).toBe(true);
    // Chance is log(10) = 2.3.
    expect(isRuined(flat(0.1, 0.9, 1.2, 1.1), 10)).toBe(false);
    expect(isRuined(flat(0.1, 2.3, 2.2, 2.3), 10)).toBe(true);
    expect(isRuined(flat(2.3, 3.5, 3.1, 4), 10)).toBe(false);
    expect(isRuined(flat(2.3, 5, 50, 500), 10)).toBe(true);
    expect(isRuined([1], 10)).toBe(false);
  });

  it("reckons cross entropy from logits", () => {
    const logits = Float32Array.of(0, 0, 1, -1), labels = Int32Array.of(1, 0);
    const expected = (Math.log(2) + Math.log(1 + Math.exp(-2))) / 2;
    expect(crossEntropy(logits, labels)).toBeCloseTo(expected, 6);
  });
});
