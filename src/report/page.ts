/** The report as one page that needs nothing but a browser. */

import type { GameWorth } from "../pruning/options.ts";
import { described } from "../data/contract.ts";
import {
  accuracyChart,
  channelsChart,
  concentrationChart,
  indicatorsChart,
  latencyChart,
  shapleyChart,
  trainingChart,
} from "./charts.ts";
import { change, count, percent, type Table } from "./columns.ts";
import { Html, markup } from "./html.ts";
import { PAGE_STYLE } from "./page_style.ts";
import type { Accuracy, GroupRow, Report, Results } from "./report.ts";
import {
  budgetSentence,
  checkSentence,
  constraintsSentence,
  latencySentence,
  writtenSentence,
} from "./table.ts";
import {
  accuracyTable,
  groupTable,
  historyTable,
  latencyTable,
  layerTable,
  shapleyTable,
  stageTable,
} from "./tables.ts";

function tableHtml({ heads, rows, note }: Table): Html {
  const side = (column: number) => heads[column].align === "left" ? "words" : "";
  return markup`
    <div class="scroll">
      <table>
        <thead>
          <tr>${heads.map(({ title }, i) => markup`<th class="${side(i)}">${title}</th>`)}</tr>
        </thead>
        <tbody>${
    rows.map((row) =>
      markup`<tr>${row.map((cell, i) => markup`<td class="${side(i)}">${cell}</td>`)}</tr>`
    )
  }</tbody>
      </table>
    </div>
    ${note === undefined ? "" : markup`<p class="quiet">${note}</p>`}
  `;
}

const figure = (caption: string, drawn: Html): Html =>
  markup`<figure><figcaption>${caption}</figcaption>${drawn}</figure>`;

const folded = (summary: string, inner: Html): Html =>
  markup`<details><summary>${summary}</summary>${inner}</details>`;

const key = (colour: string, text: string): Html =>
  markup`
    <span
      class="quiet"><span class="key" style="background:var(--${colour})"></span>${text}</span>
  `;

/** The set that results are reported on: test pictures where there are any. */
function reported(figures: readonly Accuracy[] | undefined): Accuracy | undefined {
  return figures?.find((found) => found.set === "test") ?? figures?.[0];
}

function tile(name: string, value: string, note: string): Html {
  return markup`<div class="tile"><small>${name}</small><b>${value}</b><small>${note}</small></div>`;
}

function tiles({ cost, accuracy, written, latency }: Results): Html {
  const { before, after } = cost;
  const first = reported(accuracy.original);
  const last = reported(accuracy[written.step]);
  const widest = latency.at(-1);
  return markup`<div class="tiles">${[
    tile("MACs", change(before.macs, after.macs), `${count(before.macs)} → ${count(after.macs)}`),
    tile(
      "parameters",
      change(before.parameters, after.parameters),
      `${count(before.parameters)} → ${count(after.parameters)}`,
    ),
    ...(first?.top1 !== undefined && last?.top1 !== undefined
      ? [tile(
        `top-1, ${last.set}`,
        percent(last.top1),
        `${percent(first.top1)} before, ${points(last.top1 - first.top1)}`,
      )]
      : []),
    ...(widest
      ? [tile(
        `speed, batch ${widest.batch}`,
        `${(widest.original.median / widest.pruned.median).toFixed(2)}x`,
        `${widest.original.median.toFixed(2)} → ${widest.pruned.median.toFixed(2)} ms`,
      )]
      : []),
  ]}</div>`;
}

const points = (share: number): string =>
  `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(2)} points`;

function channelsSection({ groups }: Results): Html {
  const measured = groups.some((group) => group.entropy !== undefined);
  return markup`<h2>Channels</h2>
<p>Each row is a group of channels that can only go together: those of one layer, or those of a
residual stream that several layers add into. ${
    measured
      ? "Groups whose feature maps carry little information (low rank, low entropy) lose more."
      : ""
  }${
    groups.some((group) => group.curve !== undefined)
      ? "Widths are those that lose least for what they save: “lost” is the share of their outputs " +
        "that the layers behind a group cannot give back."
      : ""
  }</p>
<div class="side">${figure("Channels kept", channelsChart(groups))}${
    measured
      ? [
        figure("Rank and entropy", indicatorsChart(groups)),
        figure("Concentration", concentrationChart(groups)),
      ]
      : []
  }</div>
${folded("Numbers of every group", tableHtml(groupTable(groups)))}`;
}

function accuracySection(results: Results): Html {
  const { accuracy } = results;
  const classes = accuracy.original?.every(({ top1 }) => top1 !== undefined) ?? false;
  return markup`<h2>${classes ? "Accuracy" : "Error of the outputs"}</h2>
<p>Held-out pictures served every choice of the run; test pictures were read for reporting alone.
${writtenSentence(results)}</p>
<div class="wrap">${classes ? figure("Top-1", accuracyChart(accuracy)) : ""}${
    tableHtml(accuracyTable(results))
  }</div>`;
}

function trainingCurves({ training, accuracy }: Results): Html {
  // A curve needs two points; the table has the one.
  if (training.pruned.length < 2) return markup``;
  const original = accuracy.original?.find((found) => found.set === "held-out");
  const loss = figure("Training loss", trainingChart("loss", training, (epoch) => epoch.loss));
  const validated = training.pruned.some((epoch) => epoch.validation?.top1 !== undefined);
  const top1 = () =>
    figure(
      "Held-out top-1",
      trainingChart(
        "top-1, %",
        training,
        (epoch) => epoch.validation?.top1 && 100 * epoch.validation.top1,
        original?.top1 && 100 * original.top1,
      ),
    );
  return markup`<p>${key("kept", "pruned model")}${
    training.control ? key("control", "control: the unpruned model, trained alike") : ""
  }</p><div class="wrap">${loss}${validated ? top1() : ""}</div>`;
}

function trainingSection(results: Results): Html {
  const { pruned, control } = results.training;
  if (pruned.length === 0) return markup``;
  return markup`<h2>Fine-tuning</h2>${trainingCurves(results)}${
    folded("Epochs of the pruned model", tableHtml(historyTable(pruned)))
  }${control ? folded("Epochs of the control", tableHtml(historyTable(control))) : ""}`;
}

function shapleyGroup(group: GroupRow): Html {
  const { outcome, approximate, unsettled, pairs } = group.shapley!;
  const ends = {
    separated: "kept and removed told apart",
    precise: "precise enough",
    spent: `${unsettled} unsettled`,
  };
  return markup`<section><h3>${group.name}</h3>
<small class="quiet">${group.channelsAfter} of ${group.channelsBefore} kept; ${pairs} pairs, ${
    ends[outcome]
  }${approximate ? "; too little was sampled for more than approximate intervals" : ""}</small>${
    shapleyChart(group)
  }${folded("Numbers", tableHtml(shapleyTable(group.shapley!)))}</section>`;
}

/** What a Shapley value is a share or an amount of. */
const SHAPLEY_MEANING: Readonly<Record<GameWorth, string>> = {
  compensated:
    "What each channel costs when it goes, on average over random orders in which others " +
    "of its group go too, as a share of what the layers behind put out, after the best weights on " +
    "what is left.",
  loss:
    "What each channel adds to the negative loss on the calibration pictures, on average over " +
    "random coalitions of its group.",
  probability: "What each channel adds to the probability of the right class on the calibration " +
    "pictures, on average over random coalitions of its group.",
};

function shapleySection({ groups }: Results): Html {
  const sampled = groups.filter((group) => group.shapley !== undefined);
  if (sampled.length === 0) return markup``;
  return markup`<h2>Shapley values</h2>
<p>${
    SHAPLEY_MEANING[sampled[0].shapley!.worth]
  } Highest first. Lines are 95% intervals that hold for all channels of a group
at once, given those pictures; unsettled channels are those whose interval reaches over the line
between kept and removed. ${key("kept", "kept")}${key("cut", "removed")}</p>
<div class="grid">${sampled.map(shapleyGroup)}</div>`;
}

function latencySection(results: Results): Html {
  const { latency } = results;
  if (latency.length === 0) return markup``;
  const finding = latencySentence(results);
  return markup`<h2>Latency</h2>
<p>Medians of ${latency[0].runs} passes each, taken in turns on this machine; the line spans the
middle half.${finding === undefined ? "" : ` ${finding}`}</p>
<div class="wrap">${
    latency.map((row) => figure(`Pictures per pass: ${row.batch}`, latencyChart(row)))
  }</div>${tableHtml(latencyTable(latency))}`;
}

function provenanceSection({ provenance, model, input, data, dtype }: Report): Html {
  const { versions, machine } = provenance;
  const rows: readonly (readonly [string, string])[] = [
    ["command", `secateur ${provenance.command.join(" ")}`],
    ["started", provenance.started],
    ["seed", String(provenance.seed)],
    ["secateur", provenance.version],
    ["runtime", versions.runtime],
    ["addon", versions.addon],
    [
      "processor",
      `${machine.cpu}, ${machine.threads} threads, ${machine.instructionSets.join(" ")}`,
    ],
    ...(machine.gpu === undefined ? [] : [["GPU", machine.gpu] as const]),
    ["computed in", dtype],
    [
      "model",
      `${model.name} from ${model.source}, input ${
        model.input.join("x")
      }, ${model.classes} classes`,
    ],
    [
      "data",
      `${data.spec}: ${count(data.training)} pictures to learn from, ${count(data.heldOut)} held ` +
      `out, ${count(data.test)} to test on, ${count(data.skipped)} files left out`,
    ],
    ["pictures become inputs by", described(input)],
    ["options", JSON.stringify(provenance.options)],
  ];
  return markup`
    <h2>How it was made</h2>
    <table>${
    rows.map(([name, value]) =>
      markup`
        <tr>
          <th class="words">${name}</th>
          <td class="words" style="white-space:normal"><code>${value}</code></td>
        </tr>
      `
    )
  }</table>
  `;
}

/** report.html: every figure of the report, in charts and in tables. */
export function reportPage(report: Report): string {
  const { model, data, results } = report;
  const page = markup`
    <!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>secateur: ${model.name}</title>
        <style>${new Html(PAGE_STYLE)}</style>
      </head>
      <body>
    <h1>${model.name}, pruned</h1>
    <p class="quiet">on ${data.spec}</p>
    ${tiles(results)}
    <p>${budgetSentence(results)}${constraintsSentence(results)}<br>${checkSentence(results)}</p>
    ${accuracySection(results)}
    ${channelsSection(results)}
    ${shapleySection(results)}
    ${trainingSection(results)}
    ${latencySection(results)}
    <h2>Layers</h2>${folded("Every layer that computes", tableHtml(layerTable(results)))}
    <h2>Time</h2>${tableHtml(stageTable(results.stages))}
    ${provenanceSection(report)}
      </body>
    </html>
  `;
  return page.text.trimStart();
}
