/** Many runs on one page that needs nothing but a browser. */

import { count, percent } from "../columns.ts";
import { Html, markup } from "../html.ts";
import { PAGE_STYLE } from "../page_style.ts";
import { bestPerBudget, type Configuration, type Problem, type Spread } from "./configurations.ts";
import { linkTo } from "./files.ts";
import { type CostAxis, paretoChart, styleOf } from "./pareto_chart.ts";

const BUDGETS: Readonly<Record<Configuration["budget"]["kind"], string>> = {
  flops: "FLOPs",
  parameters: "parameters",
  latency: "time",
};

const budgetText = ({ kind, asked }: Configuration["budget"]): string =>
  `${Number((100 * asked).toFixed(2))}% of the ${BUDGETS[kind]}`;

/** "91.52% ± 0.13%", without the spread for one run. */
const accuracyText = ({ mean, deviation }: Spread, runs: number): string =>
  runs > 1 ? `${percent(mean)} ± ${percent(deviation)}` : percent(mean);

/** Costs that configurations are drawn against. */
function axesOf(configurations: readonly Configuration[]): CostAxis[] {
  const { original, latency } = configurations[0].runs[0];
  const [batch] = latency.map((row) => row.batch);
  return [
    {
      name: "MACs",
      label: "MACs, millions",
      costOf: ({ macs }) => scaled(macs, 1e-6),
      original: original.macs / 1e6,
    },
    {
      name: "parameters",
      label: "parameters, thousands",
      costOf: ({ parameters }) => scaled(parameters, 1e-3),
      original: original.parameters / 1e3,
    },
    ...(batch === undefined ? [] : [{
      name: "time of a pass",
      label: `time of a pass of ${batch} ${
        batch === 1 ? "picture" : "pictures"
      }, % of the original's`,
      costOf: (configuration: Configuration) => scaled(configuration.latency.get(batch), 100),
      original: 100,
    }]),
  ];
}

function scaled(figure: Spread | undefined, factor: number): Spread | undefined {
  return figure && { mean: factor * figure.mean, deviation: factor * figure.deviation };
}

function legend(series: readonly string[]): Html {
  return markup`<p>${
    series.map((name, index) => {
      const { colour, symbol } = styleOf(index);
      return markup`<span class="quiet" style="margin-right:1.2em"><span class="key" style="background:${colour}${
        symbol === "circle" ? "" : ";border-radius:0"
      }"></span>${name}</span>`;
    })
  }</p>`;
}

function table(heads: readonly string[], rows: readonly (readonly (string | Html)[])[]): Html {
  const side = (column: number) => column < 3 ? "words" : "";
  return markup`<div class="scroll"><table><thead><tr>${
    heads.map((title, i) => markup`<th class="${side(i)}">${title}</th>`)
  }</tr></thead><tbody>${
    rows.map((row) =>
      markup`<tr>${row.map((cell, i) => markup`<td class="${side(i)}">${cell}</td>`)}</tr>`
    )
  }</tbody></table></div>`;
}

const link = (from: string, run: Configuration["runs"][number], text: string): Html =>
  markup`<a href="${linkTo(from, run)}">${text}</a>`;

/** Figures of a configuration that all tables have. */
function figuresOf({ runs, heldOut, test, macs, parameters, latency }: Configuration): string[] {
  const { original } = runs[0];
  return [
    accuracyText(heldOut, runs.length),
    accuracyText(test, runs.length),
    `${test.mean < original.top1.test ? "−" : "+"}${
      (100 * Math.abs(test.mean - original.top1.test)).toFixed(2)
    }`,
    percent(macs.mean / original.macs - 1, 1),
    percent(parameters.mean / original.parameters - 1, 1),
    ...[...latency.values()].map(({ mean }) => `${(1 / mean).toFixed(2)}x`),
  ];
}

const figureHeads = ({ latency }: Configuration): string[] => [
  ...["top-1, held-out", "top-1, test", "points", "MACs", "parameters"],
  ...[...latency.keys()].map((batch) => `speed, ${batch}`),
];

function problemSection(
  { model, data, configurations }: Problem,
  series: readonly string[],
  from: string,
): Html {
  const [first] = configurations;
  const { top1 } = first.runs[0].original;
  const rows = (found: readonly Configuration[]) =>
    found.map((configuration) => [
      budgetText(configuration.budget),
      configuration.series,
      markup`${configuration.runs.map((run) => markup`${link(from, run, String(run.seed))} `)}`,
      ...figuresOf(configuration),
    ]);
  const heads = ["cut", "by", "seeds", ...figureHeads(first)];
  return markup`<h2>${model} on ${data}</h2>
<p>The original has ${percent(top1.test)} on the test pictures, ${
    count(first.runs[0].original.macs)
  }
MACs and ${count(first.runs[0].original.parameters)} parameters.</p>
<div class="wrap">${
    axesOf(configurations).map((axis) =>
      markup`<figure><figcaption>Top-1 against ${axis.name}</figcaption>${
        paretoChart(configurations, series, axis)
      }</figure>`
    )
  }</div>${legend(series)}
<h3>Best for every budget</h3>
<p class="quiet">By the mean over seeds on held-out pictures; test pictures choose nothing.</p>
${table(heads, rows(bestPerBudget(configurations)))}
<h3>All configurations</h3>
${table(heads, rows(configurations))}`;
}

/** runs.html, to be written into the folder `from`. */
export function runsPage(problems: readonly Problem[], from: string): string {
  const all = problems.flatMap(({ configurations }) => configurations);
  const runs = all.reduce((sum, configuration) => sum + configuration.runs.length, 0);
  const series = [...new Set(all.map((configuration) => configuration.series))];
  const page = markup`
    <!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>secateur: ${runs} runs</title>
        <style>${new Html(PAGE_STYLE)} a { color: var(--kept); }</style>
      </head>
      <body>
    <h1>${runs} pruning runs</h1>
    <p class="quiet">${all.length} configurations; what differs in its seed alone is one. Dots are means
over seeds, lines one standard deviation of a run to either side; the dashed line joins what nothing
beats in both cost and accuracy. Speeds, for so many pictures a pass, were measured when each run ended,
the original and the cut model in turns.</p>
    ${problems.map((problem) => problemSection(problem, series, from))}
      </body>
    </html>
  `;
  return page.text.trimStart();
}
