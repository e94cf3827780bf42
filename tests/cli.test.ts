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
import { writeOnnx } from "../src/formats/onnx/export.ts";
import { readOnnx } from "../src/formats/onnx/read.ts";
import type { Graph } from "../src/graph/graph.ts";
import { GraphBuilder } from "../src/models/builder.ts";
import { createModel } from "../src/models/models.ts";
import { withSoftmax } from "../src/pruning/answer.ts";
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

/** One convolution as exporters leave it whose batch norm they folded: its bias has no name. */
function foldedNetwork(): Graph {
  const builder = new GraphBuilder("folded", [3, 32, 32], 0);
  const made = builder.convolution("conv1", builder.input, { out: 4, kernel: 3, bias: true });
  const pooled = builder.globalAveragePool("pool", builder.relu("relu1", made));
  const graph = builder.finish(builder.linear("linear", builder.flatten("flatten", pooled), 10));
  const parameters = new Map(graph.parameters).set("onnx::Conv_1", {
    shape: [4],
    data: new Float32Array(4),
  });
  parameters.delete("conv1.bias");
  const nodes = graph.nodes.map((node) =>
    node.op === "convolution" ? { ...node, bias: "onnx::Conv_1" } : node
  );
  return { ...graph, nodes, parameters };
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
  writeFileSync(join(folder, "cats.txt"), "tabby\nsiamese\n");
  await writeOnnx(join(folder, "model.onnx"), withSoftmax(model, { node: "prob", output: "p" }));
  await writeOnnx(join(folder, "folded.onnx"), foldedNetwork());
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
    "a crop of ready-made pictures",
    "evaluate --data cifar10:cifar --weights model.safetensors --preset imagenet",
    2,
    /--resize 256 and --crop 224.*cifar10:cifar are 32x32/,
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

/** A quick run on a model that knows nothing. */
const PRUNE = "prune --data cifar10:cifar --weights model.safetensors --cut-flops 30% --epochs 1 " +
  "--batch 20 --pairs 2 --calibration 16 --rank-images 16 --entropy-images 32 --force";

const CIFAR = "airplane automobile bird cat deer dog frog horse ship truck".split(" ");

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
    const { code, out, err } = await run(`${PRUNE} --json --out pruned`);
    expect(err).toMatch(/^resnet8 gets \d+ of 180 .*pruned all the same\.\n$/);
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

    // A control changes no other stage: it may be asked for when all else is finished.
    const controlled = await run(`${PRUNE} --control --resume --json --out pruned`);
    const more = eventsOf(controlled.out).at(-1)!;
    expect(more).toMatchObject({ groups: results.groups, accuracy: results.accuracy });
    expect(more.training).toMatchObject({ pruned: report.results.training.pruned });
    expect(Object.keys(more.accuracy as object)).toContain("controlBest");
    expect(controlled.code).toBe(0);
  }, 240_000);

  it(
    "keeps how pictures become inputs, class names and the softmax with what it writes",
    async () => {
      const { code, out } = await run(
        `${PRUNE.replace("model.safetensors", "model.onnx")} --epochs 0 --channels bgr ` +
          "--mean 0.5,0.5,0.5 --std 0.25,0.25,0.25 --keep layer1.* --max-ratio layer2.0.conv1=0.25 " +
          "--out kept",
      );
      expect(out).toMatch(/final softmax \(prob\).*put back/);
      expect(code).toBe(0);
      const json = (name: string) => JSON.parse(readFileSync(join(folder, "kept", name), "utf8"));
      const input = {
        mean: [0.5, 0.5, 0.5],
        std: [0.25, 0.25, 0.25],
        channels: "bgr",
        labels: CIFAR,
      };
      expect(json("report.json").input).toEqual(input);
      const constraints = json("plan.json").constraints;
      expect(constraints.keep).toContain("layer1.0.conv1");
      expect(constraints.maxRatio).toEqual({ "layer2.0.conv1": 0.25 });
      expect(json("report.json").results.constraints).toEqual(constraints);
      const { notes } = await readOnnx(join(folder, "kept", "pruned.onnx"));
      expect(JSON.parse(notes.metadata.get("secateur.input")!)).toEqual(input);
      expect(notes.removedSoftmax).toEqual({ node: "prob", op: "Softmax", output: "p" });

      const evaluate = async (rest: string) => {
        const found = await run(`evaluate --data cifar10:cifar ${rest} --dtype f32`);
        const [, correct] = / (\d+) of 100 right/.exec(found.out) ?? [];
        return { out: found.out, correct: Number(correct) };
      };
      const own = await evaluate("--weights kept/pruned.safetensors");
      expect(own.out).toMatch(/made for pictures prepared so:.*bgr; 10 labels/);
      const onnx = await evaluate("--weights kept/pruned.onnx --channels rgb");
      expect(onnx.out).toMatch(/win over it: --channels rgb in place of bgr/);
      const reference = json("report.json").results.accuracy;
      const last = reference.afterReestimation ?? reference.afterCompensation ?? reference.afterCut;
      expect([last[1].correct, reference.afterCut[1].correct]).toContain(own.correct);
    },
    240_000,
  );

  it("evaluate takes weights from a checkpoint for the graph of an ONNX file", async () => {
    const found = async (model: string) => {
      const { out } = await run(`evaluate --data cifar10:cifar --json ${model}`);
      const { loss, correct } = eventsOf(out).at(-1)!;
      return { loss, correct };
    };
    const bound = await found("--model model.onnx --weights weights.safetensors");
    expect(bound).toEqual(await found("--weights model.safetensors"));
  }, 60_000);

  it("evaluate takes separate folders, a crop, and labels in any order", async () => {
    writeFileSync(join(folder, "order.json"), '{"1": ["d", "dark"], "0": "light"}');
    const places = "--val pictures/test --weights two.safetensors";
    const { out, err, code } = await run(`evaluate ${places} --labels order.json --crop 32 --json`);
    expect(err).toBe("");
    expect(code).toBe(0);
    const turned = eventsOf(out).at(-1)! as { correct: number };
    const straight = await run(`evaluate ${places} --json`);
    const before = eventsOf(straight.out).at(-1)! as { correct: number };
    expect(turned.correct).toBe(4 - before.correct);
  }, 60_000);
});
