// Many runs on one page: what is taken together, what is best, and what the files say.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseHTML } from "linkedom";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  bestPerBudget,
  configurationsOf,
  paretoFront,
  problemsOf,
  spread,
} from "../../src/report/runs/configurations.ts";
import { runsCsv } from "../../src/report/runs/files.ts";
import { runsPage } from "../../src/report/runs/page.ts";
import { parseRun, readRuns, type RunRow } from "../../src/report/runs/read.ts";
import { writeRuns } from "../../src/report/runs/write.ts";
import { reportJson } from "../../src/report/json.ts";
import { sweptReport, writeSweep } from "../support/batch/runs.ts";
import { reportFixture } from "../support/report_fixture.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-runs-"));
afterAll(() => rmSync(folder, { recursive: true }));

const CUTS = [0.3, 0.5], CRITERIA = ["shapley", "l1"], SEEDS = [0, 1, 2];
const never = (sentence: string) => {
  throw new Error(sentence);
};

let runs: RunRow[];
beforeAll(async () => {
  writeSweep(folder, CUTS, CRITERIA, SEEDS);
  runs = await readRuns(folder, never);
});

const base = reportFixture();
/** A run in memory, changed. */
const runOf = (change: Partial<RunRow> = {}, seed = 0, cut = 0.3): RunRow => ({
  ...parseRun("here", reportJson(sweptReport({ criterion: "shapley", cut, seed }, base))),
  ...change,
});

describe("runs that differ in their seeds alone", () => {
  it("are one configuration, with means and deviations", () => {
    const found = configurationsOf(runs);
    expect(found.map(({ budget, series, runs }) => [budget.asked, series, runs.length])).toEqual([
      [0.3, "l1, global", 3],
      [0.3, "shapley, global", 3],
      [0.5, "l1, global", 3],
      [0.5, "shapley, global", 3],
    ]);
    const [{ test, macs, latency, runs: three }] = found;
    const figures = three.map(({ top1 }) => top1.test);
    expect(test.mean).toBeCloseTo((figures[0] + figures[1] + figures[2]) / 3, 12);
    expect(test.deviation).toBeGreaterThan(0);
    expect(macs.deviation).toBe(0);
    expect([...latency.keys()]).toEqual([1, 64]);
    expect(latency.get(64)!.mean).toBeCloseTo(0.8, 1);
  });

  it("count once where they were made twice, by the last", () => {
    const older = runOf({ started: "2026-01-01", top1: { heldOut: 0.1, test: 0.1 } });
    const newer = runOf({ started: "2026-02-01" });
    const [{ runs: kept }] = configurationsOf([newer, older, runOf({ started: "2026-01-01" }, 1)]);
    expect(kept.map(({ seed, started }) => [seed, started]))
      .toEqual([[0, "2026-02-01"], [1, "2026-01-01"]]);
  });

  it("are told apart by whatever else varies, and models by their weights", () => {
    const options = runOf().options;
    const series = (others: readonly Partial<RunRow>[]) =>
      configurationsOf([runOf(), ...others.map((other) => runOf(other))])
        .map((found) => `${found.model}: ${found.series}`);
    expect(series([{ options: { ...options, epochs: 5 } }])).toEqual([
      "resnet56: shapley, global, epochs 20",
      "resnet56: shapley, global, epochs 5",
    ]);
    expect(series([{ source: "other.th" }])).toEqual([
      "resnet56 (weights/w.safetensors): shapley, global",
      "resnet56 (other.th): shapley, global",
    ]);
    expect(series([{ options: { ...options, threads: 7, out: "there", resume: true } }]))
      .toHaveLength(1);
  });

  it("spread by the deviation of a sample", () => {
    expect(spread([1, 3])).toEqual({ mean: 2, deviation: Math.SQRT2 });
    expect(spread([5])).toEqual({ mean: 5, deviation: 0 });
  });
});

describe("what nothing beats", () => {
  it("is the front in cost and worth", () => {
    const points = [[3, 9], [1, 5], [2, 5], [2, 4], [4, 8], [1, 2]] as const;
    expect(paretoFront(points, ([cost]) => cost, ([, worth]) => worth)).toEqual([[1, 5], [3, 9]]);
  });

  it("of a budget is chosen on held-out pictures, whatever the test pictures say", () => {
    const overfit = runOf({
      options: { ...runOf().options, criterion: "l2" },
      top1: { heldOut: 0.95, test: 0.2 },
    });
    const best = bestPerBudget(configurationsOf([runOf(), overfit, runOf({}, 0, 0.5)]));
    expect(best.map(({ budget, series }) => [budget.asked, series]))
      .toEqual([[0.3, "l2, global"], [0.5, "shapley, global"]]);
  });
});

describe("the page over many runs", () => {
  it("needs nothing but a browser, and links every run's own report", async () => {
    const place = join(folder, "page");
    await writeRuns(place, runs);
    const html = readFileSync(join(place, "runs.html"), "utf8");
    expect(html).not.toMatch(/<(script|link|img|iframe)\b|@import|url\(/);
    const { document } = parseHTML(html) as unknown as {
      document: {
        querySelectorAll(what: string): Iterable<{ getAttribute(name: string): string }>;
      };
    };
    const links = new Set([...document.querySelectorAll("a")].map((a) => a.getAttribute("href")));
    expect([...links].sort()).toEqual(
      CUTS.flatMap((cut) =>
        CRITERIA.flatMap((criterion) =>
          SEEDS.map((seed) => `../${cut}-${criterion}-s${seed}/report.html`)
        )
      ).sort(),
    );
    // Three charts; in each the original, and for every configuration a dot and two error bars.
    expect([...document.querySelectorAll("svg")]).toHaveLength(3);
    expect(html.match(/top-1 [\d.]+% ± [\d.]+ over 3 seeds<\/title>/g)).toHaveLength(3 * 4);
  });

  it("escapes what files are called", () => {
    const evil = runOf({
      model: "<script>alert(1)</script>",
      data: 'a"><img src=x>',
      folder: "a/b c%",
    });
    const html = runsPage(problemsOf(configurationsOf([evil])), "a");
    expect(html).not.toMatch(/<script|<img/);
    expect(html).toContain('href="b%20c%25/report.html"');
  });

  it("has a row of CSV for every run, quoted where need be", () => {
    const csv = runsCsv(problemsOf(configurationsOf([...runs, runOf({ data: 'x, "y"' })])));
    const lines = csv.trim().split(/\r?\n/);
    expect(lines).toHaveLength(1 + 12 + 1);
    expect(lines[0]).toMatch(/^folder,model,data,series,budget,cut,criterion,ratios,seed,epochs,/);
    expect(lines.at(-1)).toContain('"x, ""y"""');
  });

  it("has JSON with the means and the best", () => {
    const json = JSON.parse(readFileSync(join(folder, "page", "runs.json"), "utf8"));
    expect(json.runs).toHaveLength(12);
    expect(json.problems[0].best.map((best: { budget: { asked: number } }) => best.budget.asked))
      .toEqual([0.3, 0.5]);
    expect(json.problems[0].configurations[0].seeds).toEqual([0, 1, 2]);
  });
});

describe("reports that are none", () => {
  it("are left out and told, and folders of checkpoints passed over", async () => {
    const place = join(folder, "mixed");
    writeSweep(place, [0.3], ["l1"], [0]);
    for (const [name, text] of [["bad", "{"], ["old", '{"schema":1}'], ["run", "{"]]) {
      mkdirSync(join(place, name));
      writeFileSync(join(place, name, "report.json"), text);
    }
    const told: string[] = [];
    expect(await readRuns(place, (sentence) => told.push(sentence))).toHaveLength(1);
    expect(told.map((sentence) => sentence.split(":")[0])).toEqual([
      join(place, "bad", "report.json"),
      join(place, "old", "report.json"),
    ]);
    await expect(readRuns(join(place, "none"), never)).rejects.toMatchObject({
      code: "file-missing",
    });
  });
});
