/** The command line as people meet it: what it refuses, in one sentence, leaving nothing behind. */

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeCommandFiles } from "../support/command_files.ts";
import {
  denoProgram,
  type Finished,
  runCommand,
  type RunOptions,
} from "../support/command_line.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-cli-"));
beforeAll(() => writeCommandFiles(folder));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const missing = denoProgram() === undefined;

/** Runs in the folder with the test's data. */
const run = (args: string, options: Partial<RunOptions> = {}): Promise<Finished> =>
  runCommand(args.split(" "), { cwd: folder, ...options });

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
  [
    "nothing known of the pictures",
    "prune --data cifar10:cifar --weights model.safetensors --out chance",
    1,
    /resnet8 gets \d+ of 180 training pictures right .*guessing gets.*--force to prune it as it is/,
  ],
  [
    "a layer that there is not",
    "prune --data cifar10:cifar --weights model.safetensors --keep layer1.0.con1",
    2,
    /--keep.*"layer1\.0\.con1".*"layer1\.0\.conv1"/,
  ],
  [
    "a share of nothing",
    "prune --max-ratio layer1=2",
    2,
    /--max-ratio.*layer1\.\*=0\.3.*"layer1=2"/,
  ],
  [
    "folders without labels",
    "evaluate --data imagefolder:pictures --weights two.safetensors --labels cats.txt",
    1,
    /2 classes of cats\.txt.*"dark", "light".*--labels/,
  ],
  [
    "labels that are none",
    "evaluate --data imagefolder:pictures --weights two.safetensors --labels none.txt",
    1,
    /none\.txt.*no such file/,
  ],
  [
    "pictures scaled to what the model does not take",
    "evaluate --data cifar10:cifar --weights model.safetensors --preset imagenet",
    1,
    /takes pictures of 32x32, .* 224x224: give --resize 32 --crop 32/,
  ],
  [
    "a crop larger than the picture",
    "evaluate --data cifar10:cifar --weights model.safetensors --resize 32 --crop 33",
    2,
    /--crop of at most --resize.*33.*32/,
  ],
  [
    "pictures of two places",
    "evaluate --data cifar10:cifar --val pictures/test --weights model.safetensors",
    2,
    /--data cifar10:cifar and --val/,
  ],
  [
    "training pictures alone",
    "prune --train pictures/train --weights two.safetensors",
    2,
    /--val beside --train pictures\/train/,
  ],
  ["half of a normalisation", "evaluate --mean 0,0,0", 2, /--mean and --std together/],
  ["the old name of a scope", "prune --channels inner", 2, /rgb, bgr.*--scope.*"inner"/],
  ["the old name of a size", "evaluate --size 32", 2, /'--size'.*--resize and --crop/],
  [
    "a checkpoint for folded batch norm",
    "evaluate --data cifar10:cifar --model folded.onnx --weights weights.safetensors --json",
    1,
    /weights\.safetensors does not fit folded\.onnx: batch norm was folded into 1 of/,
  ],
  [
    "two budgets of which one cannot be met",
    "prune --cut-flops 40% --cut-params 99.9%",
    1,
    /40\.0% of the FLOPs and 99\.9% of the parameters, but .* removes only 9\d/,
  ],
  [
    "a budget in time beside another",
    "prune --cut-params 40% --cut-latency 40%",
    2,
    /got --cut-latency and --cut-params; leave one out/,
  ],
  [
    "a budget in time beside two others",
    "prune --cut-flops 1% --cut-params 1% --cut-latency 1%",
    2,
    /--cut-latency and --cut-flops and --cut-params; leave/,
  ],
  [
    "a runtime without a budget in time",
    "prune --cut-flops 40% --runtime onnxruntime",
    2,
    /--cut-latency beside --runtime onnxruntime/,
  ],
  [
    "a table of times that is none",
    "prune --data cifar10:cifar --weights model.safetensors --cut-latency 40% --runtime text.txt",
    1,
    /text\.txt: expected a table of layer times as JSON.*secateur profile/,
  ],
  [
    "a table of times that is not there",
    "prune --data cifar10:cifar --weights model.safetensors --cut-latency 40% --runtime onnxrt",
    1,
    /onnxrt.*no such file.*/,
  ],
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
    expect(readdirSync(folder)).not.toContain("limited");
  });
});
