/** The page's charts, one function each. */

import type { EpochRecord } from "../training/checkpoint_position.ts";
import type { Html } from "./html.ts";
import { chart, INK, Plot } from "./plot.ts";
import { ACCURACY_STEPS, type GroupRow, type LatencyRow, type Results } from "./report.ts";
import { STEP_NAMES } from "./tables.ts";

/** Height of a row and of the axes above and below it, shared by charts that stand side by side. */
const ROW = 17;
const TOP = 26;
const BOTTOM = 42;

/** Names longer than this are cut in charts; tables have them whole. */
const LONGEST_NAME = 30;

const shortened = (name: string): string =>
  name.length > LONGEST_NAME ? `${name.slice(0, LONGEST_NAME - 1)}…` : name;

/** Room for names at the left of a chart. */
const nameMargin = (names: readonly string[]): number =>
  18 + 6.6 * Math.max(...names.map((name) => shortened(name).length));

/** Options of charts with one row per group. */
function groupRows(groups: readonly GroupRow[], names: boolean) {
  return {
    height: TOP + BOTTOM + ROW * groups.length,
    marginTop: TOP,
    marginBottom: BOTTOM,
    marginLeft: names ? nameMargin(groups.map((group) => group.name)) : 12,
    y: {
      // Bars and dots would otherwise place rows differently.
      type: "band" as const,
      domain: groups.map((group) => group.name),
      label: null,
      tickSize: 0,
      tickFormat: shortened,
      axis: names ? "left" as const : null,
    },
  };
}

/** Channels of every group before and after. */
export function channelsChart(groups: readonly GroupRow[]): Html {
  return chart("Channels of every group, original and kept", {
    ...groupRows(groups, true),
    width: 470,
    x: { label: "channels: kept, of the original", grid: true, insetRight: 4 },
    marks: [
      Plot.barX(groups, {
        y: "name",
        x: "channelsBefore",
        fill: INK.faint,
        insetTop: 1,
        insetBottom: 1,
      }),
      Plot.barX(groups, {
        y: "name",
        x: "channelsAfter",
        fill: INK.kept,
        insetTop: 3,
        insetBottom: 3,
        title: (group: GroupRow) =>
          `${group.name}: ${group.channelsAfter} of ${group.channelsBefore} channels kept`,
      }),
    ],
  });
}

/** Rank and entropy of every group; empty when neither was measured. */
export function indicatorsChart(groups: readonly GroupRow[]): Html {
  const points = groups.flatMap(({ name, rank, entropy }) => [
    ...(rank === undefined ? [] : [{ name, value: rank, indicator: "rank" }]),
    ...(entropy === undefined ? [] : [{ name, value: entropy, indicator: "entropy" }]),
  ]);
  return chart("Rank and entropy of every group", {
    ...groupRows(groups, false),
    width: 300,
    x: { domain: [0, 1], label: "rank ●  entropy ◆", grid: true, ticks: 5 },
    marks: [
      Plot.ruleY(groups, { y: "name", stroke: INK.rule }),
      Plot.dot(points, {
        y: "name",
        x: "value",
        r: 3.5,
        symbol: (point: { indicator: string }) => point.indicator === "rank" ? "circle" : "diamond",
        fill: (point: { indicator: string }) => point.indicator === "rank" ? INK.kept : INK.second,
        title: (point: { name: string; value: number; indicator: string }) =>
          `${point.name}: ${point.indicator} ${point.value.toFixed(3)}`,
      }),
    ],
    symbol: { type: "identity" },
    color: { type: "identity" },
  });
}

/** Concentration of every group; 1 is the mean over layers. */
export function concentrationChart(groups: readonly GroupRow[]): Html {
  const measured = groups.filter((group) => group.concentration !== undefined);
  return chart("Information concentration of every group", {
    ...groupRows(groups, false),
    width: 270,
    x: { label: "concentration", grid: true, zero: true, ticks: 5, nice: true },
    marks: [
      Plot.ruleY(measured, { y: "name", x2: "concentration", stroke: INK.faint }),
      Plot.dot(measured, {
        y: "name",
        x: "concentration",
        r: 3.5,
        fill: INK.text,
        title: (group: GroupRow) => `${group.name}: ${group.concentration!.toFixed(3)}`,
      }),
    ],
  });
}

/** Top-1 accuracy at every moment it was measured. */
export function accuracyChart(accuracy: Results["accuracy"]): Html {
  const points = ACCURACY_STEPS.flatMap((step) =>
    (accuracy[step] ?? []).map((found) => ({
      step: STEP_NAMES[step],
      set: found.set,
      top1: 100 * (found.top1 ?? NaN),
    }))
  );
  const steps = [...new Set(points.map((point) => point.step))];
  return chart("Top-1 accuracy, moment by moment", {
    width: 510,
    height: TOP + BOTTOM + 26 * steps.length,
    marginTop: TOP,
    marginBottom: BOTTOM,
    marginLeft: nameMargin(steps),
    marginRight: 24,
    y: { domain: steps, label: null, tickSize: 0 },
    x: { label: "top-1, %: test ●  held-out ○", grid: true, nice: true, ticks: 7 },
    marks: [
      Plot.gridY({ stroke: INK.rule }),
      Plot.dot(points, {
        y: "step",
        x: "top1",
        r: 4.5,
        stroke: INK.kept,
        strokeWidth: 1.5,
        fill: (point: { set: string }) => point.set === "test" ? INK.kept : "var(--paper)",
        title: (point: { step: string; set: string; top1: number }) =>
          `${point.step}, ${point.set}: ${point.top1.toFixed(2)}%`,
      }),
    ],
    color: { type: "identity" },
  });
}

interface TrainingPoint {
  readonly run: string;
  readonly epoch: number;
  readonly value: number;
}

/** At most ten whole numbers from 1 to `last`, evenly spaced. */
function wholeTicks(last: number): number[] {
  const step = Math.ceil(last / 10);
  return Array.from({ length: Math.floor(last / step) }, (_, i) => (i + 1) * step);
}

/** One figure of fine-tuning by epoch, for the pruned model and, when trained, the control. */
export function trainingChart(
  label: string,
  training: Results["training"],
  figure: (epoch: EpochRecord) => number | undefined,
  reference?: number,
): Html {
  const points = ([["pruned", training.pruned], ["control", training.control ?? []]] as const)
    .flatMap(([run, history]) =>
      history.flatMap((record): TrainingPoint[] => {
        const value = figure(record);
        return value === undefined ? [] : [{ run, epoch: record.epoch, value }];
      })
    );
  const ink = (point: TrainingPoint) => point.run === "pruned" ? INK.kept : INK.control;
  const last = Math.max(1, ...points.map((point) => point.epoch));
  return chart(`${label} by epoch`, {
    width: 460,
    height: 260,
    marginBottom: BOTTOM,
    marginLeft: 48,
    marginRight: 58,
    x: {
      label: "epoch",
      domain: [Math.min(1, last - 1), last],
      ticks: wholeTicks(last),
      tickFormat: "d",
    },
    y: { label, grid: true, nice: true },
    color: { type: "identity" },
    marks: [
      ...(reference === undefined ? [] : [
        Plot.ruleY([reference], { stroke: INK.text, strokeDasharray: "3,4" }),
        Plot.text([reference], {
          y: (value: number) => value,
          text: () => "original",
          frameAnchor: "right",
          textAnchor: "start",
          dx: 4,
          fill: INK.text,
        }),
      ]),
      Plot.lineY(points, { x: "epoch", y: "value", z: "run", stroke: ink, strokeWidth: 2 }),
      Plot.dot(points, {
        x: "epoch",
        y: "value",
        fill: ink,
        r: 2.5,
        title: (point: TrainingPoint) =>
          `${point.run}, epoch ${point.epoch}: ${point.value.toPrecision(4)}`,
      }),
    ],
  });
}

/** Time of one pass before and after, with quartiles. */
export function latencyChart({ batch, original, pruned }: LatencyRow): Html {
  const bars = [
    { model: "original", ...original },
    { model: "pruned", ...pruned },
  ];
  return chart(`Time of one pass of ${batch} pictures`, {
    width: 460,
    height: 118,
    marginBottom: BOTTOM,
    marginLeft: 62,
    marginRight: 20,
    y: { domain: ["original", "pruned"], label: null, tickSize: 0 },
    x: { label: `milliseconds, batch ${batch}`, grid: true, zero: true, nice: true },
    color: { type: "identity" },
    marks: [
      Plot.barX(bars, {
        y: "model",
        x: "median",
        insetTop: 5,
        insetBottom: 5,
        fill: (bar: { model: string }) => bar.model === "pruned" ? INK.kept : INK.faint,
        title: (bar: { model: string; median: number }) =>
          `${bar.model}: ${bar.median.toFixed(3)} ms`,
      }),
      Plot.ruleY(bars, { y: "model", x1: "low", x2: "high", stroke: INK.text, strokeWidth: 1.5 }),
    ],
  });
}

/**
 * A domain that shows values and nothing; intervals wider than the values' spread, as few pairs
 * give them, run out of it.
 */
function shapleyDomain(rows: readonly { value: number; margin: number }[]): [number, number] {
  const values = rows.map((row) => row.value);
  const low = Math.min(0, ...values), high = Math.max(0, ...values);
  const spread = high - low || 1;
  const room = Math.min(0.6 * spread, Math.max(...rows.map((row) => row.margin)));
  return [low - room - 0.04 * spread, high + room + 0.04 * spread];
}

/** Shapley values of one group, highest first, with intervals that hold for all at once. */
export function shapleyChart({ name, shapley }: GroupRow): Html {
  const rows = shapley!.values.map((row, channel) => ({
    ...row,
    channel,
    // Without a spread there is no interval to draw.
    margin: Number.isFinite(row.jointMargin) ? row.jointMargin : 0,
  })).sort((a, b) => b.value - a.value).map((row, place) => ({ ...row, place: place + 1 }));
  const ink = (row: { kept: boolean }) => row.kept ? INK.kept : INK.cut;
  return chart(`Shapley values of ${name}`, {
    width: 330,
    height: 170,
    marginLeft: 52,
    marginRight: 10,
    marginTop: 14,
    x: { label: null, axis: null, domain: [0, rows.length + 1] },
    y: {
      label: null,
      grid: true,
      ticks: 4,
      domain: shapleyDomain(rows),
      tickFormat: (value: number) => String(Number(value.toPrecision(3))),
    },
    color: { type: "identity" },
    marks: [
      Plot.ruleY([0], { stroke: INK.text, strokeOpacity: 0.5 }),
      Plot.ruleX(rows, {
        x: "place",
        y1: (row: { value: number; margin: number }) => row.value - row.margin,
        y2: (row: { value: number; margin: number }) => row.value + row.margin,
        stroke: ink,
        strokeOpacity: 0.55,
        clip: true,
      }),
      Plot.dot(rows, {
        x: "place",
        y: "value",
        r: rows.length > 40 ? 2 : 3,
        fill: ink,
        title: (row: { channel: number; value: number; margin: number; kept: boolean }) =>
          `channel ${row.channel}: ${row.value.toExponential(2)} ± ${
            row.margin.toExponential(1)
          }, ${row.kept ? "kept" : "removed"}`,
      }),
    ],
  });
}
