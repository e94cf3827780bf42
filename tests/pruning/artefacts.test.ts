// Stages that runs share are made once, by whichever run comes first, and change no run's result.

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { listArtefacts, pruned, removeArtefacts } from "../../src/pruning/artefact_list.ts";
import { Artefacts } from "../../src/pruning/artefacts.ts";
import type { PruneOptions } from "../../src/pruning/options.ts";
import type { PruneInput } from "../../src/pruning/pipeline.ts";
import { expectSameRun, SMALL_OPTIONS, smallInput, smallRun } from "../support/small_run.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-artefacts-"));
afterAll(() => rmSync(folder, { recursive: true }));
let folders = 0;
const fresh = () => join(folder, `${folders++}`);
const options = (changed: Partial<PruneOptions> = {}): PruneOptions => ({
  ...SMALL_OPTIONS,
  ...changed,
  out: fresh(),
});
const half = { budget: { kind: "flops", cut: 0.5 } } as const;

let input: PruneInput;
beforeAll(async () => {
  input = await smallInput();
});

describe("stages that runs share", () => {
  it("are taken by a run with another budget, which ends as one from scratch", async () => {
    const artefacts = new Artefacts(fresh());
    const first = await smallRun(input, options(), { artefacts });
    expect(first.taken).toEqual([]);
    const second = await smallRun(input, options(half), { artefacts });
    expect(second.taken).toEqual(["baseline", "contributions", "curves"]);
    expect(second.ran).not.toContain("moments");
    expectSameRun(second, await smallRun(input, options(half)));
  });

  it("are what outputs lose, where widths go by that", async () => {
    const artefacts = new Artefacts(fresh());
    const sensitivity = { epochs: 0, ratios: "sensitivity" } as const;
    const first = await smallRun(input, options(sensitivity), { artefacts });
    expect(first.ran).toContain("sensitivities");
    const second = await smallRun(input, options({ ...sensitivity, ...half }), { artefacts });
    expect(second.taken).toEqual(["baseline", "contributions", "curves", "sensitivities"]);
    expect(second.ran).not.toContain("moments");
    expectSameRun(second, await smallRun(input, options({ ...sensitivity, ...half })));
  });

  it("are moments too, for another criterion", async () => {
    const artefacts = new Artefacts(fresh());
    await smallRun(input, options({ epochs: 0 }), { artefacts });
    const changed = { epochs: 0, criterion: "l1" } as const;
    const second = await smallRun(input, options(changed), { artefacts });
    expect(second.taken).toEqual(["baseline", "moments"]);
    // What was taken took no time here, and nothing of the stage around it.
    for (const { seconds } of second.pruned.stages) expect(seconds).toBeGreaterThanOrEqual(0);
    expectSameRun(second, await smallRun(input, options(changed)));
  });

  it("are made once by two runs at a time", async () => {
    const artefacts = new Artefacts(fresh());
    const [one, other] = await Promise.all([
      smallRun(input, options({ epochs: 0 }), { artefacts }),
      smallRun(input, options({ epochs: 0, ...half }), { artefacts }),
    ]);
    for (const stage of ["baseline", "contributions", "moments", "curves"]) {
      expect([stage, [...one.ran, ...other.ran].filter((ran) => ran === stage).length])
        .toEqual([stage, 1]);
    }
    expectSameRun(other, await smallRun(input, options({ epochs: 0, ...half })));
  });

  it("are made again where they are damaged, or other code made them", async () => {
    const place = fresh();
    await smallRun(input, options({ epochs: 0 }), { artefacts: new Artefacts(place) });
    const other = new Artefacts(place, "other code");
    expect((await smallRun(input, options({ epochs: 0 }), { artefacts: other })).taken).toEqual([]);
    const own = new Artefacts(place);
    for (const { files: [path], header } of await listArtefacts(own)) {
      if (header?.stage !== "curves") continue;
      const bytes = readFileSync(path);
      bytes[bytes.length - 5] ^= 1;
      writeFileSync(path, bytes);
    }
    const again = await smallRun(input, options({ epochs: 0 }), { artefacts: own });
    expect(again.taken).toContain("contributions");
    expect(again.ran).toContain("curves");
    expectSameRun(again, await smallRun(input, options({ epochs: 0 })));
  });

  it("need no folder that can be written to", async () => {
    const place = fresh();
    writeFileSync(place, "a file");
    const artefacts = new Artefacts(join(place, "below"));
    const run = await smallRun(input, options({ epochs: 0 }), { artefacts });
    expect(run.taken).toEqual([]);
  });
});

describe("the control of runs", () => {
  it("is trained once, be it stopped and gone on with by another run", async () => {
    const artefacts = new Artefacts(fresh());
    const control = { control: true, epochs: 3 } as const;
    const controller = new AbortController();
    let epochs = 0;
    const stopped = smallRun(input, options(control), {
      artefacts,
      signal: controller.signal,
      // Three of the pruned model, and two of the control.
      onEpoch: () => ++epochs === 5 && controller.abort(),
    });
    await expect(stopped).rejects.toMatchObject({ code: "cancelled" });
    const on = await smallRun(input, options({ ...control, ...half }), { artefacts });
    expect(on.epochs).toBe(3 + 1);
    const third = await smallRun(input, options({ ...control, ...half }), { artefacts });
    expect(third.epochs).toBe(3);
    const scratch = await smallRun(input, options({ ...control, ...half }));
    expect(scratch.epochs).toBe(3 + 3);
    for (const run of [on, third]) {
      expectSameRun(run, scratch);
      expect(run.pruned.controlHistory!.map(({ loss }) => loss))
        .toEqual(scratch.pruned.controlHistory!.map(({ loss }) => loss));
    }
    // Its checkpoint is in the run's own folder as well, for more epochs.
    expect(
      readdirSync(join(folder, `${folders - 1}`, "run")).filter((name) => /^control-/.test(name)),
    )
      .toHaveLength(1);
  });
});

describe("the list of artefacts", () => {
  it("tells what is whole, damaged, outdated and unfinished, and prunes it", async () => {
    const artefacts = new Artefacts(fresh());
    const other = new Artefacts(artefacts.folder, "other code");
    const key = (name: string) => artefacts.key(name);
    const origin = { stage: "curves", about: "resnet8", seconds: 2 };
    for (const name of ["whole", "cut short", "altered"]) {
      await artefacts.write(key(name), origin, `{"value":"${name}"}`);
    }
    await other.write(key("other"), origin, "{}");
    const short = artefacts.path(key("cut short")), altered = artefacts.path(key("altered"));
    writeFileSync(short, readFileSync(short).subarray(0, -3));
    writeFileSync(altered, readFileSync(altered, "utf8").replace("altered", "ALTERED"));
    writeFileSync(artefacts.path(key("whole"), ".safetensors"), "half a checkpoint");
    const states = async (verify: boolean) =>
      (await listArtefacts(artefacts, verify)).map(({ key: found, state }) => [found, state])
        .sort();
    const expected = (altered: string) =>
      [
        [key("whole"), "whole"],
        [key("cut short"), "damaged"],
        [key("altered"), altered],
        [key("other"), "outdated"],
      ].sort();
    expect(await states(false)).toEqual(expected("whole"));
    expect(await states(true)).toEqual(expected("damaged"));

    // What another run is making stays.
    {
      await using _lock = await artefacts.lock(key("other"));
      const entries = await listArtefacts(artefacts, true);
      expect(await removeArtefacts(artefacts, pruned(entries, {}))).toHaveLength(2);
    }
    expect(await states(true)).toEqual(
      [[key("whole"), "whole"], [key("other"), "outdated"]].sort(),
    );
    const entries = await listArtefacts(artefacts);
    expect(await removeArtefacts(artefacts, pruned(entries, { all: true }))).toHaveLength(2);
    expect(await states(true)).toEqual([]);
  });

  it("gives up the longest unused beyond a size, and what has been unused for long", () => {
    const entry = (key: string, bytes: number, used: number) =>
      ({ key, state: "whole", files: [], bytes, used }) as const;
    const entries = [entry("a", 30, 3), entry("b", 30, 1), entry("c", 30, 2)];
    const keys = (found: readonly { key: string }[]) => found.map(({ key }) => key);
    expect(keys(pruned(entries, { largest: 60 }, 10))).toEqual(["b"]);
    expect(keys(pruned(entries, { largest: 59 }, 10))).toEqual(["b", "c"]);
    expect(keys(pruned(entries, { unusedFor: 7.5 }, 10))).toEqual(["b", "c"]);
    expect(keys(pruned(entries, {}, 10))).toEqual([]);
  });
});
