// A batch as people run it: the same bytes as single runs, whatever fails and whenever it is killed.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { RandomStream } from "../../src/random.ts";
import { denoProgram, type Finished, runCommand, startCommand } from "../support/command_line.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-batch-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const missing = denoProgram() === undefined;

/** Milliseconds that commands may take where other work shares the machine. */
const PATIENCE = 300_000;

const TINY = "epochs: 1, limit: 12, hold-out: 4, batch: 16, pairs: 2, stages: 4, dtype: f32";
const SWEEP = `
version: 1
defaults: { ${TINY} }
matrix:
  budget: [flops 30%, flops 50%]
  criterion: [shapley, l1]
`;
const NAMES = ["flops30-shapley", "flops30-l1", "flops50-shapley", "flops50-l1"];

const run = (args: string, cache: string): Promise<Finished> =>
  runCommand(args.split(" "), { cwd: folder, env: { SECATEUR_CACHE: join(folder, cache) } });

/** Figures of a run but for what its machine took for them. */
function resultsOf(place: string): unknown {
  const { results } = JSON.parse(readFileSync(join(place, "report.json"), "utf8"));
  const { stages: _stages, latency: _latency, ...figures } = results;
  return JSON.parse(
    JSON.stringify(figures, (key, value) => key === "seconds" ? undefined : value),
  );
}

const FILES = ["plan.json", "pruned.safetensors", "pruned.onnx"];

/** What a run left, to compare: bytes of its files, and figures. */
const left = (place: string) => ({
  files: FILES.map((name) => [name, readFileSync(join(folder, place, name)).toString("base64")]),
  results: resultsOf(join(folder, place)),
});

describe.skipIf(missing)("a batch", () => {
  let swept: Finished;
  beforeAll(async () => {
    writeFileSync(
      join(folder, "jobs.yaml"),
      `${SWEEP}include: [{ name: bad, options: { keep: nothing-is-called-so } }]\n`,
    );
    swept = await run("batch jobs.yaml --out swept", "cache");
  }, PATIENCE);

  it("runs all jobs but the one that fails, which has a log", () => {
    expect(swept.code).toBe(1);
    expect(swept.out).toMatch(/4 of 5 jobs done in /);
    const [, log] = /^bad: failed: Expected --keep to name a layer .*; its log is (\S+)$/m
      .exec(swept.err)!;
    expect(readFileSync(join(folder, log), "utf8")).toMatch(/Expected --keep to name a layer/);
    for (const name of NAMES) {
      expect(existsSync(join(folder, "swept", name, "report.html"))).toBe(true);
    }
  });

  it("leaves what single runs that share nothing leave", async () => {
    const options = TINY.replaceAll(/([\w-]+): (\S+?)(,|$)/g, "--$1 $2").trim();
    const single = await run(
      `prune ${options} --cut-flops 50% --criterion l1 --no-cache --out single`,
      "cache",
    );
    expect(single.code).toBe(0);
    expect(left("swept/flops50-l1")).toEqual(left("single"));
  }, PATIENCE);

  it("makes what jobs share once, as the dry run says", async () => {
    const plan = await run("batch jobs.yaml --dry-run --json", "cache");
    const { stages } = JSON.parse(plan.out.trim());
    const kept = JSON.parse((await run("cache --verify --json", "cache")).out.trim());
    for (const { stage, made } of stages) {
      const found = kept.entries.filter((entry: { stage: string }) => entry.stage === stage);
      // The job that failed would have made some of its own.
      const own = stage === "baseline" ? 0 : 1;
      expect([stage, found.length]).toEqual([stage, made - own]);
    }
  }, PATIENCE);

  it("begun again tries what failed, and nothing else", async () => {
    const again = await run("batch jobs.yaml --out swept", "cache");
    expect(again.err).toMatch(/^Taken from before: 4 of 5 jobs\nbad: goes on\nbad: failed: /);
    expect(again.code).toBe(1);
  }, PATIENCE);

  it("has a page over all its runs, which report writes as well", async () => {
    const page = () => readFileSync(join(folder, "swept", "runs.html"), "utf8");
    for (const name of NAMES) expect(page()).toContain(`href="${name}/report.html"`);
    rmSync(join(folder, "swept", "runs.html"));
    const { code, out } = await run("report swept", "cache");
    expect(out).toMatch(/^resnet8 +flops 30\.0% +\w+, \w+ +1 /m);
    expect([code, page().match(/<svg/g)?.length]).toEqual([0, 3]);
    const none = await run("report killed.yaml", "cache");
    expect([none.code, none.err]).toEqual([
      1,
      expect.stringMatching(/^killed\.yaml: expected a folder/),
    ]);
  }, PATIENCE);

  it("that is killed at any moment ends as one that was not", async () => {
    writeFileSync(join(folder, "killed.yaml"), SWEEP);
    const args = ["batch", "killed.yaml", "--json"];
    const options = { cwd: folder, env: { SECATEUR_CACHE: join(folder, "killed-cache") } };
    const random = new RandomStream(process.pid, "moments");
    // So long at most, counted from the first job's beginning.
    for (const most of [1500, 3000, 4500]) {
      const begun = Promise.withResolvers<void>();
      const { child, finished } = startCommand(args, {
        ...options,
        onOutput: (out) => out.includes('"running"') && begun.resolve(),
      });
      await Promise.race([begun.promise, finished]);
      const ended = await Promise.race([
        finished.then(() => true),
        new Promise((resolve) => setTimeout(() => resolve(false), random.uniform() * most)),
      ]);
      if (ended) break;
      child.kill("SIGKILL");
      await finished;
    }
    const last = await runCommand(args, options);
    expect([last.code, last.err]).toEqual([0, ""]);
    for (const name of NAMES) {
      expect([name, left(`killed-results/${name}`)]).toEqual([name, left(`swept/${name}`)]);
      const log = readFileSync(join(folder, "killed-results", name, "job.log"), "utf8");
      // Whatever was done was not done again.
      expect([name, log.match(/ done$/gm)?.length]).toEqual([name, 1]);
    }
    const kept = await run("cache --verify", "killed-cache");
    expect([kept.code, kept.out]).toEqual([0, expect.stringContaining("All are as they were")]);
  }, 2 * PATIENCE);
});

describe.skipIf(missing)("batch", () => {
  it("writes a file to begin from, once", async () => {
    expect((await run("batch --init begin.yaml", "cache")).code).toBe(0);
    const plan = await run("batch begin.yaml --dry-run", "cache");
    expect(plan.out).toMatch(/^what layers read +11 +3 +73%$/m);
    const again = await run("batch --init begin.yaml", "cache");
    expect([again.code, again.err]).toEqual([1, expect.stringMatching(/there is a file; name /)]);
  }, PATIENCE);

  it("tells every mistake of a file, and runs nothing", async () => {
    writeFileSync(join(folder, "bad.yaml"), "version: 1\nmatrix: {seed: [-1], epoch: [3]}\n");
    const { code, err } = await run("batch bad.yaml", "cache");
    expect(err.trim().split("\n")).toEqual([
      expect.stringMatching(/^bad\.yaml:2:17: matrix\.seed\[0\]: /),
      expect.stringMatching(/^bad\.yaml:2:22: matrix\.epoch: /),
      "bad.yaml: expected a job file, but it has these 2 mistakes; nothing was run.",
    ]);
    expect([code, existsSync(join(folder, "bad-results"))]).toEqual([1, false]);
    expect((await run("batch", "cache")).err).toMatch(/^Expected a job file, as in: batch jobs\./);
    expect((await run("batch none.yaml", "cache")).err).toMatch(
      /^none\.yaml: expected a job file, /,
    );
  }, PATIENCE);
});
