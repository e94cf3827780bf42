/** Commands where nobody listens, where others write, and where they were typed elsewhere. */

import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { addonPath } from "../../src/native/setup/sources.ts";
import { writeCommandFiles } from "../support/command_files.ts";
import {
  denoProgram,
  type Finished,
  runCommand,
  type RunOptions,
} from "../support/command_line.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url)).replace(/\/$/, "");
const folder = mkdtempSync(join(tmpdir(), "secateur-conditions-"));
beforeAll(() => writeCommandFiles(folder));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const missing = denoProgram() === undefined;

const run = (args: string, options: Partial<RunOptions> = {}): Promise<Finished> =>
  runCommand(args.split(" "), { cwd: folder, ...options });

const TRAIN = "train --data cifar10:cifar --batch 20 --json --epochs";
const PRUNE = "prune --data cifar10:cifar --weights model.safetensors --cut-flops 30% --epochs 0 " +
  "--batch 20 --pairs 2 --calibration 16 --rank-images 16 --entropy-images 32 --force --json";
const WRITTEN = ["plan.json", "pruned.onnx", "pruned.safetensors", "report.html", "report.json"];

describe.skipIf(missing)("output that nobody takes", () => {
  it("a run goes on to its end when its reader leaves", async () => {
    const piped = 'set -o pipefail; "$@" | head -1';
    const { code, out } = await run(`${PRUNE} --out left`, {
      shell: `exec bash -c '${piped}' bash "$@"`,
    });
    expect(out.trim().split("\n")).toHaveLength(1);
    expect(code).toBe(0);
    expect(readdirSync(join(folder, "left"))).toEqual(expect.arrayContaining(WRITTEN));
  }, 300_000);

  it("a run goes on when the reader of its warnings leaves", async () => {
    const { code } = await run(`${PRUNE} --out deaf`, {
      shell: `exec bash -c 'set -o pipefail; "$@" 2>&1 >/dev/null | true' bash "$@"`,
    });
    expect(code).toBe(0);
    expect(existsSync(join(folder, "deaf", "report.json"))).toBe(true);
  }, 300_000);

  it.skipIf(!existsSync("/dev/full"))(
    "a full disk behind standard output is told, truly, and fails",
    async () => {
      const { code, err } = await run(`${TRAIN} 1 --out full`, {
        shell: 'exec "$@" > /dev/full',
      });
      expect(err).toMatch(
        /^Standard output took no more \(the disk is full\).*files that the command writes are not\.\n$/,
      );
      expect(code).toBe(1);
      expect(readdirSync(join(folder, "full")).sort())
        .toEqual(["history.json", "model.safetensors", "training.safetensors"]);
    },
    300_000,
  );
});

describe.skipIf(missing)("paths", () => {
  const typed = { cwd: ROOT, env: { INIT_CWD: folder, SECATEUR_CACHE: join(folder, ".cache") } };

  it(
    "mean the folder that the command was typed in, for what is read and what is written",
    async () => {
      const before = readdirSync(ROOT).sort();
      const args = "--data cifar10:cifar --weights model.safetensors --json";
      expect((await run(`evaluate ${args}`, typed)).code).toBe(0);
      writeFileSync(join(folder, "order.json"), '{"1": "dark", "0": "light"}');
      const folders = "evaluate --val pictures/test --labels order.json --weights two.safetensors";
      expect((await run(folders, typed)).code).toBe(0);
      const trained = await run(`${TRAIN} 1 --out typed`, typed);
      expect(trained.code).toBe(0);
      expect(readdirSync(join(folder, "typed"))).toContain("model.safetensors");
      expect(trained.out).toContain('"typed/model.safetensors"');
      expect(readdirSync(ROOT).sort()).toEqual(before);
    },
    300_000,
  );

  it("mean so for deno task itself, from any folder", () => {
    const task = ["task", "--quiet", "--config", join(ROOT, "deno.json"), "inspect", "--json"];
    const cwd = join(folder, "pictures");
    const args = [...task, "--weights", "../model.safetensors"];
    // An outer deno task or npx has said where it was started itself, which deno task respects; what
    // is left out of spawnSync's `env` Deno inherits all the same.
    const line = ["-u", "INIT_CWD", denoProgram()!, ...args];
    const { stdout, status } = spawnSync("env", line, { cwd, encoding: "utf8" });
    expect(JSON.parse(stdout)).toMatchObject({ event: "result", model: "resnet8" });
    expect(status).toBe(0);
  });

  it("are refused in a sentence when that folder is gone", async () => {
    const gone = { ...typed, env: { ...typed.env, INIT_CWD: join(folder, "gone") } };
    const { code, err } = await run("inspect --model resnet8", gone);
    expect(err).toMatch(/^\S*gone: expected the folder that the command was typed in, but .*\.\n$/);
    expect(code).toBe(1);
  });

  it("mean the folder of a program started by itself, whatever INIT_CWD says", async () => {
    const { code } = await run("inspect --weights model.safetensors --json", {
      env: { INIT_CWD: "/" },
    });
    expect(code).toBe(0);
  });
});

describe.skipIf(missing)("one output folder", () => {
  const UNFINISHED = `.model.safetensors.${crypto.randomUUID()}.tmp`;

  it("belongs to one run at a time, and to the next when that was killed", async () => {
    const out = join(folder, "shared");
    let refused: Promise<Finished> | undefined;
    let held: { process: number; started: string } | undefined;
    const killed = run(`${TRAIN} 10000 --out shared`, {
      onOutput: (text) => {
        if (refused !== undefined || !text.includes('"progress"')) return;
        held = JSON.parse(readFileSync(join(out, ".secateur.lock"), "utf8"));
        refused = run(`${PRUNE} --out shared`);
        refused.then(() => process.kill(held!.process, "SIGKILL"));
      },
    });
    expect((await killed).code).not.toBe(0);
    const { code, err } = await refused!;
    expect(err).toMatch(
      new RegExp(
        `^shared: expected to be the only run that writes here, but process ${held!.process}, ` +
          `which started at ${held!.started}, does; .*choose another --out\\.\n$`,
      ),
    );
    expect(code).toBe(1);

    // What a killed run leaves: its lock file, and what it was writing.
    expect(existsSync(join(out, ".secateur.lock"))).toBe(true);
    mkdirSync(join(out, "run"));
    for (const room of [out, join(out, "run")]) writeFileSync(join(room, UNFINISHED), "half");
    writeFileSync(join(out, ".notes.tmp"), "not ours");
    expect((await run(`${TRAIN} 1 --out shared`)).code).toBe(0);
    expect(readdirSync(out).sort()).toEqual(
      [".notes.tmp", "history.json", "model.safetensors", "run", "training.safetensors"],
    );
    expect(readdirSync(join(out, "run"))).toEqual([]);
  }, 300_000);
});

describe.skipIf(missing)("a run under npx", () => {
  it("stops at a checkpoint when npx is ended, which passes no signal on", async () => {
    // npx runs a shell, which runs deno task, which runs the command and waits for it.
    const chain = 'sh -c \'"$@"; true\' sh "$@" & echo $! >&2; wait';
    let shell: number | undefined;
    const done = runCommand([...`${TRAIN} 10000 --out orphan`.split(" ")], {
      cwd: folder,
      env: { npm_command: "exec", INIT_CWD: folder },
      shell: `sh -c '${chain.replaceAll("'", "'\\''")}' sh "$@" & echo $! > started; wait`,
      onOutput: (text) => {
        if (shell !== undefined || !text.includes('"progress","stage":"train"')) return;
        shell = Number(readFileSync(join(folder, "started"), "utf8"));
        // Once what started it has been noted.
        setTimeout(() => process.kill(shell!, "SIGTERM"), 2500);
      },
    });
    const { err } = await done;
    expect(err).toContain("What started this run has ended.\nStopping at the next checkpoint");
    expect(err).toMatch(/its state is in orphan\S*training\.safetensors, go on with --resume\.\n$/);
    expect(readdirSync(join(folder, "orphan"))).toEqual(["training.safetensors"]);
  }, 120_000);
});

describe.skipIf(missing)("a damaged addon", () => {
  it("is a sentence", async () => {
    const path = join(folder, "cut.node");
    copyFileSync(addonPath(), path);
    truncateSync(path, statSync(path).size >> 1);
    const { code, err } = await run("evaluate --data generated", { env: { SECATEUR_ADDON: path } });
    expect(err).toMatch(
      /^The native addon \S*cut\.node is not what was built.*`deno task build`\.\n$/,
    );
    expect(code).toBe(1);
  });
});
