// Job files: what they expand to, and what is said of bad ones.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { exampleJobs } from "../../src/batch/file/example.ts";
import { JobFileError, parseJobs, readJobs } from "../../src/batch/file/jobs.ts";
import { JOB_FILE_SCHEMA } from "../../src/batch/file/schema.ts";
import { sharedCounts, sharingOf } from "../../src/batch/file/sharing.ts";

const folder = mkdtempSync(join(tmpdir(), "secateur-jobs-"));
afterAll(() => rmSync(folder, { recursive: true }));

const names = (text: string) => parseJobs("jobs.yaml", text).jobs.map(({ name }) => name);

/** Each bad file: what is wrong, its lines, and the sentence with its place. */
const BAD: readonly (readonly [string, readonly string[], RegExp])[] = [
  [
    "is no YAML",
    ["version: 1", "matrix: {seed: [0, 1}"],
    /^jobs\.yaml:2:\d+: expected YAML or JSON, but .*flow/,
  ],
  [
    "says a name twice",
    ["version: 1", "defaults: {epochs: 1}", "defaults: {epochs: 2}"],
    /^jobs\.yaml:3:1: expected YAML or JSON, but map keys must be unique\.$/,
  ],
  [
    "is empty",
    ["# nothing yet"],
    /^jobs\.yaml:1:1: expected a table of names and values, got nothing\.$/,
  ],
  [
    "does not say its version",
    ["matrix:", "  seed: [0]"],
    /^jobs\.yaml:1:1: expected version, which says what form the file has: add "version: 1"\.$/,
  ],
  [
    "is of another version",
    ["version: 2", "matrix: {seed: [0]}"],
    /^jobs\.yaml:1:10: version: expected 1, got 2\.$/,
  ],
  [
    "has a key that there is not",
    ["version: 1", "matirx:", "  seed: [0]"],
    /^jobs\.yaml:2:1: matirx: expected one of \$schema, version, .*got "matirx"; did you mean matrix\.$/,
  ],
  [
    "has a list where a table belongs",
    ["version: 1", "matrix:", "  - seed: 1"],
    /^jobs\.yaml:3:3: matrix: expected a table of names and values, got a list\.$/,
  ],
  [
    "has an axis without values",
    ["version: 1", "matrix:", "  seed: []"],
    /^jobs\.yaml:3:9: matrix\.seed: expected at least one value, got an empty list\.$/,
  ],
  [
    "misspells an option",
    ["version: 1", "defaults:", "  epochs: 1", "  cut-flop: 45%", "matrix: {seed: [0]}"],
    /^jobs\.yaml:4:3: defaults\.cut-flop: expected an option of prune, .*did you mean cut-flops\.$/,
  ],
  [
    "gives an option what it does not take",
    ["version: 1", "templates:", "  fast:", "    epochs: many", "matrix: {seed: [0]}"],
    /^jobs\.yaml:4:13: templates\.fast\.epochs: expected a whole number from 0 to 100000, got "many"\.$/,
  ],
  [
    "gives a switch a number",
    ["version: 1", "defaults: {control: 1}", "matrix: {seed: [0]}"],
    /^jobs\.yaml:2:21: defaults\.control: expected true or false, got 1\.$/,
  ],
  [
    "sets what the batch sets",
    ["version: 1", "defaults:", "  out: here", "matrix: {seed: [0]}"],
    /^jobs\.yaml:3:3: defaults\.out: expected an option of prune, got "out"; jobs write to folders of /,
  ],
  [
    "has a criterion that there is not",
    ["version: 1", "matrix:", "  criterion:", "    - shapley", "    - shaply"],
    /^jobs\.yaml:5:7: matrix\.criterion\[1\]: expected one of .*elimination.*, got "shaply"\.$/,
  ],
  [
    "has a seed that is none",
    ["version: 1", "matrix:", "  seed: [0, 1.5]"],
    /^jobs\.yaml:3:13: matrix\.seed\[1\]: expected a whole number, got 1\.5\.$/,
  ],
  [
    "has a budget that is none",
    ["version: 1", "matrix:", "  budget: [flops 30%, flops 130%]"],
    /^jobs\.yaml:3:23: matrix\.budget\[1\]: expected a budget such as "flops 45\.5%".*got "flops 130%"\.$/,
  ],
  [
    "uses a template that there is not",
    ["version: 1", "templates: {fast: {epochs: 1}}", "include:", "  - use: fsat"],
    /^jobs\.yaml:4:10: include\[0\]\.use: expected a template \(fast\), got "fsat"\.$/,
  ],
  [
    "excludes what is not in the matrix",
    ["version: 1", "matrix: {seed: [0, 1]}", "exclude:", "  - seed: 2"],
    /^jobs\.yaml:4:11: exclude\[0\]\.seed: expected a value of matrix\.seed \(0, 1\), got "2"\.$/,
  ],
  [
    "excludes everything",
    ["version: 1", "matrix: {seed: [0]}", "exclude:", "  - seed: 0"],
    /^jobs\.yaml:4:3: exclude: expected at least one job, but exclude leaves none /,
  ],
  [
    "calls two jobs the same",
    ["version: 1", "include:", "  - {name: a, seed: 1}", "  - {name: a, seed: 2}"],
    /^jobs\.yaml:4:5: include\[1\]: expected jobs of different names, but two are called "a"; /,
  ],
  [
    "asks for two budgets",
    ["version: 1", "defaults: {cut-latency: 30%}", "matrix:", "  budget: [flops 30%, flops 50%]"],
    /^jobs\.yaml:4:3: matrix: job flops30: Expected a budget in time or one that is counted, got /,
  ],
  [
    "has a model without data",
    ["version: 1", "defaults: {weights: a.onnx}", "matrix: {seed: [0]}"],
    /^jobs\.yaml:3:9: matrix: job s0: Expected --data beside --model and --weights/,
  ],
];

describe("a job file", () => {
  for (const [what, lines, sentence] of BAD) {
    it(`that ${what} is refused with its place`, () => {
      let thrown: unknown;
      try {
        parseJobs("jobs.yaml", lines.join("\n"));
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toMatchObject({ code: "format-corrupt" });
      expect((thrown as Error).message).toMatch(sentence);
    });
  }

  it("with several mistakes has all of them told, each once", () => {
    const lines = [
      "version: 1",
      "defaults: {epochs: many}",
      "matrix:",
      "  seed: [0, -1]",
      "  x: [1]",
    ];
    try {
      parseJobs("jobs.yaml", lines.join("\n"));
    } catch (thrown) {
      expect(thrown).toBeInstanceOf(JobFileError);
      const told = (thrown as JobFileError).errors.map(({ message }) => message.split(" ")[0]);
      expect(told).toEqual(["jobs.yaml:4:13:", "jobs.yaml:5:3:"]);
      return;
    }
    throw new Error("expected a JobFileError");
  });

  it("becomes every combination but the excluded, and what is included", () => {
    const text = `
version: 1
defaults: { epochs: 3, control: true }
templates:
  r20: { model: resnet20, weights: r20.th, seed: 7 }
  careful: { pairs: 16 }
matrix:
  model: [r20, { name: mine, weights: net.onnx }]
  data: ["cifar10:pictures/cifar", { name: folders, train: a, val: b }]
  budget: [flops 30%, { cut-params: 0.4 }]
  criterion: [shapley, l1]
exclude:
  - { model: mine, criterion: [l1] }
  - { data: cifar10:pictures/cifar, budget: flops 30% }
include:
  - { name: last, model: r20, data: folders:x, use: careful, options: { keep: ["layer1.*", conv1] } }
`.replace("folders:x", "imagefolder:x");
    const { jobs } = parseJobs("jobs.yaml", text);
    expect(jobs.map(({ name }) => name)).toEqual([
      "r20-cifar-params0.4-shapley",
      "r20-cifar-params0.4-l1",
      "r20-folders-flops30-shapley",
      "r20-folders-flops30-l1",
      "r20-folders-params0.4-shapley",
      "r20-folders-params0.4-l1",
      "mine-cifar-params0.4-shapley",
      "mine-folders-flops30-shapley",
      "mine-folders-params0.4-shapley",
      "last",
    ]);
    expect(jobs[2].arguments.join(" ")).toBe(
      "--epochs 3 --control --model resnet20 --weights r20.th --seed 7 --train a --val b " +
        "--cut-flops 30% --criterion shapley",
    );
    expect(jobs[2].prune).toMatchObject({
      budget: { kind: "flops", cut: 0.3 },
      epochs: 3,
      control: true,
      criterion: "shapley",
      seed: 7,
    });
    expect(jobs.at(-1)!.arguments.join(" ")).toMatch(/--pairs 16 --keep layer1\.\* --keep conv1$/);
  });

  it("may be JSON, and says where it writes", async () => {
    const path = join(folder, "mine.json");
    writeFileSync(path, JSON.stringify({ version: 1, matrix: { seed: [0, 1] } }));
    expect(await readJobs(path)).toMatchObject({ folder, out: join(folder, "mine-results") });
    writeFileSync(path, JSON.stringify({ version: 1, out: "../x", matrix: { seed: [0] } }));
    expect((await readJobs(path)).out).toBe(join(folder, "..", "x"));
    await expect(readJobs(join(folder, "none.yaml"))).rejects.toMatchObject({
      code: "file-missing",
    });
  });

  it("to begin from is one", () => {
    expect(names(exampleJobs("jobs.schema.json"))).toHaveLength(3 * 2 * 2 - 2 + 1);
  });

  it("of ten thousand jobs is read in seconds", () => {
    const seeds = Array.from({ length: 5000 }, (_, seed) => seed);
    const started = performance.now();
    expect(names(`version: 1\nmatrix: {seed: [${seeds}], criterion: [l1, l2]}`)).toHaveLength(
      10_000,
    );
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  it("has the form that is published", () => {
    const published = readFileSync(new URL("../../docs/jobs.schema.json", import.meta.url), "utf8");
    expect(JSON.parse(published)).toEqual(JSON.parse(JSON.stringify(JOB_FILE_SCHEMA)));
  });
});

describe("what jobs share", () => {
  const counts = (text: string) =>
    Object.fromEntries(
      sharedCounts(parseJobs("jobs.yaml", `version: 1\n${text}`).jobs.map(sharingOf))
        .map(({ stage, needed, made }) => [stage, `${made} of ${needed}`]),
    );

  it("is one estimation for ten budgets, and one control", () => {
    const budgets = Array.from({ length: 10 }, (_, i) => `flops ${30 + 3 * i}%`);
    expect(counts(`defaults: {control: true}\nmatrix: {budget: [${budgets}]}`)).toEqual({
      baseline: "1 of 10",
      moments: "1 of 10",
      contributions: "1 of 10",
      curves: "1 of 10",
      control: "1 of 10",
    });
  });

  it("is nothing random between seeds, and moments between criteria", () => {
    expect(
      counts("matrix: {seed: [0, 1], criterion: [shapley, l1], budget: [flops 30%, flops 40%]}"),
    )
      .toEqual({
        baseline: "1 of 8",
        moments: "2 of 8",
        contributions: "4 of 8",
        curves: "4 of 8",
      });
  });

  it("is statistics where concentration decides, and not a network's game between budgets", () => {
    expect(counts(
      "defaults: {worth: loss, ratios: concentration}\nmatrix: {budget: [flops 30%, flops 40%]}",
    )).toEqual({ baseline: "1 of 2", statistics: "1 of 2", contributions: "2 of 2" });
  });
});
