// A run that goes on with other options takes what these do not concern, and ends as one from scratch.

import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PruneOptions } from "../../src/pruning/options.ts";
import { prune, type PruneInput } from "../../src/pruning/pipeline.ts";
import { smallNetwork, smallPictures } from "../support/pictures/small.ts";
import {
  expectSameRun,
  SMALL_OPTIONS,
  smallInput,
  type SmallRun,
  smallRun,
  weightsOf,
} from "../support/small_run.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-resume-"));
afterAll(() => rmSync(folder, { recursive: true }));

const OPTIONS: PruneOptions = { ...SMALL_OPTIONS, out: join(folder, "first") };

let input: PruneInput, first: SmallRun;
beforeAll(async () => {
  input = await smallInput();
  first = await smallRun(input, OPTIONS);
});

let runs = 0;
/** As `first` with other options, once on top of it and once from scratch. */
async function both(changed: Partial<PruneOptions>): Promise<{ on: SmallRun; scratch: SmallRun }> {
  const out = join(folder, `other-${runs++}`);
  cpSync(join(folder, "first"), out, { recursive: true });
  const options = { ...OPTIONS, ...changed };
  return {
    on: await smallRun(input, { ...options, out, resume: true }),
    scratch: await smallRun(input, { ...options, out: join(folder, `scratch-${runs++}`) }),
  };
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
    expectSameRun(on, scratch);
    expectSameRun(on, first);
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
    expectSameRun(on, scratch);
  });

  it("with another budget keeps everything before widths are solved", async () => {
    const { on, scratch } = await both({ budget: { kind: "flops", cut: 0.5 } });
    expect(on.taken).toEqual(["baseline", "contributions", "curves"]);
    expect(on.ran[0]).toBe("surgery");
    expectSameRun(on, scratch);
  });

  it("by concentration keeps statistics for another budget", async () => {
    const shares = { ratios: "concentration", exponent: 1, epochs: 0 } as const;
    const out = join(folder, "concentration");
    await smallRun(input, { ...OPTIONS, ...shares, out });
    const budget = { kind: "flops", cut: 0.5 } as const;
    const on = await smallRun(input, { ...OPTIONS, ...shares, budget, out, resume: true });
    expect(on.taken).toEqual(["baseline", "statistics", "contributions"]);
    expect(on.ran[0]).toBe("surgery");
  });

  it("with another seed keeps what nothing random is in", async () => {
    const { on, scratch } = await both({ seed: 5 });
    expect(on.taken[0]).toBe("baseline");
    expect(on.ran.slice(0, 2)).toEqual(["contributions", "moments"]);
    expectSameRun(on, scratch);
  });

  it("with other test pictures makes no choice anew", async () => {
    const out = join(folder, `other-${runs++}`);
    cpSync(join(folder, "first"), out, { recursive: true });
    const other = { ...input, test: smallPictures(40, 9) };
    const on = await smallRun(other, { ...OPTIONS, out, resume: true });
    expect(on.taken).toEqual(["contributions", "curves", "surgery"]);
    expect(weightsOf(on.pruned.graph)).toEqual(weightsOf(first.pruned.graph));
    expect(on.pruned.measured.get("original")!.test)
      .not.toEqual(first.pruned.measured.get("original")!.test);
  });

  it("with another model takes nothing", async () => {
    const out = join(folder, `other-${runs++}`);
    cpSync(join(folder, "first"), out, { recursive: true });
    const on = await smallRun({ ...input, graph: smallNetwork(7) }, {
      ...OPTIONS,
      out,
      resume: true,
    });
    expect(on.taken).toEqual([]);
  });

  it("with more epochs goes on from the last, and says so; with fewer it trains anew", async () => {
    const out = join(folder, `other-${runs++}`);
    cpSync(join(folder, "first"), out, { recursive: true });
    const more = await smallRun(input, { ...OPTIONS, out, resume: true, epochs: 4, warmup: 1 });
    expect(more.pruned.history.slice(0, 2)).toEqual(first.pruned.history);
    expect(more.pruned.history.map(({ epoch }) => epoch)).toEqual([1, 2, 3, 4]);
    expect(more.notes).toEqual([
      expect.stringMatching(
        /^Training goes on after epoch 2 of what were to be 2, now towards 4: /,
      ),
    ]);
    expect(more.taken).toContain("contributions");
    // What there was stays: the shorter run is still there, and a shorter one yet is another.
    const again = await smallRun(input, { ...OPTIONS, out, resume: true });
    expectSameRun(again, first);
    const { on, scratch } = await both({ epochs: 1, warmup: 0.25 });
    expect(on.pruned.history).toHaveLength(1);
    expectSameRun(on, scratch);
  });

  it("left out, nothing of an earlier run counts", async () => {
    const out = join(folder, `other-${runs++}`);
    cpSync(join(folder, "first"), out, { recursive: true });
    const anew = await smallRun(input, { ...OPTIONS, out });
    expect(anew.taken).toEqual([]);
    expectSameRun(anew, first);
  });
});
