// A run that goes on with other options takes what these do not concern, and ends as one from scratch.

import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { normalisations } from "../../src/data/dataset.ts";
import type { Graph } from "../../src/graph/graph.ts";
import type { PruneOptions } from "../../src/pruning/options.ts";
import { prune, type Pruned, type PruneInput } from "../../src/pruning/pipeline.ts";
import { pruneOptions } from "../../src/commands/options/prune.ts";
import { train } from "../../src/training/train.ts";
import { smallNetwork, smallPictures } from "../support/pictures/small.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-resume-"));
afterAll(() => rmSync(folder, { recursive: true }));

const PICTURES = {
  training: smallPictures(96),
  heldOut: smallPictures(40, 2),
  test: smallPictures(40, 3),
  normalisation: normalisations.cifar,
};

const OPTIONS: PruneOptions = {
  ...pruneOptions({}, false),
  budget: { kind: "flops", cut: 0.3 },
  rankImages: 16,
  entropyImages: 32,
  calibration: 16,
  pairs: 4,
  epochs: 2,
  warmup: 0.5,
  batch: 16,
  dtype: "f32",
  threads: 2,
  out: join(folder, "first"),
};

/** A run, the stages that were run and taken, and what was said. */
interface Run {
  readonly pruned: Pruned;
  readonly ran: string[];
  readonly taken: string[];
  readonly notes: string[];
}

async function run(input: PruneInput, options: PruneOptions): Promise<Run> {
  const ran: string[] = [], taken: string[] = [], notes: string[] = [];
  const pruned = await prune(input, options, {
    onStage: ({ stage, taken: was }) => (was ? taken : ran).push(stage),
    onNote: (note) => notes.push(note),
  });
  return { pruned, ran, taken, notes };
}

let input: PruneInput, first: Run;
beforeAll(async () => {
  const { best } = await train(smallNetwork(), {
    data: PICTURES.training,
    normalisation: PICTURES.normalisation,
    epochs: 4,
    batch: 16,
    optimizer: { kind: "sgd", weightDecay: 1e-4 },
    learningRate: 0.1,
    seed: 0,
    dtype: "f32",
  });
  input = { graph: best, ...PICTURES };
  first = await run(input, OPTIONS);
});

let runs = 0;
/** As `first` with other options, once on top of it and once from scratch. */
async function both(changed: Partial<PruneOptions>): Promise<{ on: Run; scratch: Run }> {
  const out = join(folder, `other-${runs++}`);
  cpSync(join(folder, "first"), out, { recursive: true });
  const options = { ...OPTIONS, ...changed };
  return {
    on: await run(input, { ...options, out, resume: true }),
    scratch: await run(input, { ...options, out: join(folder, `scratch-${runs++}`) }),
  };
}

const bytes = ({ parameters }: Graph) => [...parameters];

/** The same network and figures; seconds aside. */
function expectSame({ pruned: on }: Run, { pruned: scratch }: Run): void {
  expect(bytes(on.graph)).toEqual(bytes(scratch.graph));
  expect([...on.measured]).toEqual([...scratch.measured]);
  expect(on.ratios).toEqual(scratch.ratios);
  expect(on.rankings).toEqual(scratch.rankings);
}

/** Steps whose weights are made again rather than stored. */
const UNSTORED = ["compensation", "re-estimation"];

describe("fine-tuning in a run", () => {
  it("that diverges leaves what surgery made, and tells every epoch there was", async () => {
    const epochs: number[] = [], notes: string[] = [];
    // Beyond any rate that the probe comes down to.
    const options = { ...OPTIONS, learningRate: 1e9, clip: 0, out: join(folder, "ruined") };
    const pruned = await prune(input, options, {
      onNote: (note) => notes.push(note),
      onEpoch: ({ epoch }) => epochs.push(epoch),
    });
    const { outcome, written, measured, keptSteps, history } = pruned;
    expect(outcome!.best).toMatchObject({ epoch: 0, ...outcome!.start });
    expect(outcome!.learningRate).toBeLessThan(outcome!.askedRate);
    expect(written).toEqual({ moment: keptSteps.at(-1) ?? "afterCut" });
    expect(measured.has("bestEpoch")).toBe(false);
    const { heldOut } = measured.get(written.moment)!;
    expect({ top1: heldOut.top1, loss: heldOut.loss }).toEqual(outcome!.start);
    expect(notes[0]).toMatch(/^A learning rate of 1000000000 ruins this network within /);
    expect(epochs).toEqual(history.map(({ epoch }) => epoch));
  });
});

describe("--resume", () => {
  it("takes all of a finished run", async () => {
    const { on, scratch } = await both({});
    expect(on.ran).toEqual([...UNSTORED, "fine-tuning"]);
    expect(scratch.taken).toEqual([]);
    expectSame(on, scratch);
    expectSame(on, first);
  });

  it("with another learning rate keeps everything before fine-tuning", async () => {
    const { on, scratch } = await both({ learningRate: 0.05 });
    expect(on.ran).toEqual([
      ...UNSTORED,
      "fine-tuning",
      "evaluation lastEpoch",
      ...(on.ran.includes("evaluation bestEpoch") ? ["evaluation bestEpoch"] : []),
    ]);
    expect(on.taken.slice(0, 4))
      .toEqual(["baseline", "contributions", "curves", "surgery"]);
    expectSame(on, scratch);
  });

  it("with another budget keeps everything before widths are solved", async () => {
    const { on, scratch } = await both({ budget: { kind: "flops", cut: 0.5 } });
    expect(on.taken).toEqual(["baseline", "contributions", "curves"]);
    expect(on.ran[0]).toBe("surgery");
    expectSame(on, scratch);
  });

  it("by concentration keeps statistics for another budget", async () => {
    const shares = { ratios: "concentration", exponent: 1, epochs: 0 } as const;
    const out = join(folder, "concentration");
    await run(input, { ...OPTIONS, ...shares, out });
    const budget = { kind: "flops", cut: 0.5 } as const;
    const on = await run(input, { ...OPTIONS, ...shares, budget, out, resume: true });
    expect(on.taken).toEqual(["baseline", "statistics", "contributions"]);
    expect(on.ran[0]).toBe("surgery");
  });

  it("with another seed keeps what nothing random is in", async () => {
    const { on, scratch } = await both({ seed: 5 });
    expect(on.taken[0]).toBe("baseline");
    expect(on.ran.slice(0, 2)).toEqual(["contributions", "moments"]);
    expectSame(on, scratch);
  });

  it("with other test pictures makes no choice anew", async () => {
    const out = join(folder, `other-${runs++}`);
    cpSync(join(folder, "first"), out, { recursive: true });
    const other = { ...input, test: smallPictures(40, 9) };
    const on = await run(other, { ...OPTIONS, out, resume: true });
    expect(on.taken).toEqual(["contributions", "curves", "surgery"]);
    expect(bytes(on.pruned.graph)).toEqual(bytes(first.pruned.graph));
    expect(on.pruned.measured.get("original")!.test)
      .not.toEqual(first.pruned.measured.get("original")!.test);
  });

  it("with another model takes nothing", async () => {
    const out = join(folder, `other-${runs++}`);
    cpSync(join(folder, "first"), out, { recursive: true });
    const on = await run({ ...input, graph: smallNetwork(7) }, { ...OPTIONS, out, resume: true });
    expect(on.taken).toEqual([]);
  });

  it("with more epochs goes on from the last, and says so; with fewer it trains anew", async () => {
    const out = join(folder, `other-${runs++}`);
    cpSync(join(folder, "first"), out, { recursive: true });
    const more = await run(input, { ...OPTIONS, out, resume: true, epochs: 4, warmup: 1 });
    expect(more.pruned.history.slice(0, 2)).toEqual(first.pruned.history);
    expect(more.pruned.history.map(({ epoch }) => epoch)).toEqual([1, 2, 3, 4]);
    expect(more.notes).toEqual([
      expect.stringMatching(
        /^Training goes on after epoch 2 of what were to be 2, now towards 4: /,
      ),
    ]);
    expect(more.taken).toContain("contributions");
    // What there was stays: the shorter run is still there, and a shorter one yet is another.
    const again = await run(input, { ...OPTIONS, out, resume: true });
    expectSame(again, first);
    const { on, scratch } = await both({ epochs: 1, warmup: 0.25 });
    expect(on.pruned.history).toHaveLength(1);
    expectSame(on, scratch);
  });

  it("left out, nothing of an earlier run counts", async () => {
    const out = join(folder, `other-${runs++}`);
    cpSync(join(folder, "first"), out, { recursive: true });
    const anew = await run(input, { ...OPTIONS, out });
    expect(anew.taken).toEqual([]);
    expectSame(anew, first);
  });
});
