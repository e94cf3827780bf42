/** `cache`: what is kept of finished stages for all runs. */

import { formatBytes, formatDuration } from "../std.ts";
import { columns, count, figures, words } from "../report/columns.ts";
import { stageName } from "../report/tables.ts";
import {
  type ArtefactEntry,
  type ArtefactState,
  listArtefacts,
  pruned,
  removeArtefacts,
} from "../pruning/artefact_list.ts";
import { artefactFolder, Artefacts } from "../pruning/artefacts.ts";
import { CACHE_OPTIONS } from "./options/cache.ts";
import { parseOptions } from "./options/parse.ts";
import { openConsole } from "./terminal/console.ts";

const DAY = 24 * 3600 * 1000;

/** Runs the command with commander's options. Returns the exit code: 1 where something is damaged. */
export async function runCache(raw: Readonly<Record<string, unknown>>): Promise<number> {
  const { verify, prune, unusedFor, largest, all, folder, json } = parseOptions(CACHE_OPTIONS, raw);
  const console = openConsole(json);
  const artefacts = new Artefacts(folder ?? artefactFolder());
  const entries = await listArtefacts(artefacts, verify);
  const removing = prune || all || unusedFor !== undefined || largest !== undefined;
  const removed = removing
    ? await removeArtefacts(
      artefacts,
      pruned(entries, {
        all,
        ...(unusedFor === undefined ? {} : { unusedFor: unusedFor * DAY }),
        ...(largest === undefined ? {} : { largest }),
      }),
    )
    : [];
  const gone = new Set(removed);
  const left = entries.filter((entry) => !gone.has(entry));
  const damaged = left.filter(({ state }) => state === "damaged");
  console.result({
    folder: artefacts.folder,
    entries: left.map(({ key, state, header, bytes, used }) => ({
      ...{ key, state, bytes, used: new Date(used).toISOString() },
      ...(header ? { stage: header.stage, model: header.about, seconds: header.seconds } : {}),
    })),
    removed: removed.length,
    removedBytes: bytesOf(removed),
  });
  console.text(
    ...(left.length > 0 ? printed(left) : []),
    `${artefacts.folder}: ${summary(left)}${verify ? verdict(damaged) : ""}`,
    ...(removing ? [`Removed ${count(removed.length)}, ${formatBytes(bytesOf(removed))}.`] : []),
  );
  for (const { files } of damaged) console.warn(`${files[0]}: damaged; --prune removes it.`);
  console.close();
  return damaged.length > 0 ? 1 : 0;
}

const bytesOf = (entries: readonly ArtefactEntry[]): number =>
  entries.reduce((sum, { bytes }) => sum + bytes, 0);

const timeOf = (entries: readonly ArtefactEntry[]): number =>
  entries.reduce((sum, { header }) => sum + (header?.seconds ?? 0), 0);

const timeText = (seconds: number): string =>
  seconds < 1 ? "< 1s" : formatDuration(1000 * Math.round(seconds), { ignoreZero: true });

function summary(entries: readonly ArtefactEntry[]): string {
  if (entries.length === 0) return "nothing is kept.";
  return `${count(entries.length)} kept, ${formatBytes(bytesOf(entries))}, which took ${
    timeText(timeOf(entries))
  } to make.`;
}

const verdict = (damaged: readonly ArtefactEntry[]): string =>
  damaged.length === 0 ? " All are as they were written." : ` ${count(damaged.length)} damaged.`;

const STATES: Readonly<Record<ArtefactState, string>> = {
  whole: "",
  damaged: "damaged",
  unfinished: "in the making",
  outdated: "of another version",
};

/** One row for every model, stage and state. */
function printed(entries: readonly ArtefactEntry[]): string[] {
  const rows = Map.groupBy(
    entries,
    ({ header, state }) => JSON.stringify([header?.about ?? "-", header?.stage ?? "-", state]),
  );
  return columns({
    heads: [
      ...[words("model"), words("stage"), figures("kept"), figures("size"), figures("took")],
      ...[words("last used"), words("")],
    ],
    rows: [...rows].sort(([a], [b]) => a < b ? -1 : 1).map(([key, alike]) => {
      const [about, stage, state] = JSON.parse(key) as [string, string, ArtefactState];
      const used = new Date(Math.max(...alike.map((entry) => entry.used)));
      return [
        ...[about, stageName(stage), count(alike.length), formatBytes(bytesOf(alike))],
        ...[timeText(timeOf(alike)), used.toISOString().slice(0, 16).replace("T", " ")],
        STATES[state],
      ];
    }),
  }).concat("");
}
