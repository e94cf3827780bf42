/** The report's figures as tables, for the terminal and the page alike. */

import type { Timing } from "../latency/timing.ts";
import type { EpochRecord } from "../training/checkpoint_position.ts";
import { change, count, figures, percent, type Table, words } from "./columns.ts";
import {
  ACCURACY_STEPS,
  type AccuracyStep,
  type GroupRow,
  type LatencyRow,
  type Results,
  type ShapleyResult,
  type StageTime,
} from "./report.ts";

/** How the moments of a run are called. */
export const STEP_NAMES: Readonly<Record<AccuracyStep, string>> = {
  original: "original",
  afterCut: "after the cut",
  afterCompensation: "after compensation",
  afterReestimation: "after re-estimation",
  lastEpoch: "fine-tuned, last epoch",
  bestEpoch: "fine-tuned, best epoch",
  controlLast: "control, last epoch",
  controlBest: "control, best epoch",
};

/** "evaluation afterCut" -> "evaluation after the cut". */
export function stageName(stage: string): string {
  if (stage === "contributions") return "channels ranked";
  if (stage === "moments") return "what layers read";
  if (stage === "curves") return "what cuts lose";
  if (stage === "sensitivities") return "what outputs lose";
  return stage.replace(/\w+$/, (word) => STEP_NAMES[word as AccuracyStep] ?? word);
}

const optional = (value: number | undefined, digits: number): string =>
  value === undefined ? "-" : value.toFixed(digits);

const SAMPLING_NOTE =
  "unsettled: channels whose Shapley value lies closer to the line between kept " +
  "and removed than its 95% interval reaches; more --pairs settle more of them.";

/** Figures that only some runs have of groups, each with whether a group has it. */
const GROUP_FIGURES: readonly (readonly [
  name: string,
  of: (group: GroupRow) => number | undefined,
  text: (figure: number) => string,
])[] = [
  ["rank", ({ rank }) => rank, (figure) => figure.toFixed(3)],
  ["entropy", ({ entropy }) => entropy, (figure) => figure.toFixed(3)],
  ["concentration", ({ concentration }) => concentration, (figure) => figure.toFixed(3)],
  ["lost", lostOf, (figure) => figure.toFixed(4)],
  ["pairs", ({ shapley }) => shapley?.pairs, count],
  ["evaluations", ({ shapley }) => shapley?.evaluations, count],
  ["unsettled", ({ shapley }) => shapley?.unsettled, count],
];

/** What a group's cut loses, by the curve that widths were chosen by. */
function lostOf({ curve, channelsBefore, channelsAfter }: GroupRow): number | undefined {
  return curve?.[channelsBefore - channelsAfter];
}

/** Channel groups: counts, and what indicators and sampling said where they were asked. */
export function groupTable(groups: readonly GroupRow[]): Table {
  const shown = GROUP_FIGURES.filter(([, of]) => groups.some((group) => of(group) !== undefined));
  const sampled = groups.some((group) => group.shapley !== undefined);
  return {
    heads: [
      words("channel group"),
      words("kind"),
      ...["before", "after", "removed"].map(figures),
      ...shown.map(([name]) => figures(name)),
    ],
    rows: groups.map((group) => [
      group.name,
      group.kind,
      count(group.channelsBefore),
      count(group.channelsAfter),
      percent(group.ratio, 1),
      ...shown.map(([, of, text]) => {
        const figure = of(group);
        return figure === undefined ? "-" : text(figure);
      }),
    ]),
    ...(sampled ? { note: SAMPLING_NOTE } : {}),
  };
}

/** Layers that compute, before and after; the last row is the whole model. */
export function layerTable({ layers, cost }: Results): Table {
  const costs = (macs: readonly [number, number], parameters: readonly [number, number]) => [
    ...[count(macs[0]), count(macs[1]), change(...macs)],
    ...[count(parameters[0]), count(parameters[1]), change(...parameters)],
  ];
  const rows = layers.filter((layer) => layer.macsBefore > 0).map((layer) => [
    layer.name,
    count(layer.channelsBefore),
    count(layer.channelsAfter),
    ...costs(
      [layer.macsBefore, layer.macsAfter],
      [layer.parametersBefore, layer.parametersAfter],
    ),
  ]);
  const { before, after } = cost;
  const total = costs([before.macs, after.macs], [before.parameters, after.parameters]);
  return {
    heads: [
      words("layer"),
      figures("channels"),
      figures("after"),
      figures("MACs"),
      figures("after"),
      figures("change"),
      figures("parameters"),
      figures("after"),
      figures("change"),
    ],
    rows: [...rows, ["whole model", "", "", ...total]],
  };
}

/** Steps that a run takes back where they do not lower the held-out loss. */
const REVOCABLE: readonly AccuracyStep[] = ["afterCompensation", "afterReestimation"];

/** Accuracy at every moment it was measured. */
export function accuracyTable(
  { accuracy, keptSteps }: Pick<Results, "accuracy" | "keptSteps">,
): Table {
  const nameOf = (step: AccuracyStep) =>
    REVOCABLE.includes(step) && !keptSteps.includes(step)
      ? `${STEP_NAMES[step]} (taken back)`
      : STEP_NAMES[step];
  const first = accuracy.original?.[0];
  if (first?.errors !== undefined) {
    const outputs = first.errors.map(({ output }) => output);
    return {
      heads: [words("error"), words("set"), figures("mean"), ...outputs.map(figures)],
      rows: ACCURACY_STEPS.flatMap((step) =>
        (accuracy[step] ?? []).map(({ set, loss, errors = [] }) => [
          nameOf(step),
          set,
          loss.toFixed(4),
          ...errors.map(({ error }) => error.toFixed(4)),
        ])
      ),
      note: "Squared error of an output against the original's, as a share of its variance.",
    };
  }
  return {
    heads: [
      ...[words("accuracy"), words("set"), figures("top-1"), figures("top-5")],
      ...[figures("loss"), figures("right"), figures("of")],
    ],
    rows: ACCURACY_STEPS.flatMap((step) =>
      (accuracy[step] ?? []).map((found) => [
        nameOf(step),
        found.set,
        percent(found.top1 ?? NaN),
        percent(found.top5 ?? NaN),
        found.loss.toFixed(4),
        count(found.correct ?? NaN),
        count(found.total),
      ])
    ),
  };
}

/** Time of one pass, medians and quartiles. */
export function latencyTable(latency: readonly LatencyRow[]): Table {
  const cell = ({ median, low, high }: Timing) =>
    `${median.toFixed(2)} (${low.toFixed(2)}-${high.toFixed(2)})`;
  return {
    heads: [
      words("pictures per pass"),
      figures("original, ms (quartiles)"),
      figures("pruned, ms (quartiles)"),
      figures("speed"),
    ],
    rows: latency.map((row) => [
      count(row.batch),
      cell(row.original),
      cell(row.pruned),
      `${(row.original.median / row.pruned.median).toFixed(2)}x`,
    ]),
  };
}

/** Seconds of every stage. */
export function stageTable(stages: readonly StageTime[]): Table {
  const total = stages.reduce((sum, stage) => sum + stage.seconds, 0);
  return {
    heads: [words("stage"), figures("seconds")],
    rows: [...stages, { name: "together", seconds: total }]
      .map(({ name, seconds }) => [stageName(name), seconds.toFixed(1)]),
  };
}

/** Epochs of a training run. */
export function historyTable(history: readonly EpochRecord[]): Table {
  const averaged = history.some((epoch) => epoch.averaged !== undefined);
  return {
    heads: [
      ...[figures("epoch"), figures("training loss"), figures("held-out loss")],
      figures("held-out top-1"),
      ...(averaged ? [figures("average's loss"), figures("average's top-1")] : []),
      ...[figures("learning rate"), figures("seconds")],
    ],
    rows: history.map((epoch) => [
      count(epoch.epoch),
      epoch.loss.toFixed(4),
      optional(epoch.validation?.loss, 4),
      epoch.validation?.top1 === undefined ? "-" : percent(epoch.validation.top1),
      ...(averaged
        ? [
          optional(epoch.averaged?.loss, 4),
          epoch.averaged?.top1 === undefined ? "-" : percent(epoch.averaged.top1),
        ]
        : []),
      epoch.learningRate.toExponential(2),
      epoch.seconds.toFixed(1),
    ]),
  };
}

/** Shapley values of one group's channels. */
export function shapleyTable({ values }: ShapleyResult): Table {
  const small = (value: number) => Number.isFinite(value) ? value.toExponential(3) : "-";
  return {
    heads: [
      ...[figures("channel"), figures("Shapley value"), figures("± alone")],
      ...[figures("± jointly"), figures("images' error"), words("")],
    ],
    rows: values.map((row, channel) => [
      count(channel),
      small(row.value),
      small(row.margin),
      small(row.jointMargin),
      row.imageError === undefined ? "-" : small(row.imageError),
      row.kept ? "kept" : "removed",
    ]),
  };
}
