/** Commands on a device: whole runs in the emulator beside the CPU's, and what is said without one. */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeModel } from "../../src/formats/model_file.ts";
import type { Graph } from "../../src/graph/graph.ts";
import { GraphBuilder } from "../../src/models/builder.ts";
import { denoProgram, type Finished, runCommand } from "../support/command_line.ts";
import { buildFirst, EMULATED_TIMEOUT, emulator, missing } from "../support/cuda/emulator.ts";
import { writeSmallCifar } from "../support/small_data.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-cuda-commands-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A residual block: every thread of a GPU is run by this processor. */
function tinyNetwork(): Graph {
  const builder = new GraphBuilder("tiny", [3, 8, 8], 1);
  const layer = (name: string, from: string) =>
    builder.batchNorm(
      `bn${name}`,
      builder.convolution(`conv${name}`, from, { out: 8, kernel: 3, padding: 1 }),
    );
  const stem = builder.relu("relu1", layer("1", builder.input));
  const inner = builder.relu("relu2", layer("2", stem));
  const sum = builder.relu("relu3", builder.add("add", layer("3", inner), stem));
  const pooled = builder.flatten("flatten", builder.globalAveragePool("pool", sum));
  return builder.finish(builder.linear("linear", pooled, 10));
}

beforeAll(async () => {
  writeSmallCifar(join(folder, "cifar"), 60, 30);
  await writeModel(join(folder, "model.safetensors"), tinyNetwork());
});

const DATA = "--data cifar10:cifar --resize 8 --crop 8 --dtype f32 --threads 1 --json";
const TRAIN =
  `train ${DATA} --weights model.safetensors --epochs 1 --batch 20 --no-augment --limit 4`;
const PRUNE =
  `prune ${DATA} --weights model.safetensors --cut-flops 30% --epochs 1 --batch 20 --pairs 2 ` +
  "--calibration 8 --rank-images 8 --entropy-images 16 --limit 4 --force";

const run = (args: string, env: Record<string, string>): Promise<Finished> =>
  runCommand(args.split(" "), { cwd: folder, env });

/** The result that a command wrote as its last line. */
function resultOf({ code, out, err }: Finished): Record<string, unknown> {
  expect(code, err).toBe(0);
  return JSON.parse(out.trim().split("\n").at(-1)!);
}

describe.skipIf(denoProgram() === undefined)("a device that is not there", () => {
  const absent = { SECATEUR_CUDA_PLUGIN: join(folder, "absent.so") };
  const EVALUATE = `evaluate ${DATA} --weights model.safetensors`;

  it("is refused with the reason where it was asked for", async () => {
    for (const command of [EVALUATE, `${TRAIN} --out none`, `${PRUNE} --out none`]) {
      const { code, out, err } = await run(`${command} --device cuda`, absent);
      expect({ code, out }).toEqual({ code: 1, out: "" });
      expect(err).toMatch(
        /^Expected a GPU for --device cuda, .*not built; `deno task build --cuda` .*on the CPU\.\n$/,
      );
    }
    const unknown = await run(`${EVALUATE} --device tpu`, absent);
    expect(unknown.err).toBe(
      'Expected --device to be auto, cpu, cuda or cuda:NUMBER, got "tpu".\n',
    );
    expect(unknown.code).toBe(2);
  });

  it("leaves auto with the CPU, which says why, and cpu with nothing to say", async () => {
    const automatic = await run(`${EVALUATE} --device auto`, absent);
    expect(automatic.err).toMatch(
      /^Computing on the CPU: the plugin for GPUs was not built; .*\n$/,
    );
    const plain = await run(`${EVALUATE} --device cpu`, absent);
    expect(plain.err).toBe("");
    const { seconds: _mine, ...found } = resultOf(automatic);
    const { seconds: _other, ...expected } = resultOf(plain);
    expect(found).toEqual(expected);
    expect(found.device).toBe("cpu");
  });
});

const skipped = missing ?? (denoProgram() === undefined ? "there is no Deno" : undefined);

describe.skipIf(skipped !== undefined)(
  `commands in the emulator${skipped ? `: ${skipped}` : ""}`,
  () => {
    buildFirst(emulator);
    const emulated = () => ({ SECATEUR_CUDA_PLUGIN: emulator().plugin });

    it("auto stays with the CPU, and says what it could use", async () => {
      const finished = await run(`evaluate ${DATA} --weights model.safetensors`, emulated());
      expect(finished.err).toMatch(
        /^Computing on the CPU, because nothing has been measured .* emulator on this CPU .*\n$/,
      );
      expect(resultOf(finished).device).toBe("cpu");
      const far = await run(
        `evaluate ${DATA} --weights model.safetensors --device cuda:1`,
        emulated(),
      );
      expect(far.err).toMatch(/^Expected a GPU for --device cuda:1, .*Expected one of 1 GPUs/);
      expect(far.code).toBe(1);
    }, EMULATED_TIMEOUT);

    it("train and evaluate find what they find on the CPU", async () => {
      const trained = await run(`${TRAIN} --out gpu --device cuda`, emulated());
      expect(trained.err).toMatch(/^Computing on cuda: emulator: emulator on this CPU/);
      const mine = resultOf(trained);
      const other = resultOf(await run(`${TRAIN} --out cpu --device cpu`, emulated()));
      expect(mine).toMatchObject({ test: { device: "cuda:0" } });
      expect(other).toMatchObject({ test: { device: "cpu" } });
      const lossOf = (found: Record<string, unknown>) => (found.test as { loss: number }).loss;
      expect(lossOf(mine)).toBeCloseTo(lossOf(other), 4);
      // A checkpoint of one device is not continued on another.
      const moved = await run(
        `${TRAIN.replace("--epochs 1", "--epochs 2")} --out gpu --resume`,
        {},
      );
      expect(moved.err).toMatch(/another device \(emulator: .*, now none\)/);
      expect(moved.code).toBe(1);
    }, EMULATED_TIMEOUT);

    it("prune cuts what it cuts on the CPU", async () => {
      const pruned = await run(`${PRUNE} --out cut-gpu --device cuda:0`, emulated());
      resultOf(pruned);
      resultOf(await run(`${PRUNE} --out cut-cpu --device cpu`, emulated()));
      const read = (name: string) => JSON.parse(readFileSync(join(folder, name), "utf8"));
      expect(read("cut-gpu/plan.json")).toEqual(read("cut-cpu/plan.json"));
      const [mine, other] = [read("cut-gpu/report.json"), read("cut-cpu/report.json")];
      expect(mine.options.device).toBe("cuda:0");
      expect(mine.machine.gpu).toMatch(/^emulator: /);
      expect(other.options.device).toBe("cpu");
      expect(other.machine.gpu).toBeUndefined();
    }, EMULATED_TIMEOUT);
  },
);
