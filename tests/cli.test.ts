/** The command line as people meet it: a process, its output, its exit code, what it leaves. */

import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeModel } from "../src/formats/model_file.ts";
import { writeSafetensors } from "../src/formats/safetensors.ts";
import { createModel } from "../src/models/models.ts";
import { denoProgram, type Finished, runCommand, type RunOptions } from "./support/command_line.ts";
import { writeSmallCifar } from "./support/small_data.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-cli-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const fixtures = fileURLToPath(new URL("fixtures/formats/", import.meta.url));
const missing = denoProgram() === undefined;

/** Runs in the folder with the test's data. */
const run = (args: string, options: Partial<RunOptions> = {}): Promise<Finished> =>
  runCommand(args.split(" "), { cwd: folder, ...options });

/** An image folder: two classes of two pictures each in both splits. */
async function writePictures(name: string, unreadable: boolean): Promise<void> {
  for (const split of ["train", "test"]) {
    for (const [label, level] of [["dark", 40], ["light", 210]] as const) {
      const place = join(folder, name, split, label);
      mkdirSync(place, { recursive: true });
      for (const i of [0, 1]) {
        const background = { r: level, g: level + 9 * i, b: level };
        const picture = sharp({ create: { width: 32, height: 32, channels: 3, background } });
        writeFileSync(join(place, `${i}.png`), await picture.png().toBuffer());
      }
    }
  }
  if (unreadable) writeFileSync(join(folder, name, "test", "dark", "broken.png"), "not a picture");
}

beforeAll(async () => {
  const model = createModel("resnet8", { classes: 10 });
  const tensors = new Map(model.parameters);
  await writeModel(join(folder, "model.safetensors"), model);
  await writeModel(join(folder, "two.safetensors"), createModel("resnet8", { classes: 2 }));
  await writeSafetensors(join(folder, "weights.safetensors"), tensors);
  tensors.set("conv1.weight", { shape: [16, 3, 5, 5], data: new Float32Array(1200) });
  await writeSafetensors(join(folder, "shape.safetensors"), tensors);
  const bytes = readFileSync(join(folder, "weights.safetensors"));
  writeFileSync(join(folder, "truncated.safetensors"), bytes.subarray(0, bytes.length / 2));
  writeFileSync(join(folder, "text.txt"), "these are no weights");
  cpSync(join(fixtures, "hostile-os-system-zip.pt"), join(folder, "hostile.pt"));
  writeSmallCifar(join(folder, "cifar"), 200, 100);
  mkdirSync(join(folder, "empty", "test"), { recursive: true });
  mkdirSync(join(folder, "empty", "train"), { recursive: true });
  await writePictures("pictures", false);
  await writePictures("damaged", true);
});

/** Arguments, exit code, and what the sentence must say. */
const BAD: readonly (readonly [string, string, number, RegExp])[] = [
  ["missing file", "evaluate --data cifar10:cifar --weights none.th", 1, /none\.th.* no such file/],
  ["missing data", "evaluate --data cifar10:none --weights model.safetensors", 1, /none/],
  [
    "wrong format",
    "evaluate --data cifar10:cifar --weights text.txt --model resnet8",
    1,
    /neither/,
  ],
  [
    "truncated checkpoint",
    "evaluate --data cifar10:cifar --weights truncated.safetensors --model resnet8",
    1,
    /truncated/,
  ],
  [
    "hostile pickle",
    "evaluate --data cifar10:cifar --weights hostile.pt --model resnet8",
    1,
    /system/,
  ],
  [
    "wrong tensor shape",
    "evaluate --data cifar10:cifar --weights shape.safetensors --model resnet8",
    1,
    /conv1\.weight.*\[16, 3, 3, 3\].*\[16, 3, 5, 5\]/,
  ],
  [
    "another architecture",
    "evaluate --data cifar10:cifar --weights weights.safetensors --model resnet20",
    1,
    /lacks/,
  ],
  [
    "weights without a model",
    "evaluate --data cifar10:cifar --weights weights.safetensors",
    2,
    /--model/,
  ],
  [
    "wrong class count",
    "evaluate --data cifar10:cifar --weights two.safetensors",
    1,
    /2 classes.*10/,
  ],
  [
    "empty image folder",
    "evaluate --data imagefolder:empty --weights model.safetensors",
    1,
    /empty/,
  ],
  [
    "unreadable picture, when strict",
    "evaluate --data imagefolder:damaged --weights two.safetensors --strict",
    1,
    /dark\/broken\.png/,
  ],
  [
    "impossible budget",
    "prune --data cifar10:cifar --weights model.safetensors --cut-flops 99% --cap 0.5",
    1,
    /99\.0% of the FLOPs.*removes only/,
  ],
  ["two budgets", "prune --cut-flops 40% --cut-params 40%", 2, /--cut-flops and --cut-params/],
  ["unknown option", "prune --epoch 3", 2, /--epoch'.*did you mean --epochs\?/],
  ["unknown command", "prun", 2, /did you mean prune\?/],
  ["unknown model", "train --model resnet57", 2, /resnet57.*resnet56/],
  ["unknown data", "evaluate --data cifar:x --weights model.safetensors", 2, /cifar10:FOLDER/],
  ["a share that is none", "prune --cut-flops 45", 2, /--cut-flops.*45\.5%.*"45"/],
  ["a count that is none", "train --epochs 1e99", 2, /--epochs.*whole number/],
  ["a missing value", "train --epochs", 2, /argument missing/],
  ["an argument too many", "inspect model.safetensors", 2, /too many arguments/i],
  [
    "output folder inside a file",
    "train --data cifar10:cifar --out text.txt/out",
    1,
    /text\.txt\/out: expected to write here, but/,
  ],
];

/** One sentence on standard error alone, a failure, and no trace of the program's inside. */
function expectSentence({ code, out, err }: Finished, expected: number, sentence: RegExp): void {
  expect(err).toMatch(sentence);
  expect(err).toMatch(/^\S[^\n]*[.?]\n$/);
  expect(err).not.toMatch(/\bat .*\.ts:|Error:|file:\/\//);
  expect(out).toBe("");
  expect(code).toBe(expected);
}

describe.skipIf(missing)("bad input: one sentence, a failure, nothing written", () => {
  it.each(BAD)("%s", async (_what, args, code, sentence) => {
    const before = readdirSync(folder, { recursive: true });
    expectSentence(await run(args), code, sentence);
    expect(readdirSync(folder, { recursive: true })).toEqual(before);
  });

  it("addon not built", async () => {
    const before = readdirSync(folder);
    const env = { SECATEUR_ADDON: join(folder, "absent.node") };
    for (const command of ["prune", "train", "evaluate"]) {
      const args = `${command} --data cifar10:cifar --weights model.safetensors`;
      expectSentence(await run(args, { env }), 1, /absent\.node.*deno task build/);
    }
    expect(readdirSync(folder)).toEqual(before);
  });

  it("disk full: output that nobody can take", async () => {
    const full = await run("inspect --model resnet8", { shell: 'exec "$@" > /dev/full' });
    expectSentence(full, 1, /disk is full/);
  });

  it("disk full: a file-size limit", async () => {
    const args = "train --data cifar10:cifar --epochs 1 --out limited";
    const { code, err } = await run(args, { shell: 'ulimit -f 128; exec "$@"' });
    expect(err.trim().split("\n").at(-1)).toMatch(/limited.*would exceed the file-size limit.*\.$/);
    expect(code).toBe(1);
    expect(readdirSync(join(folder, "limited"))).toEqual([]);
  });
});

/** The events a command wrote; every line of its output must be one. */
function eventsOf(out: string): Record<string, unknown>[] {
  return out.trim().split("\n").map((line) => JSON.parse(line));
}

describe.skipIf(missing)("commands", () => {
  it("evaluate skips unreadable pictures with a warning and counts the rest", async () => {
    const { code, out, err } = await run(
      "evaluate --data imagefolder:damaged --weights two.safetensors --json",
    );
    expect(err).toMatch(/^Left out 1 unreadable of 5 pictures .*broken\.png[^\n]*\n$/);
    expect(eventsOf(out).at(-1)).toMatchObject({ event: "result", total: 4, device: "cpu" });
    expect(Object.keys(eventsOf(out).at(-1)!).sort()).toEqual(
      ["correct", "device", "dtype", "event", "loss", "seconds", "top1", "top5", "total"],
    );
    expect(code).toBe(0);
  });

  it("inspect counts a model", async () => {
    const { code, out } = await run("inspect --model resnet56 --json");
    const [found] = eventsOf(out);
    expect(found).toMatchObject({ event: "result", macs: 125_485_696, parameters: 853_018 });
    expect(code).toBe(0);
  });

  it("help lists the options and their defaults", async () => {
    const { code, out } = await run("prune --help");
    expect(out).toMatch(/--cut-flops <share> +share of the FLOPs/);
    expect(code).toBe(0);
  });

  it("train stops at Ctrl-C with a checkpoint and goes on to the same bytes", async () => {
    const args = "train --data cifar10:cifar --epochs 16 --batch 20 --json --out";
    const whole = await run(`${args} whole`);
    expect(whole.code).toBe(0);

    let interrupted = false;
    const stopped = await run(`${args} parts`, {
      onOutput: (out, interrupt) => {
        if (interrupted || !out.includes('"progress"')) return;
        interrupted = true;
        interrupt();
      },
    });
    expect(interrupted).toBe(true);
    expect(stopped.err).toMatch(/go on with --resume\.\n$/);
    expect(stopped.code).toBe(130);
    expect(readdirSync(join(folder, "parts"))).toEqual(["training.safetensors"]);

    const resumed = await run(`${args} parts --resume`);
    expect(resumed.code).toBe(0);
    const bytes = (name: string) => readFileSync(join(folder, name, "model.safetensors"));
    expect(bytes("parts").equals(bytes("whole"))).toBe(true);
  }, 120_000);

  it("prune writes a smaller model, the plan and the report", async () => {
    const { code, out, err } = await run(
      "prune --data cifar10:cifar --weights model.safetensors --cut-flops 30% --epochs 1 " +
        "--batch 20 --pairs 2 --calibration 16 --rank-images 16 --entropy-images 32 --json " +
        "--force --out pruned",
    );
    expect(err).toMatch(/^resnet8 gets \d+ of 128 .*pruned all the same\.\n$/);
    expect(code).toBe(0);
    const { event, ...results } = eventsOf(out).at(-1)!;
    expect(event).toBe("result");
    const report = JSON.parse(readFileSync(join(folder, "pruned", "report.json"), "utf8"));
    expect(report.results).toEqual(results);
    const { budget, cost } = report.results;
    expect(cost.after.macs).toBe(budget.reached);
    expect(budget.reached).toBeLessThanOrEqual(0.7 * cost.before.macs);
    expect(budget.gap).toBeLessThan(budget.step);

    const inspected = await run("inspect --weights pruned/pruned.safetensors --json");
    expect(eventsOf(inspected.out)[0]).toMatchObject({ macs: cost.after.macs });
    const evaluated = await run(
      "evaluate --weights pruned/pruned.safetensors --data cifar10:cifar --json",
    );
    const best = report.results.accuracy.bestEpoch.find(({ set }: { set: string }) =>
      set === "test"
    );
    expect(eventsOf(evaluated.out).at(-1)).toMatchObject({ correct: best.correct, total: 100 });
  }, 120_000);
});
