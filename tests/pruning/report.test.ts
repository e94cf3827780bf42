import { parseHTML } from "linkedom";
import { describe, expect, it } from "vitest";
import { createModel } from "../../src/models/models.ts";
import { columns } from "../../src/report/columns.ts";
import { reportJson } from "../../src/report/json.ts";
import { measureLatency } from "../../src/report/latency.ts";
import { reportPage } from "../../src/report/page.ts";
import type { Report, Results } from "../../src/report/report.ts";
import { checkSentence, latencySentence, reportTable } from "../../src/report/table.ts";
import { reportFixture } from "../support/report_fixture.ts";

const report = reportFixture();

/** A run without sampling, measured ratios, fine-tuning or latency. */
function bareReport(): Report {
  const fixture = reportFixture("resnet8");
  const { original, afterCut } = fixture.results.accuracy;
  return {
    ...fixture,
    results: {
      ...fixture.results,
      groups: fixture.results.groups.map(
        ({ rank: _rank, entropy: _entropy, concentration: _figure, shapley: _values, ...rest }) =>
          rest,
      ),
      written: { step: "afterCut" },
      accuracy: { original, afterCut },
      training: { pruned: [] },
      latency: [],
    },
  };
}

interface Element {
  readonly textContent: string;
  querySelectorAll(selector: string): Iterable<Element>;
  getAttribute(name: string): string | null;
}

function parsed(page: string): Element {
  return (parseHTML(page) as unknown as { document: Element }).document;
}

describe("report.json", () => {
  it("holds the results as they are, under a schema number", () => {
    const json = JSON.parse(reportJson(report));
    expect(json.schema).toBe(2);
    expect(json.input).toEqual(report.input);
    expect(json.results).toEqual(report.results);
    expect(json.versions.runtime).toBe(report.provenance.versions.runtime);
  });
});

describe("the table", () => {
  it("has a line for every layer that computes and every group, and the totals", () => {
    const text = reportTable(report);
    const { cost, groups, layers } = report.results;
    for (const { name } of layers.filter((layer) => layer.macsBefore > 0)) {
      expect(text).toMatch(new RegExp(`^${name} +\\d`, "m"));
    }
    for (const { name, kind } of groups) expect(text).toMatch(new RegExp(`^${name} +${kind}`, "m"));
    expect(text).toContain("125,485,696");
    expect(text).toContain(cost.after.macs.toLocaleString("en-US"));
    expect(text).toMatch(/fine-tuned, last epoch +test +89\.31%/);
  });

  it("says of a budget in time what was asked, predicted and measured", () => {
    const { results } = report;
    const times = {
      runtime: "onnxruntime",
      predicted: { original: 2, cut: 1.25 },
      corrections: 2,
    } as const;
    const text = (found: object) => {
      const budget = {
        ...results.budget,
        kind: "latency",
        asked: 0.4,
        times: { ...times, ...found },
      };
      return reportTable({ ...report, results: { ...results, budget } as typeof results });
    };
    expect(text({ measured: { original: 2.5, cut: 1.52 } })).toContain(
      "Budget: 40.00% of the time in onnxruntime asked, 37.50% predicted from its layers, 39.20% " +
        "measured: 2.500 ms a pass before, 1.520 ms after. Widths were corrected twice.",
    );
    expect(text({ corrections: 0 })).toMatch(
      /not measured, as the table is of another machine.*\.$/m,
    );
    expect(JSON.parse(reportJson(report)).results.budget.times).toBeUndefined();
  });

  it("leaves out what was not measured", () => {
    const text = reportTable(bareReport());
    expect(text).not.toMatch(/undefined|NaN|pairs|pictures per pass/);
    expect(text).toMatch(/after the cut +test/);
  });

  it("says when time did not follow FLOPs, and only then", () => {
    const { results } = report;
    const { before, after } = results.cost;
    const time = (share: number, spread = 0.1) => ({
      ...results,
      latency: [{
        batch: 64,
        runs: 30,
        original: { median: 10, low: 10 - spread, high: 10 + spread },
        pruned: { median: 10 * share, low: 10 * share, high: 10 * share },
      }],
    });
    const work = after.macs / before.macs;
    expect(latencySentence(time(work + 0.05))).toBeUndefined();
    expect(latencySentence(time(work + 0.2))).toContain("--round-to 8");
    expect(latencySentence(time(work + 0.2, 8))).toBeUndefined();
    expect(latencySentence({ ...results, latency: [] })).toBeUndefined();
  });

  it("tells which repairs were taken back, and small shares plainly", () => {
    const { results } = report;
    const table = (keptSteps: Report["results"]["keptSteps"]) =>
      reportTable({ ...report, results: { ...results, keptSteps } });
    expect(table(["afterCompensation"])).not.toContain("after compensation (taken back)");
    expect(table([])).toContain("after compensation (taken back)");
    const check = { ...results.check, scale: 2, maxError: 0, changed: 8.4 };
    expect(reportTable({ ...report, results: { ...results, check } }))
      .toMatch(/differ by 0 of the largest .* moved outputs by 4\.2\./);
  });

  it("says on what masked = cut was shown where the pictures did not show it", () => {
    const { results } = report;
    const sentence = (change: Partial<Report["results"]["check"]>) =>
      checkSentence({
        ...results,
        check: { ...results.check, maxError: 0, changed: 0, scale: 0, ...change },
      });
    expect(sentence({ proof: "revived", probeChanged: 0.27 })).toMatch(
      /the cut moved outputs by 0, .* random weights in the channels that went, which .* by 0\.27\.$/,
    );
    expect(sentence({ proof: "random", probeChanged: 2 })).toContain("random weights throughout");
    expect(sentence({ proof: "construction" })).toMatch(
      /by 0, as nothing leads .* to an output\.$/,
    );
  });

  it("says whose weights were written", () => {
    expect(reportTable(report)).toMatch(
      /^pruned\.onnx and .* weights of epoch 19 of 20, the best on held-out pictures\.$/m,
    );
    expect(reportTable(bareReport())).toContain("weights after the cut, as nothing was fine-tuned");
    const { results } = report;
    const outcome = {
      start: { top1: 0.93, loss: 0.25 },
      best: { epoch: 19, averaged: true, top1: 0.94, loss: 0.2 },
      askedRate: 0.02,
      learningRate: 0.02,
    };
    const averaged = { ...results, training: { ...results.training, outcome } };
    expect(reportTable({ ...report, results: averaged }))
      .toContain(
        "the weights of the moving average at epoch 19 of 20, the best on held-out pictures.",
      );
    const unhelped: Results = {
      ...results,
      written: { step: "afterReestimation" },
      training: {
        ...results.training,
        outcome: { ...outcome, best: { epoch: 0, ...outcome.start } },
      },
    };
    expect(reportTable({ ...report, results: unhelped })).toMatch(
      /hold the weights after re-estimation\. Fine-tuning did not help: .* try another --lr or more /,
    );
  });

  it("explains its column of unsettled channels where there is one", () => {
    expect(reportTable(report)).toMatch(/^unsettled: channels whose Shapley value/m);
    expect(reportTable(bareReport())).not.toContain("unsettled");
  });

  it("aligns words left and figures right", () => {
    const heads = [{ title: "name", align: "left" as const }, { title: "count" }];
    expect(columns({ heads, rows: [["a", "1"], ["long name", "1,234"]] })).toEqual([
      "name       count",
      "─────────  ─────",
      "a              1",
      "long name  1,234",
    ]);
  });
});

describe("the page", () => {
  const page = reportPage(report);

  it("says which intervals are approximate", () => {
    const { results } = report;
    const [first, ...others] = results.groups;
    const shapley = { ...first.shapley!, approximate: true };
    const groups = [{ ...first, shapley }, ...others];
    expect(page).not.toContain("approximate intervals");
    expect(
      reportPage({ ...report, results: { ...results, groups } }).split("approximate intervals"),
    )
      .toHaveLength(2);
  });

  it("needs nothing from elsewhere and runs nothing", () => {
    expect(page.startsWith("<!doctype html>")).toBe(true);
    expect(page).not.toMatch(/<script|<link|<iframe|<img|\bsrc=|\bhref=|@import|url\((?!#)/i);
    expect(page.replaceAll("http://www.w3.org/2000/svg", "")).not.toMatch(/https?:/);
  });

  it("shows the accuracy of what was written, and says which that is", () => {
    const tiles = (of: Report) => {
      const [found] = parsed(reportPage(of)).querySelectorAll(".tiles");
      return found.textContent;
    };
    expect(tiles(report)).toContain("89.28%");
    const { results } = report;
    const uncut = { ...report, results: { ...results, written: { step: "afterCut" } as const } };
    expect(tiles(uncut)).toContain("39.71%");
    expect(page).toContain("hold the weights of epoch 19 of 20");
    expect(page).toContain("unsettled channels are those");
  });

  it("draws every group's Shapley values and has every number in a table", () => {
    const document = parsed(page);
    const labels = [...document.querySelectorAll("svg")].map((svg) =>
      svg.getAttribute("aria-label")
    );
    for (const { name } of report.results.groups) {
      expect(labels).toContain(`Shapley values of ${name}`);
    }
    expect(labels).toContain("Top-1 accuracy, moment by moment");
    expect(labels).toContain("Time of one pass of 64 pictures");

    const cells = new Set([...document.querySelectorAll("td")].map((cell) => cell.textContent));
    for (const group of report.results.groups) {
      expect(cells).toContain(group.concentration!.toFixed(3));
      for (const row of group.shapley!.values) expect(cells).toContain(row.value.toExponential(3));
    }
  });

  it.each([[2, [1, 2]], [20, [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]]])(
    "numbers %i epochs by whole numbers",
    (epochs, numbers) => {
      const document = parsed(reportPage(reportFixture("resnet8", epochs)));
      const ticks = document.querySelectorAll(
        '[aria-label="loss by epoch"] [aria-label="x-axis tick label"] text',
      );
      expect([...ticks].map(({ textContent }) => Number(textContent))).toEqual(numbers);
    },
  );

  it("holds no figure that is none", () => {
    expect(page).not.toMatch(/NaN|undefined|Infinity/);
    expect(reportPage(bareReport())).not.toMatch(/NaN|undefined|Infinity|Shapley values of/);
  });

  it("shows names from outside as text", () => {
    const name = `<script>alert("1")</script>`;
    const hostile = reportPage({
      ...report,
      data: { ...report.data, spec: name },
      model: { ...report.model, name },
      results: {
        ...report.results,
        groups: report.results.groups.map((group, i) => i === 0 ? { ...group, name } : group),
      },
    });
    const document = parsed(hostile);
    expect([...document.querySelectorAll("script")]).toEqual([]);
    expect([...document.querySelectorAll("h1")][0].textContent).toContain(name);
    expect([...document.querySelectorAll("h3")][0].textContent).toBe(name);
  });
});

describe("latency", () => {
  it("times both models for every batch", async () => {
    const small = createModel("resnet8", { classes: 10 });
    const large = createModel("resnet20", { classes: 10 });
    const rows = await measureLatency(large, small, { batches: [1, 16], runs: 21 });
    expect(rows.map((row) => row.batch)).toEqual([1, 16]);
    for (const { original, pruned } of rows) {
      expect(pruned.low).toBeGreaterThan(0);
      expect(pruned.high).toBeGreaterThanOrEqual(pruned.median);
      expect(original.low).toBeLessThanOrEqual(original.median);
    }
    // A network of three times the work takes longer: at the median of enough runs on a noisy machine too.
    expect(rows[1].original.median).toBeGreaterThan(rows[1].pruned.median);
  });
});
