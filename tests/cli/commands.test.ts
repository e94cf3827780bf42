/** The command line as people meet it: its output, its exit code, and the files it writes. */

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readOnnx } from "../../src/formats/onnx/read/read.ts";
import { readTable } from "../../src/latency/table.ts";
import { writeCommandFiles } from "../support/command_files.ts";
import {
  denoProgram,
  type Finished,
  runCommand,
  type RunOptions,
} from "../support/command_line.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-commands-"));
beforeAll(() => writeCommandFiles(folder));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const missing = denoProgram() === undefined;

/** Runs in the folder with the test's data. */
const run = (args: string, options: Partial<RunOptions> = {}): Promise<Finished> =>
  runCommand(args.split(" "), { cwd: folder, ...options });

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
    expect(err).toMatch(/^Left out 1 of the 5 files .*broken\.png": it is [^\n]*\n$/);
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

  it("profile writes a table of layer times, once measured at once", async () => {
    const env = { SECATEUR_CACHE: join(folder, "profile-cache") };
    const profile = "profile --weights model.safetensors --round-to 16 --threads 1 --dtype f32";
    const { code, out, err } = await run(`${profile} --out times/table.json`, { env });
    expect(err).toMatch(/^Layer times: .* in secateur, f32, 1 picture per pass, 1 thread\n/m);
    expect(out).toMatch(/^layer +in +out +ms/);
    expect(out).toMatch(/ms with 50% of the channels; .*\n\nWrote times\/table\.json\.\n$/);
    expect(code).toBe(0);
    const table = await readTable(join(folder, "times/table.json"));
    expect(table).toMatchObject({ runtime: "secateur", dtype: "f32", batch: 1, threads: 1 });
    const again = await run(`${profile} --json --out times/again.json`, { env });
    expect(eventsOf(again.out).at(-1)).toMatchObject({ event: "result", batch: 1, threads: 1 });
    expect((await readTable(join(folder, "times/again.json"))).curves).toEqual(table.curves);
  });

  it("profile keeps times in the home folder where nothing names a place", async () => {
    const home = join(folder, "home");
    mkdirSync(home);
    const env = { SECATEUR_CACHE: "", XDG_CACHE_HOME: "", HOME: home };
    const profile = "profile --weights model.safetensors --round-to 16 --threads 1 --dtype f32";
    const { code, err } = await run(`${profile} --out times/home.json`, { env });
    expect([code, err]).toEqual([0, expect.not.stringMatching("Something went wrong")]);
    expect(readdirSync(join(home, ".cache", "secateur", "latency"))).toHaveLength(1);
  });

  it("profile wants a runtime that there is, and a place to write to", async () => {
    const unknown = await run("profile --model resnet8 --runtime tensorrt");
    expect(unknown.err).toMatch(/^Expected --runtime to be one of secateur, onnxruntime, got /);
    expect(unknown.code).toBe(2);
    const blocked = await run("profile --model resnet8 --out model.safetensors/table.json");
    expect(blocked.err).toMatch(/^model\.safetensors: .*\n$/);
    expect(blocked.code).toBe(1);
  });

  it("help lists the options and their defaults", async () => {
    const { code, out } = await run("prune --help");
    expect(out).toMatch(/--cut-flops <share> +share of the FLOPs/);
    expect(out.replace(/\s+/g, " ")).toContain("(default 20; 8 for the embedded default)");
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
    expect([resumed.code, resumed.err]).toEqual([0, ""]);
    const bytes = (name: string) => readFileSync(join(folder, name, "model.safetensors"));
    expect(bytes("parts").equals(bytes("whole"))).toBe(true);
  }, 300_000);

  it(
    "train says where it starts, how every epoch does, and tests the last and the best",
    async () => {
      const args = "train --data cifar10:cifar --weights model.safetensors --epochs 2 --lr 0.01 " +
        "--batch 20 --ema 0.9 --out trained";
      const { code, out, err } = await run(args);
      expect(code).toBe(0);
      expect(err).toMatch(/^start: held-out top-1 \d+\.\d+%, loss \d/m);
      expect(
        err.match(/^epoch \d of 2: training loss .*; held-out top-1 .*; moving average top-1 /gm),
      )
        .toHaveLength(2);
      expect(out).toMatch(/^start +\d+\.\d+% +\d/m);
      expect(out).toMatch(/^last, epoch 2 +\d+\.\d+% +\d\S+ +\d+\.\d+% +\d/m);
      const { history, outcome, bestEpoch, test, testOfLast } = JSON.parse(
        readFileSync(join(folder, "trained", "history.json"), "utf8"),
      );
      expect(history).toHaveLength(2);
      expect(outcome.best.epoch).toBe(bestEpoch);
      expect([test.total, testOfLast.total]).toEqual([100, 100]);
      // The same held-out pictures, with what was written: the figure of the choice.
      const evaluated = await run(
        "evaluate --data cifar10:cifar --weights trained/model.safetensors --split held-out --json",
      );
      const { top1, loss } = eventsOf(evaluated.out).at(-1)!;
      expect({ top1, loss }).toEqual({ top1: outcome.best.top1, loss: outcome.best.loss });
      const counted = async (more: string) => {
        const { out } = await run(
          `evaluate --data cifar10:cifar --weights model.safetensors --json ${more}`,
        );
        return eventsOf(out).at(-1)!.total;
      };
      expect(await counted("--hold-out 3")).toBe(30);
      expect(await counted("--hold-out 3 --split train")).toBe(170);
      expect(await counted("--split train")).toBe(200);
      const none = await run(
        "evaluate --data cifar10:cifar --weights model.safetensors --hold-out 0",
      );
      expect([none.code, none.err]).toEqual([
        2,
        expect.stringContaining("--hold-out with at least 1"),
      ]);
    },
    300_000,
  );

  it("train learns from a teacher, and says what a teacher lacks", async () => {
    const args = "train --data cifar10:cifar --model resnet8 --epochs 1 --batch 20 --json --out";
    const alone = await run(`${args} alone`);
    const taught = await run(
      `${args} taught --teacher weights.safetensors --teacher-model resnet8`,
    );
    expect([alone.code, taught.code]).toEqual([0, 0]);
    const lossOf = ({ out }: Finished) =>
      (eventsOf(out).at(-1)!.history as { loss: number }[])[0].loss;
    expect(lossOf(taught)).not.toBe(lossOf(alone));
    const refusals: [string, RegExp][] = [
      [
        "--teacher weights.safetensors",
        /weights without their model; .*give --teacher-model resnet8/,
      ],
      ["--teacher-model resnet8", /^Expected --teacher beside --teacher-model/],
      ["--distill 0.5", /^Expected --teacher beside --distill/],
      ["--teacher two.safetensors", /resnet8 tells 2 classes apart/],
    ];
    for (const [more, sentence] of refusals) {
      const { code, err } = await run(`${args} taught ${more}`);
      expect(code, more).not.toBe(0);
      expect(err).toMatch(sentence);
    }
  }, 300_000);

  it("says when there is nothing to resume", async () => {
    const nothing = /^There is nothing to resume in fresh\S*; the run starts anew\.$/m;
    const trained = await run("train --data cifar10:cifar --epochs 1 --resume --out fresh");
    expect(trained.err).toMatch(nothing);
    const pruned = await run(`${PRUNE} --epochs 0 --resume --out fresh`);
    expect(pruned.err).toMatch(nothing);
    expect([trained.code, pruned.code]).toEqual([0, 0]);
  }, 300_000);

  it("prune writes a smaller model, the plan and the report", async () => {
    const { code, out, err } = await run(`${PRUNE} --json --out pruned`);
    expect(err).toMatch(/^resnet8 gets \d+ of 180 .*pruned all the same\.\n$/);
    expect(code).toBe(0);
    const { event, ...results } = eventsOf(out).at(-1)!;
    expect(event).toBe("result");
    const report = JSON.parse(readFileSync(join(folder, "pruned", "report.json"), "utf8"));
    expect(report.results).toEqual(results);
    const { budget, cost } = report.results;
    expect(report.results.written).toEqual({ step: "bestEpoch", epoch: 1 });
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
  }, 600_000);

  it("prune cuts the time of the embedded default", async () => {
    const env = { SECATEUR_CACHE: join(folder, "latency-cache") };
    const { code, out, err } = await run(
      "prune --cut-latency 15% --runtime secateur --threads 1 --dtype f32 --epochs 0 " +
        "--criterion l1 --no-compensate --no-reestimate --json --out faster",
      { env },
    );
    expect([code, err]).toEqual([0, ""]);
    const { budget, cost, latency } = eventsOf(out).at(-1) as {
      budget: {
        kind: string;
        asked: number;
        times: Record<"predicted" | "measured", { original: number; cut: number }>;
      };
      cost: { before: { macs: number }; after: { macs: number } };
      latency: readonly object[];
    };
    expect(budget).toMatchObject({ kind: "latency", asked: 0.15 });
    const { predicted, measured } = budget.times;
    // How near it came is for a quiet machine to say; that it was measured, for any.
    expect(Math.min(measured.cut, measured.original)).toBeGreaterThan(0);
    expect(predicted.cut).toBeLessThan(predicted.original);
    expect(cost.after.macs).toBeLessThan(cost.before.macs);
    expect(latency).toHaveLength(2);
  }, 300_000);

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
      expect(notes.form.activation).toEqual({ node: "prob", op: "Softmax", output: "p" });

      const evaluate = async (rest: string) => {
        const found = await run(`evaluate --data cifar10:cifar ${rest} --dtype f32`);
        const [, correct] = / (\d+) of 100 right/.exec(found.out) ?? [];
        return { out: found.out, correct: Number(correct) };
      };
      const own = await evaluate("--weights kept/pruned.safetensors");
      expect(own.out).toMatch(/made for pictures prepared so:.*bgr; 10 labels/);
      const onnx = await evaluate("--weights kept/pruned.onnx --channels rgb");
      expect(onnx.out).toMatch(/win over it: --channels rgb in place of bgr/);
      const { accuracy, written } = json("report.json").results;
      expect(accuracy[written.step][1].correct).toBe(own.correct);
    },
    600_000,
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
