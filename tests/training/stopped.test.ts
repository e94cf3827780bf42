import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type Dataset, type PictureSet } from "../../src/data/dataset.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { readCheckpoint } from "../../src/training/checkpoint.ts";
import { learningRate } from "../../src/training/schedule.ts";
import { train, type TrainOptions, type TrainResult } from "../../src/training/train.ts";
import { outcome, QUICK } from "../support/quick_training.ts";
import { smallNetwork, smallPictures } from "../support/pictures/small.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-training-"));
afterAll(() => rmSync(folder, { recursive: true }));

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
