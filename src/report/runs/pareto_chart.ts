/** Accuracy against a cost: every configuration with its spread over seeds, and those nothing beats. */

import type { Html } from "../html.ts";
import { chart, INK, Plot } from "../plot.ts";
import { type Configuration, paretoFront, type Spread } from "./configurations.ts";

/** Colours and shapes of series, in turns. */
const COLOURS = [INK.kept, INK.cut, INK.control, INK.second, INK.text] as const;
const SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "cross"] as const;

/** How a series is drawn, by its place among all. */
export const styleOf = (index: number) => ({
  colour: COLOURS[index % COLOURS.length],
  symbol: SYMBOLS[Math.floor(index / COLOURS.length) % SYMBOLS.length],
});

/** A cost, and what it is of the original. */
export interface CostAxis {
  readonly name: string;
  /** With its unit. */
  readonly label: string;
  readonly costOf: (configuration: Configuration) => Spread | undefined;
  readonly original: number;
}

interface Point {
  readonly configuration: Configuration;
  readonly x: number;
  readonly y: number;
  readonly low: number;
  readonly high: number;
  readonly left: number;
  readonly right: number;
  readonly colour: string;
  readonly symbol: typeof SYMBOLS[number];
}

const budgetText = ({ kind, asked }: Configuration["budget"]): string =>
  `${Number((100 * asked).toFixed(2))}% of the ${kind === "flops" ? "FLOPs" : kind} cut`;

function pointsOf(
  configurations: readonly Configuration[],
  series: readonly string[],
  { costOf }: CostAxis,
): Point[] {
  return configurations.flatMap((configuration) => {
    const cost = costOf(configuration);
    if (cost === undefined) return [];
    const { mean, deviation } = configuration.test;
    return [{
      configuration,
      x: cost.mean,
      y: 100 * mean,
      low: 100 * (mean - deviation),
      high: 100 * (mean + deviation),
      left: cost.mean - cost.deviation,
      right: cost.mean + cost.deviation,
      ...styleOf(series.indexOf(configuration.series)),
    }];
  });
}

const titleOf = ({ configuration, y, high }: Point): string =>
  `${configuration.series}, ${budgetText(configuration.budget)}: top-1 ${y.toFixed(2)}%` +
  (configuration.runs.length > 1
    ? ` ± ${(high - y).toFixed(2)} over ${configuration.runs.length} seeds`
    : "");

/** One chart; the dashed line joins what no other configuration beats in both. */
export function paretoChart(
  configurations: readonly Configuration[],
  series: readonly string[],
  axis: CostAxis,
): Html {
  const points = pointsOf(configurations, series, axis);
  const front = paretoFront(points, ({ x }) => x, ({ y }) => y);
  const originals = [
    ...new Set(
      configurations.flatMap(({ runs }) => runs.map(({ original }) => original.top1.test)),
    ),
  ].map((top1) => ({ x: axis.original, y: 100 * top1 }));
  const colour = ({ colour }: Point) => colour;
  return chart(`Accuracy against ${axis.label}`, {
    width: 370,
    height: 300,
    marginLeft: 48,
    marginBottom: 42,
    marginRight: 24,
    x: { label: axis.label, grid: true, nice: true, ticks: 5 },
    y: { label: "top-1 on test pictures, %", grid: true, nice: true },
    color: { type: "identity" },
    symbol: { type: "identity" },
    marks: [
      Plot.lineY(front, {
        x: "x",
        y: "y",
        stroke: INK.text,
        strokeDasharray: "4,4",
        strokeOpacity: 0.6,
      }),
      Plot.ruleX(points, { x: "x", y1: "low", y2: "high", stroke: colour, strokeWidth: 1.5 }),
      Plot.ruleY(points, { y: "y", x1: "left", x2: "right", stroke: colour, strokeWidth: 1.5 }),
      Plot.dot(points, {
        x: "x",
        y: "y",
        r: 4.5,
        fill: colour,
        symbol: ({ symbol }: Point) => symbol,
        title: titleOf,
      }),
      Plot.dot(originals, { x: "x", y: "y", r: 5.5, stroke: INK.text, strokeWidth: 1.5 }),
      Plot.text(originals, {
        x: "x",
        y: "y",
        text: () => "original",
        fill: INK.text,
        textAnchor: "end",
        dx: -9,
      }),
    ],
  });
}
